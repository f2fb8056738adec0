//! `egret-panics`: a plugin whose ADD panics, in its own thread or in another one, and whose STATUS
//! never ends. Panic hooks are global and end the process, a deadline ends it too, so what comes of
//! either can only be seen from outside.

use std::io::{self, Write};
use std::process::ExitCode;

use egret_cni::{About, Added, CniError, Environment, NetworkRequest, Plugin, Request};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Keys {
    /// Panic in a thread of its own.
    thread: bool,
}

struct Panics;

impl Plugin for Panics {
    type Config = Keys;

    fn about(&self) -> About {
        About { name: "egret-panics", version: "0" }
    }

    fn add(&self, request: &Request<Keys>) -> Result<Added, CniError> {
        if request.own().thread {
            std::thread::scope(|scope| scope.spawn(give_up).join().ok());
        } else {
            give_up();
        }
        Ok(Added::Chained(request.config().require_prev_result()?))
    }

    fn del(&self, _request: &Request<Keys>) -> Result<(), CniError> {
        Ok(())
    }

    fn check(&self, _request: &Request<Keys>) -> Result<(), CniError> {
        Ok(())
    }

    fn gc(&self, _request: &NetworkRequest<Keys>) -> Result<(), CniError> {
        Ok(())
    }

    fn status(&self, _request: &NetworkRequest<Keys>) -> Result<(), CniError> {
        loop {
            std::thread::park();
        }
    }
}

#[expect(clippy::panic, reason = "what this program is for")]
fn give_up() {
    panic!("out of ideas");
}

fn main() -> ExitCode {
    egret_cni::answer_always(end);
    let environment = std::env::vars_os().collect::<Environment>();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    ExitCode::from(egret_cni::run(&Panics, environment, &mut stdin, &mut stdout, &mut stderr))
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "as in the plugins")]
fn end(answer: &str) {
    writeln!(io::stdout(), "{answer}").ok();
    std::process::exit(1)
}

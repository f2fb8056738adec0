//! egret-echo: the server outside, see `testkit/echo.rs`.
//!
//! `egret-echo [PORT] [--until-stdin-closes]`: prints `ready` when it can be asked.

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut port = egret_tests::ECHO_PORT;
    for argument in std::env::args().skip(1) {
        if argument == "--until-stdin-closes" {
            std::thread::spawn(end_with_stdin);
        } else if let Ok(number) = argument.parse() {
            port = number;
        } else {
            return complain("usage: egret-echo [PORT] [--until-stdin-closes]");
        }
    }
    match egret_tests::serve(port, || std::io::stdout().write_all(b"ready\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("port {port}: {error}")),
    }
}

/// Whoever holds the other end of standard input may die without a word; then this process ends.
fn end_with_stdin() {
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).ok();
    #[expect(
        clippy::exit,
        clippy::disallowed_methods,
        reason = "accept cannot be woken otherwise"
    )]
    std::process::exit(0);
}

fn complain(sentence: &str) -> ExitCode {
    writeln!(std::io::stderr(), "egret-echo: {sentence}").ok();
    ExitCode::FAILURE
}

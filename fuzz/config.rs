//! The network configuration on stdin: `runtimeConfig`, the plugin's own keys, everybody else's.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use egret_cni::{CniError, Command, Delegate, Exec, Invocation, Output, RawObject, Request};
use egret_resources::LocalConfig;

use crate::document::{environment, refused, unchanged_but};

/// What is accepted reads the same when it is written anew, and an IPAM plugin gets all of it,
/// `runtimeConfig` with the rest, but for its own section. What is refused is refused by its key.
pub fn config(stdin: &[u8]) {
    let request = match read(stdin) {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    let (config, text) = (request.config(), written(request.config().document()));
    let again = read(text.as_bytes()).expect("what was accepted is accepted again");
    let again = again.config();
    assert_eq!((again.name(), again.version()), (config.name(), config.version()));
    assert_eq!((again.own(), again.unknown_keys()), (config.own(), config.unknown_keys()));
    assert_eq!(written(again.document()), text);
    for result in [config.ipam().map(drop), config.prev_result().map(drop)] {
        result.unwrap_or_else(|error| refused(&error));
    }
    unchanged_but("ipam", config.document(), &delegated(&request));
}

fn read(mut stdin: &[u8]) -> Result<Request<LocalConfig>, CniError> {
    Request::read(Command::Add, environment(OsString::new()), &mut stdin)
}

fn written(document: &RawObject) -> String {
    serde_json::to_string(document).expect("what was read can be written")
}

/// What an IPAM plugin reads for this request.
fn delegated(request: &Request<LocalConfig>) -> RawObject {
    let plugin = Listener::default();
    let ipam = RawObject::parse(r#"{"type":"egret-ipam"}"#).expect("it is an object");
    let delegate = Delegate::new(&plugin, request.network(), &ipam).expect("there is a plugin");
    delegate.del().expect("the plugin succeeds");
    RawObject::parse(&plugin.stdin.borrow()).expect("the plugin gets an object")
}

/// A plugin that only listens.
#[derive(Default)]
struct Listener {
    stdin: RefCell<String>,
}

impl Exec for Listener {
    fn find(&self, plugin: &str, paths: &[PathBuf]) -> Option<PathBuf> {
        paths.first().map(|path| path.join(plugin))
    }

    fn run(&self, invocation: &Invocation<'_>) -> io::Result<Output> {
        invocation.stdin.clone_into(&mut self.stdin.borrow_mut());
        Ok(Output { status: Some(0), stdout: Vec::new() })
    }

    fn pause(&self, _time: Duration) {}
}

//! One call of the program: its environment, its input, its answer.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// The namespace of the test itself: ADD that gets as far as looking at it answers with code 8, so
/// everything before was accepted.
const OWN: &str = "/proc/self/ns/net";
pub(crate) const ACCEPTED: u64 = 8;

/// One call.
pub(crate) struct Call {
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) stdin: String,
}

/// Where its state would be.
pub(crate) fn directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

pub(crate) fn config() -> Value {
    let path = |name: &str| directory().join(name);
    json!({
        "cniVersion": "1.0.0", "name": "podnet", "type": "egret", "nodeName": "w1",
        "resourcesDir": path("resources"), "stateDir": path("state"), "runDir": path("run"),
        "netns": path("netns"), "confDir": path("net.d"), "ipam": { "type": "egret-ipam" },
        "prevResult": {
            "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": OWN }],
            "ips": [{ "address": "10.1.0.2/24", "interface": 0 }]
        }
    })
}

pub(crate) fn call(operation: &str) -> Call {
    let variables = [
        ("CNI_COMMAND", operation),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", OWN),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/nowhere"),
    ];
    let variables = variables.map(|(name, value)| (name, value.to_owned())).into();
    Call { variables, stdin: config().to_string() }
}

impl Call {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(given, _)| *given != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(given, _)| *given != name);
        self
    }

    pub(crate) fn key(mut self, key: &str, value: Value) -> Self {
        let mut config: Value = serde_json::from_str(&self.stdin).unwrap();
        config[key] = value;
        self.stdin = config.to_string();
        self
    }

    pub(crate) fn lacking(mut self, key: &str) -> Self {
        let mut config: Value = serde_json::from_str(&self.stdin).unwrap();
        config.as_object_mut().unwrap().remove(key);
        self.stdin = config.to_string();
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    pub(crate) fn start(&self) -> Child {
        #[expect(clippy::disallowed_methods, reason = "a test runs the plugin as a runtime does")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub(crate) fn run(&self) -> Answer {
        let mut child = self.start();
        // A plugin that ends without reading all of it has an answer all the same.
        child.stdin.take().unwrap().write_all(self.stdin.as_bytes()).ok();
        Answer::of(child)
    }

    /// The code of its error, and message and details.
    #[track_caller]
    pub(crate) fn error(&self) -> (u64, String) {
        let answer = self.run();
        assert_eq!(answer.status, Some(1), "{answer:?}");
        let error: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert!(error["cniVersion"].is_string() && error["msg"].is_string(), "{error}");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (error["code"].as_u64().unwrap(), format!("{} {}", text("msg"), text("details")))
    }

    #[track_caller]
    pub(crate) fn refused(&self, code: u64, words: &[&str]) {
        let (found, sentence) = self.error();
        assert_eq!(found, code, "{sentence}");
        for word in words {
            assert!(sentence.contains(word), "no {word:?} in {sentence}");
        }
    }

    #[track_caller]
    pub(crate) fn succeeds_silently(&self) {
        let answer = self.run();
        assert_eq!((answer.status, answer.stdout.as_str()), (Some(0), ""), "{answer:?}");
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

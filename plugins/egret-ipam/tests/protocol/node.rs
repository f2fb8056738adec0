//! A node's directories and the plugin as a runtime sees it: environment, stdin, exit code, stdout.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// The plugin that is tested.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_egret-ipam");

/// Resources and state of a node.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    name: String,
}

/// What a call answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Of an error: its code and message.
    pub(crate) fn error(&self) -> (u64, String) {
        let json = self.json();
        assert_eq!(self.status, 1, "{json}");
        (json["code"].as_u64().unwrap(), json["msg"].as_str().unwrap().to_owned())
    }

    /// Of an ADD: the index and addresses of each lease.
    pub(crate) fn leases(&self) -> Vec<(u64, String)> {
        let json = self.json();
        assert_eq!(self.status, 0, "{json}");
        let lease = |lease: &Value| {
            let addresses: Vec<_> =
                ["ipv4", "ipv6"].iter().filter_map(|family| lease[family].as_str()).collect();
            (lease["index"].as_u64().unwrap(), addresses.join(" "))
        };
        json["egret.dev/leases"].as_array().unwrap().iter().map(lease).collect()
    }

    pub(crate) fn is_silent_success(&self) -> bool {
        self.status == 0 && self.stdout.is_empty()
    }
}

/// A request for any pair of a pool, for a namespace.
pub(crate) fn request(pool: &str, namespace: &str) -> Value {
    json!({ "pool": pool, "scope": "Namespace", "key": namespace, "namespace": namespace,
            "ordinal": 0 })
}

/// A request for the pair with this address.
pub(crate) fn explicit(pool: &str, namespace: &str, family: &str, address: &str) -> Value {
    let mut request = request(pool, namespace);
    request[family] = address.into();
    request
}

#[expect(clippy::disallowed_methods, reason = "tests write what operators write")]
pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

impl Node {
    /// A node of this name with these resources.
    pub(crate) fn new(name: &str, resources: &str) -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap(), name: name.to_owned() };
        fs::create_dir(node.resources()).unwrap();
        node.set_resources(resources);
        node
    }

    /// Likewise, without a disk below it: for many calls whose death is not that of the machine.
    pub(crate) fn in_memory(name: &str, resources: &str) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let node = Self { dir, name: name.to_owned() };
        fs::create_dir(node.resources()).unwrap();
        node.set_resources(resources);
        node
    }

    pub(crate) fn set_resources(&self, resources: &str) {
        write(&self.resources().join("all.yaml"), resources);
    }

    fn resources(&self) -> PathBuf {
        self.dir.path().join("resources.d")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The configuration that `egret` hands on.
    pub(crate) fn config(&self, requests: Option<&Value>) -> Value {
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "podnet", "type": "egret",
            "ipam": { "type": "egret-ipam", "resourcesDir": self.resources(),
                      "stateDir": self.state(), "runDir": self.dir.path().join("run"),
                      "nodeName": self.name },
        });
        if let Some(requests) = requests {
            config["ipam"]["requests"] = requests.clone();
        }
        config
    }

    pub(crate) fn add(&self, container: &str, requests: &[Value]) -> Answer {
        self.call("ADD", container, Some(&requests.into()))
    }

    pub(crate) fn del(&self, container: &str) -> Answer {
        self.call("DEL", container, Some(&json!([])))
    }

    pub(crate) fn check(&self, container: &str) -> Answer {
        self.call("CHECK", container, Some(&json!([])))
    }

    pub(crate) fn call(&self, command: &str, container: &str, requests: Option<&Value>) -> Answer {
        finish(call(command, container, &self.config(requests)))
    }

    /// Files below the state directory, in order.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.state(), &mut found);
        let relative =
            |path: PathBuf| path.strip_prefix(self.state()).unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = found.into_iter().map(relative).collect();
        names.sort();
        names
    }

    /// The lease records.
    pub(crate) fn pairs(&self) -> Vec<String> {
        self.files().into_iter().filter(|name| name.contains("/pairs/0")).collect()
    }
}

/// The plugin with the variables of a runtime.
#[expect(clippy::disallowed_methods, reason = "tests run the plugin as a runtime does")]
pub(crate) fn plugin(command: &str, container: &str) -> Command {
    let mut plugin = Command::new(PLUGIN);
    variables(&mut plugin, command, container);
    plugin
}

pub(crate) fn variables(plugin: &mut Command, command: &str, container: &str) {
    plugin
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", container)
        .env("CNI_NETNS", "/proc/self/ns/net")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/nowhere");
}

/// A running call.
pub(crate) fn call(command: &str, container: &str, config: &Value) -> Child {
    start(plugin(command, container), config)
}

pub(crate) fn start(mut plugin: Command, config: &Value) -> Child {
    plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = plugin.spawn().unwrap();
    // Whoever is killed does not read to the end.
    child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).ok();
    child
}

pub(crate) fn finish(child: Child) -> Answer {
    let output = child.wait_with_output().unwrap();
    Answer {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
    }
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, found) } else { found.push(path) }
    }
}

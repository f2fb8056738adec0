//! A plugin, what it is called with, and what it may answer.

use std::path::Path;

use egret_tests::{Families, Lab, PluginOutcome, PluginRun, Pod, Snapshot, product, resources};
use serde_json::{Value, json};

pub(crate) const POLICIES: &str = "20-policies.yaml";
pub(crate) const OPERATIONS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];
pub(crate) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The plugin that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugin {
    Egret,
    EgretIpam,
}

impl Plugin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Plugin::Egret => "egret",
            Plugin::EgretIpam => "egret-ipam",
        }
    }
}

/// A node whose pods of namespace `shop` are selected; the kernel has nothing of ours yet.
pub(crate) fn lab() -> Lab {
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").start();
    lab.write_resources(POLICIES, &resources::policy("shop", "partners", "tenants", ""));
    lab
}

/// A pod to which everything but ours has been done, and a plugin to call for it.
pub(crate) struct Scene<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) plugin: Plugin,
    pub(crate) pod: Pod<'lab>,
    pub(crate) previous: Value,
}

impl<'lab> Scene<'lab> {
    pub(crate) fn new(lab: &'lab Lab, plugin: Plugin) -> Self {
        Self::of(lab, plugin, "shop", "eth0")
    }

    /// With a pod of this namespace and this interface.
    pub(crate) fn of(lab: &'lab Lab, plugin: Plugin, namespace: &str, link: &str) -> Self {
        let mut pod = lab.pod("w1", namespace, "cart").link(link).prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        Self { lab, plugin, pod, previous }
    }

    /// The call as a runtime makes it.
    pub(crate) fn call(&self, operation: &str) -> Call {
        let node = self.lab.node("w1");
        let run = PluginRun::new(product(self.plugin.name()), operation).within(node.ns());
        let run = match operation {
            // As libcni: set, to nothing.
            "GC" | "STATUS" => run
                .variable("CNI_CONTAINERID", "")
                .variable("CNI_NETNS", "")
                .variable("CNI_IFNAME", "")
                .variable("CNI_ARGS", ""),
            _ => run
                .variable("CNI_CONTAINERID", &self.pod.container_id())
                .variable("CNI_NETNS", &self.pod.path().display().to_string())
                .variable("CNI_IFNAME", self.pod.link())
                .variable("CNI_ARGS", &self.pod.cni_args()),
        };
        let run = run.variable("CNI_PATH", &node.cni_path());
        Call { plugin: self.plugin, run, config: self.config(operation), input: None }
    }

    fn config(&self, operation: &str) -> Value {
        let node = self.lab.node("w1");
        let version = if matches!(operation, "GC" | "STATUS") { "1.1.0" } else { "1.0.0" };
        let mut config = match self.plugin {
            Plugin::Egret => node.conflist()["plugins"][1].clone(),
            Plugin::EgretIpam => json!({ "type": "egret", "ipam": {
                "type": "egret-ipam", "resourcesDir": node.resources_dir(),
                "stateDir": node.state_dir(), "runDir": node.run_dir(), "nodeName": node.name(),
                "requests": [{ "pool": "tenants", "scope": "Namespace", "key": "shop",
                               "namespace": "shop", "ordinal": 0 }],
            }}),
        };
        assert_eq!(config["ipam"]["type"], "egret-ipam");
        config["cniVersion"] = json!(version);
        config["name"] = json!(node.network());
        if !matches!(operation, "GC" | "STATUS") {
            config["prevResult"] = self.previous.clone();
        }
        config
    }

    #[track_caller]
    pub(crate) fn add(&self) -> Value {
        self.call("ADD").result()
    }

    #[track_caller]
    pub(crate) fn del(&self) {
        self.call("DEL").succeeds_silently();
    }

    /// CHECK with the result of ADD as the previous one.
    pub(crate) fn check(&self, result: &Value) -> Call {
        let check = self.call("CHECK");
        match self.plugin {
            Plugin::Egret => check.key("prevResult", result.clone()),
            Plugin::EgretIpam => check,
        }
    }

    /// Whether the node keeps anything of this pod but its namespace's lease.
    pub(crate) fn is_held(&self) -> bool {
        let id = self.pod.container_id();
        ["holders", "attachments", "tombstones"].iter().any(|directory| {
            let directory = self.lab.node("w1").state_dir().join(directory);
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
            texts.into_iter().any(|text| text.contains(&id))
        })
    }

    /// The node, its files and the pod. Directories and locks are no state, and a lease is its
    /// namespace's.
    pub(crate) fn reading(&self) -> Snapshot {
        let node = self.lab.node("w1");
        let files = Snapshot::of_files(node.directory()).without("directory ").without("/run/");
        let kernel = node.ns().snapshot().and(node.egress_ns().snapshot());
        files.without("/state/leases/").and(kernel).and(self.pod.snapshot())
    }

    /// After the last DEL and `egretctl gc` the node is as in this reading.
    #[track_caller]
    pub(crate) fn is_as(&self, before: &Snapshot) {
        self.lab.node("w1").egretctl("gc").success();
        let changes = before.changes_to(&self.reading());
        assert!(changes.is_empty(), "left behind:\n{changes}");
    }

    /// Takes the pod's namespace away and waits until the kernel has done so: its link goes with it.
    pub(crate) fn destroy(&self) {
        let egress = self.lab.node("w1").egress_ns();
        let links = || {
            if egress.exists() {
                egress.exec("ip -br link show type veth").success()
            } else {
                String::new()
            }
        };
        let before = links().lines().count();
        self.pod.destroy_namespace();
        if before > 0 {
            // As many links as attached pods: one of them is dying.
            let gone = || (links().lines().count() < before).then_some(());
            let patience = std::time::Duration::from_secs(30);
            egret_tests::eventually("the link goes with its namespace", patience, gone);
        }
    }
}

/// A call without a node: for what is refused before anything is looked at.
pub(crate) fn bare(plugin: Plugin, operation: &str) -> Call {
    let path = |name: &str| Path::new("/nonexistent-egret").join(name);
    let run = PluginRun::new(product(plugin.name()), operation)
        .variable("CNI_CONTAINERID", "c1")
        .variable("CNI_NETNS", "/run/netns/nonexistent-egret")
        .variable("CNI_IFNAME", "eth0")
        .variable("CNI_PATH", "/nonexistent-egret");
    let directories = json!({
        "resourcesDir": path("resources"), "stateDir": path("state"), "runDir": path("run"),
        "nodeName": "w1"
    });
    let mut config = match plugin {
        Plugin::Egret => directories.clone(),
        Plugin::EgretIpam => json!({}),
    };
    config["ipam"] = directories;
    config["ipam"]["type"] = json!("egret-ipam");
    config["netns"] = json!(path("netns"));
    config["confDir"] = json!(path("net.d"));
    config["cniVersion"] = json!("1.1.0");
    config["name"] = json!("podnet");
    config["type"] = json!("egret");
    config["prevResult"] = json!({ "cniVersion": "1.1.0", "ips": [] });
    Call { plugin, run, config, input: None }
}

/// One call.
#[must_use]
pub(crate) struct Call {
    plugin: Plugin,
    run: PluginRun,
    config: Value,
    input: Option<String>,
}

impl Call {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.run = self.run.variable(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.run = self.run.without(name);
        self
    }

    /// Without any variable but the operation.
    pub(crate) fn alone(self) -> Self {
        let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"];
        all.into_iter().fold(self, Call::without)
    }

    pub(crate) fn key(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub(crate) fn lacking(mut self, key: &str) -> Self {
        self.config.as_object_mut().unwrap().remove(key);
        self
    }

    /// A key of the plugin's own, where the plugin reads it.
    pub(crate) fn own(mut self, key: &str, value: Value) -> Self {
        match self.plugin {
            Plugin::Egret => self.config[key] = value,
            Plugin::EgretIpam => self.config["ipam"][key] = value,
        }
        self
    }

    /// In this version, the previous result as well.
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.config["cniVersion"] = json!(version);
        if self.config.get("prevResult").is_some() {
            self.config["prevResult"] = in_version(self.config["prevResult"].take(), version);
        }
        self
    }

    /// Finding a directory read-only.
    pub(crate) fn read_only(mut self, directory: &Path) -> Self {
        self.run = self.run.read_only(directory);
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    pub(crate) fn text(&self) -> String {
        self.config.to_string()
    }

    pub(crate) fn run(self) -> PluginOutcome {
        match self.input {
            Some(text) => self.run.input(&text).run(),
            None => self.run.config(&self.config).run(),
        }
    }

    /// Exactly one error object, with this code, and a sentence with these words, which is given.
    #[track_caller]
    pub(crate) fn refused(self, code: u64, words: &[&str]) -> String {
        let outcome = self.run();
        let object = outcome.finished.clone().exits(1).json();
        assert!(object["cniVersion"].is_string() && object["msg"].is_string(), "{object}");
        let (found, sentence) = outcome.error();
        assert_eq!(found, code, "{sentence}");
        for word in words {
            assert!(sentence.contains(word), "no {word:?} in: {sentence}");
        }
        sentence
    }

    #[track_caller]
    pub(crate) fn succeeds_silently(self) {
        assert_eq!(self.run().finished.success(), "");
    }

    #[track_caller]
    pub(crate) fn result(self) -> Value {
        self.run().result()
    }
}

/// A result in another version, as libcni converts it.
pub(crate) fn in_version(mut result: Value, version: &str) -> Value {
    result["cniVersion"] = json!(version);
    for ip in result["ips"].as_array_mut().into_iter().flatten() {
        let family = if ip["address"].as_str().unwrap().contains(':') { "6" } else { "4" };
        if version.starts_with('0') {
            ip["version"] = json!(family);
        } else {
            ip.as_object_mut().unwrap().remove("version");
        }
    }
    result
}

//! The executions of plugins for one pod, as a runtime derives them from a network configuration
//! list (CNI specification, section 4): the main plugin, and those that can follow it.

use std::path::PathBuf;

use egret_tests::{Node, PluginSet, Pod, product};
use serde_json::{Value, json};

use crate::execution::Execution;

/// A plugin with its object of the list.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    program: PathBuf,
    object: Value,
}

impl Plugin {
    /// The main plugin of a node's list: `bridge` with `host-local`, Debian's.
    pub(crate) fn bridge(node: &Node) -> Self {
        Self { program: debian("bridge"), object: listed(node, "bridge") }
    }

    /// Ours, out of a node's list.
    pub(crate) fn egret(node: &Node) -> Self {
        Self { program: product("egret"), object: listed(node, "egret") }
    }

    /// Debian's `sbr`: a chained plugin that gives the pod rules and tables by its addresses.
    pub(crate) fn sbr() -> Self {
        Self { program: debian("sbr"), object: json!({ "type": "sbr" }) }
    }

    /// Debian's `tuning`, with one sysctl to write: as little as a chained plugin can do.
    pub(crate) fn tuning() -> Self {
        let object = json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "500" } });
        Self { program: debian("tuning"), object }
    }

    /// The same plugin with another value of a key.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.object[key] = value.into();
        self
    }

    /// An operation for a pod, in the place that its container id and previous result name.
    pub(crate) fn operation(
        &self,
        operation: &str,
        pod: &Pod<'_>,
        previous: Option<&Value>,
    ) -> Execution {
        self.for_container(operation, pod, &pod.container_id(), previous)
    }

    /// The same under another container id.
    pub(crate) fn for_container(
        &self,
        operation: &str,
        pod: &Pod<'_>,
        container: &str,
        previous: Option<&Value>,
    ) -> Execution {
        let node = pod.node();
        let mut config = self.object.clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!(node.network());
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let environment = vec![
            ("CNI_COMMAND", operation.to_owned()),
            ("CNI_CONTAINERID", container.to_owned()),
            ("CNI_NETNS", pod.path().display().to_string()),
            ("CNI_IFNAME", pod.link().to_owned()),
            ("CNI_ARGS", pod.cni_args()),
            ("CNI_PATH", node.cni_path()),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ];
        Execution::new(self.program.clone(), environment, config.to_string())
    }

    /// The operation VERSION, which is for no pod.
    pub(crate) fn version(&self) -> Execution {
        let environment = vec![("CNI_COMMAND", "VERSION".to_owned())];
        Execution::new(
            self.program.clone(),
            environment,
            json!({"cniVersion": "1.0.0"}).to_string(),
        )
    }
}

fn debian(name: &str) -> PathBuf {
    PluginSet::Debian.directory().join(name)
}

fn listed(node: &Node, kind: &str) -> Value {
    let list = node.conflist();
    let found = list["plugins"].as_array().into_iter().flatten().find(|one| one["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in the list of {}", node.name())).clone()
}

//! The network configuration list of a node, as an operator would write it: the reference plugins
//! give the pod its link and its address, ours follows in the chain.

use serde_json::{Value, json};

use egret_types::Prefix;

use crate::{Node, pod_network};

/// The plugin that gives pods their link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MainPlugin {
    /// A bridge on the node, and a veth for each pod.
    #[default]
    Bridge,
    /// A veth for each pod, routed.
    Ptp,
    /// A veth for each pod, routed, as Calico makes it.
    Calico,
    /// Flannel's bridge.
    Flannel,
    /// A macvlan link over the node's underlay link: it has no end on the node.
    Macvlan,
}

/// The main plugin with `host-local`, the node masquerading where it can.
pub(crate) fn main_plugin(node: &Node) -> Value {
    let families = node.families().list();
    let ranges: Vec<Value> = families
        .iter()
        .map(|family| json!([{ "subnet": pod_network(*family, node.host()).to_string() }]))
        .collect();
    let routes: Vec<Value> =
        families.iter().map(|family| json!({ "dst": Prefix::all(*family).to_string() })).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": node.network(),
        "plugins": [link_plugin(node.main(), &json!({
            "type": "host-local", "dataDir": node.host_local_dir(),
            "ranges": ranges, "routes": routes
        }))]
    })
}

fn link_plugin(main: MainPlugin, ipam: &Value) -> Value {
    match main {
        MainPlugin::Bridge => json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
            "hairpinMode": true, "ipam": ipam
        }),
        MainPlugin::Ptp => json!({ "type": "ptp", "ipMasq": true, "ipam": ipam }),
        MainPlugin::Calico => json!({
            "type": "calico", "ipam": { "type": "calico-ipam" }, "addresses": ipam
        }),
        MainPlugin::Flannel => json!({
            "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true },
            "addresses": ipam
        }),
        MainPlugin::Macvlan => json!({ "type": "macvlan", "master": "eth0", "ipam": ipam }),
    }
}

/// Our plugin, with this node's directories in place of the machine's.
pub(crate) fn ours(node: &Node) -> Value {
    json!({
        "type": "egret",
        "resourcesDir": node.resources_dir(), "stateDir": node.state_dir(),
        "runDir": node.run_dir(), "confDir": node.conf_dir(), "netns": node.egress_ns().path(),
        "nodeName": node.name(),
        "ipam": { "type": "egret-ipam" }
    })
}

/// Appends a plugin to a list.
pub(crate) fn chain(list: &mut Value, plugin: Value) {
    list["plugins"].as_array_mut().expect("a list has plugins").push(plugin);
}

/// The list as it was before ours was chained.
pub(crate) fn without_ours(mut list: Value) -> Value {
    let plugins = list["plugins"].as_array_mut().expect("a list has plugins");
    plugins.retain(|plugin| plugin["type"] != "egret");
    list
}

/// Our plugin's object in a list.
pub(crate) fn our_object(list: &mut Value) -> &mut Value {
    let plugins = list["plugins"].as_array_mut().expect("a list has plugins");
    let ours = plugins.iter_mut().find(|plugin| plugin["type"] == "egret");
    ours.expect("egret is in the list")
}

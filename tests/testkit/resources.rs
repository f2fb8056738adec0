//! Resource files as text, in the form of contract.md 3. A test that needs a key which is not here
//! writes the document out.

use std::fmt::Write;

use egret_types::Family;

use crate::{Families, Node, Role, external, underlay};

fn document(kind: &str, metadata: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: egret.dev/v1alpha1\nkind: {kind}\nmetadata: {{ {metadata} }}\nspec:\n{spec}"
    )
}

fn list<T: std::fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = values.into_iter().map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// What every laboratory starts with: the cluster, its nodes, and, with gateways, the gateway
/// `edge` of all of them and the pool `tenants` (id 1, ten pairs, first worker allocates). No
/// policy: nothing is selected.
pub fn defaults(nodes: &[Node], families: Families) -> String {
    let mut text = cluster(families, "  guard: required\n");
    for node in nodes {
        text += &self::node(node);
    }
    let named = |role: Role| nodes.iter().filter(move |node| node.role() == role).map(Node::name);
    let members: Vec<&str> = named(Role::Gateway).collect();
    if let (false, Some(worker)) = (members.is_empty(), named(Role::Worker).next()) {
        text += &gateway("edge", &members);
        text += &pool("tenants", 1, families, &format!("  node: {worker}\n"));
    }
    text
}

/// The cluster's networks, and more lines of its spec.
pub fn cluster(families: Families, more: &str) -> String {
    let networks = |v4: &'static str, v6: &'static str| {
        list(families.list().iter().map(move |family| match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }))
    };
    let spec = format!(
        "  clusterCIDRs: {}\n  serviceCIDRs: {}\n  nodeCIDRs: {}\n{more}",
        networks("10.244.0.0/16", "fd00:10:244::/48"),
        networks("10.96.0.0/16", "fd00:10:96::/112"),
        networks("172.18.0.0/24", "fd00:172:18::/64"),
    );
    document("EgressCluster", "name: default", &spec)
}

/// A node.
pub fn node(node: &Node) -> String {
    let vteps = node.families().list().iter().map(|family| underlay(*family, node.host()));
    let spec = format!("  vtep: {}\n  id: {}\n", list(vteps), node.host());
    document("EgressNode", &format!("name: {}", node.name()), &spec)
}

/// A gateway with the external link of its members as uplink.
pub fn gateway(name: &str, members: &[&str]) -> String {
    let spec =
        format!("  members: {}\n  uplink: {{ interface: ext0, mode: macvlan }}\n", list(members));
    document("EgressGateway", &format!("name: {name}"), &spec)
}

/// A pool of ten pairs behind the gateway `edge`: hosts 50 to 59 of the external network for id 1,
/// the next ten for each further id. And more lines of its spec.
pub fn pool(name: &str, id: u8, families: Families, more: &str) -> String {
    let first = 40 + 10 * id;
    let mut spec = format!("  id: {id}\n  gateway: edge\n");
    for family in families.list() {
        let range = format!("{}-{}", external(*family, first), external(*family, first + 9));
        writeln!(spec, "  {family}: {}", list([range])).ok();
    }
    document("EgressPool", &format!("name: {name}"), &(spec + more))
}

/// A policy that sends all pods of a namespace through a pool. And more lines of its spec.
pub fn policy(namespace: &str, name: &str, pool: &str, more: &str) -> String {
    let spec = format!("  selector: {{}}\n  pool: {pool}\n{more}");
    document("EgressPolicy", &format!("name: {name}, namespace: {namespace}"), &spec)
}

/// Lines of a policy's spec that ask for the pair at an index of the pool with id 1.
pub fn egress_pair(index: u8, families: Families) -> String {
    let addresses = families
        .list()
        .iter()
        .map(|family| format!("{family}: \"{}\"", crate::egress_ip(*family, index)));
    format!("  egressIP: {{ {} }}\n", addresses.collect::<Vec<_>>().join(", "))
}

/// A cluster policy for these namespaces. And more lines of its spec.
pub fn cluster_policy(name: &str, namespaces: &[&str], pool: &str, more: &str) -> String {
    let spec = format!(
        "  selector: {{ namespaces: {{ names: {} }} }}\n  pool: {pool}\n{more}",
        list(namespaces)
    );
    document("ClusterEgressPolicy", &format!("name: {name}"), &spec)
}

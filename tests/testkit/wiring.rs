//! The cables of a laboratory: which link stands where, with which addresses and routes. Written as
//! lines of `ip`, because that is how one reads a network.

use std::fmt::Write;

use egret_types::Family;

use crate::{Families, Node, Ns, address::far_router, external, far, pod_network, underlay};

/// Makes a fresh namespace predictable: no delay before an address may be used, no router
/// solicitation, no limit on ICMP errors, strict reverse path filter as distributions have it.
pub(crate) fn prepare(namespace: &Ns, families: Families) {
    let settings = [
        ("net.ipv6.conf.default.accept_dad", "0"),
        ("net.ipv6.conf.all.accept_dad", "0"),
        ("net.ipv6.conf.default.accept_ra", "0"),
        ("net.ipv6.conf.default.router_solicitations", "0"),
        ("net.ipv6.icmp.ratelimit", "0"),
        ("net.ipv4.icmp_ratelimit", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
        ("net.ipv4.conf.all.rp_filter", "1"),
        ("net.ipv4.conf.default.rp_filter", "1"),
    ];
    for (name, value) in settings {
        namespace.set_sysctl(name, value);
    }
    if !families.has(Family::V6) {
        for scope in ["all", "default"] {
            namespace.set_sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1");
        }
    }
    namespace.ip("link set lo up");
}

/// Two bridges: the underlay and the external network.
pub(crate) fn make_switch(switch: &Ns) {
    switch.ip("link add ul type bridge forward_delay 0 mcast_snooping 0
        link add ex type bridge forward_delay 0 mcast_snooping 0
        link set ul addrgenmode none
        link set ex addrgenmode none
        link set ul up
        link set ex up");
}

/// A cable from a link of a namespace to a bridge of the switch.
fn plug(namespace: &Ns, link: &str, switch: &Ns, bridge: &str) -> String {
    let host = namespace.name().rsplit('-').next().unwrap_or_default();
    let port: String = format!("{bridge}-{host}").chars().take(15).collect();
    namespace.ip(&format!("link add {link} type veth peer name {port} netns {}", switch.name()));
    switch.ip(&format!("link set {port} addrgenmode none master {bridge} up"));
    format!("link set {link} up\n")
}

fn address(text: &mut String, link: &str, address: std::net::IpAddr) {
    let (length, option) = if address.is_ipv4() { (24, "") } else { (64, " nodad") };
    writeln!(text, "addr add {address}/{length} dev {link}{option}").ok();
}

/// The host outside: the default route of every node ends here.
pub(crate) fn make_external(namespace: &Ns, switch: &Ns, families: Families) {
    let mut lines = plug(namespace, "eth0", switch, "ex");
    for family in families.list() {
        address(&mut lines, "eth0", external(*family, 10));
    }
    namespace.ip(&lines);
}

/// A segment with an MTU of 1300 behind the host outside, which becomes its router.
pub(crate) fn make_far(namespace: &Ns, router: &Ns, families: Families) {
    router.ip(&format!(
        "link add far0 mtu 1300 type veth peer name eth0 mtu 1300 netns {}
        link set far0 up",
        namespace.name()
    ));
    let (mut near, mut end) = (String::new(), "link set eth0 up\n".to_owned());
    for family in families.list() {
        let router_address = far_router(*family);
        address(&mut near, "far0", router_address);
        address(&mut end, "eth0", far(*family));
        writeln!(end, "route add default via {router_address}").ok();
    }
    router.ip(&near);
    namespace.ip(&end);
    forward(router, families);
}

fn forward(namespace: &Ns, families: Families) {
    for family in families.list() {
        namespace.set_sysctl(
            match family {
                Family::V4 => "net.ipv4.ip_forward",
                Family::V6 => "net.ipv6.conf.all.forwarding",
            },
            "1",
        );
    }
}

/// A node: `eth0` on the underlay, `ext0` on the external network, default route to the outside.
pub(crate) fn make_node(node: &Node, switch: &Ns, families: Families) {
    let namespace = node.ns();
    let mut lines = plug(namespace, "eth0", switch, "ul");
    lines += &plug(namespace, "ext0", switch, "ex");
    for family in families.list() {
        address(&mut lines, "eth0", underlay(*family, node.host()));
        address(&mut lines, "ext0", external(*family, node.host()));
        writeln!(lines, "route add default via {} dev ext0", external(*family, 10)).ok();
    }
    namespace.ip(&lines);
    forward(namespace, families);
}

/// The way from the outside to the pods of each node.
pub(crate) fn route_pods(external_host: &Ns, nodes: &[Node], families: Families) {
    let mut lines = String::new();
    for node in nodes {
        for family in families.list() {
            let network = pod_network(*family, node.host());
            writeln!(lines, "route add {network} via {}", external(*family, node.host())).ok();
        }
    }
    external_host.ip(&lines);
}

/// Each node reaches the pods of the others over the underlay, as a flat cluster network does it.
pub(crate) fn join_pod_networks(nodes: &[Node], families: Families) {
    for node in nodes {
        let mut lines = String::new();
        for other in nodes.iter().filter(|other| other.host() != node.host()) {
            for family in families.list() {
                let network = pod_network(*family, other.host());
                let hop = underlay(*family, other.host());
                writeln!(lines, "route add {network} via {hop}").ok();
            }
        }
        if !lines.is_empty() {
            node.ns().ip(&lines);
        }
    }
}

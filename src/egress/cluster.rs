//! Cluster traffic: the networks that no policy touches, each with the place it is known from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egret_resources::{EgressPolicy, Resources};
use egret_types::{Family, LinkName, NodeName, Prefix};
use serde_json::Value;

/// A network of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNetwork {
    /// Its addresses.
    pub prefix: Prefix,
    /// Where it is known from.
    pub source: Source,
}

/// Where a network is known from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Never leaves a link or host: loopback, link-local, multicast.
    Always,
    /// A key of `EgressCluster`.
    Configured(&'static str),
    /// The VTEP of an `EgressNode`.
    Vtep(NodeName),
    /// The `ipam` section of a plugin in this network configuration list.
    Ipam(String),
    /// An address of the previous result, with its network.
    PreviousResult,
    /// A network that a link of the pod, or the node's underlay link, is connected to.
    Connected(LinkName),
}

/// What was found on the node and in the pod; used unless `autoDetect` is false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence(pub Vec<ClusterNetwork>);

/// All networks of the cluster, as far as they are known.
pub fn cluster_networks(resources: &Resources, evidence: &Evidence) -> Vec<ClusterNetwork> {
    let cluster = &resources.cluster;
    let configured = [
        ("clusterCIDRs", cluster.cluster_cidrs.as_slice()),
        ("serviceCIDRs", cluster.service_cidrs.as_deref().unwrap_or_default()),
        ("nodeCIDRs", cluster.node_cidrs.as_slice()),
    ];
    let mut all: Vec<ClusterNetwork> = always()
        .into_iter()
        .map(|prefix| ClusterNetwork { prefix, source: Source::Always })
        .collect();
    for (key, networks) in configured {
        let source = || Source::Configured(key);
        all.extend(networks.iter().map(|n| ClusterNetwork { prefix: *n, source: source() }));
    }
    for node in &resources.nodes {
        let vtep = |a: &IpAddr| (Prefix::host(*a), Source::Vtep(node.name.clone()));
        let vteps = node.vtep.iter().map(|(_, address)| vtep(address));
        all.extend(vteps.map(|(prefix, source)| ClusterNetwork { prefix, source }));
    }
    if cluster.auto_detect {
        all.extend(evidence.0.iter().cloned());
    }
    all
}

/// The first of these policies that could reach a service network nobody has named: one without
/// destinations, or with one wider than /8 (IPv6: /16), while `serviceCIDRs` is not set.
pub fn may_capture_services<'a>(
    resources: &Resources,
    policies: &[&'a EgressPolicy],
) -> Option<&'a EgressPolicy> {
    let wide = |prefix: &Prefix| match prefix.family() {
        Family::V4 => prefix.length() < 8,
        Family::V6 => prefix.length() < 16,
    };
    let captures = |policy: &&EgressPolicy| {
        policy.destinations.as_ref().is_none_or(|all| all.iter().any(wide))
    };
    match resources.cluster.service_cidrs {
        Some(_) => None,
        None => policies.iter().copied().find(captures),
    }
}

/// Addresses that no router forwards (RFC 6890): this network, loopback, link-local, multicast,
/// limited broadcast, and their IPv6 counterparts.
fn always() -> Vec<Prefix> {
    let v4 = [
        ([0, 0, 0, 0], 8),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([224, 0, 0, 0], 4),
        ([255; 4], 32),
    ];
    let v6 = [
        (Ipv6Addr::UNSPECIFIED, 128),
        (Ipv6Addr::LOCALHOST, 128),
        (segment(0xfe80), 10),
        (segment(0xff00), 8),
    ];
    let v4 = v4.into_iter().filter_map(|(a, n)| Prefix::containing(Ipv4Addr::from(a).into(), n));
    v4.chain(v6.into_iter().filter_map(|(a, n)| Prefix::containing(a.into(), n))).collect()
}

fn segment(first: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)
}

/// The pod networks that the plugins of a network configuration list hand out, if `list` is the
/// one named `network`: `ranges[][].subnet`, `ranges[].subnet`, `subnet`, `range` of each `ipam`.
pub fn list_networks(list: &Value, network: &str) -> Option<Vec<Prefix>> {
    if list.get("name")?.as_str()? != network {
        return None;
    }
    let plugins = list.get("plugins")?.as_array()?;
    let mut found = Vec::new();
    for ipam in plugins.iter().filter_map(|plugin| plugin.get("ipam")) {
        collect_subnets(ipam, &mut found);
    }
    Some(found)
}

fn collect_subnets(ipam: &Value, found: &mut Vec<Prefix>) {
    match ipam {
        Value::Array(items) => items.iter().for_each(|item| collect_subnets(item, found)),
        Value::Object(keys) => {
            let texts = ["subnet", "range"].iter().filter_map(|key| keys.get(*key)?.as_str());
            found.extend(texts.filter_map(network_of));
            for key in ["ranges", "ipRanges"] {
                keys.get(key).into_iter().for_each(|inner| collect_subnets(inner, found));
            }
        }
        _ => {}
    }
}

/// The network of a subnet as IPAM plugins take it: host bits are allowed there.
fn network_of(text: &str) -> Option<Prefix> {
    let (address, length) = text.split_once('/')?;
    Prefix::containing(address.parse().ok()?, length.parse().ok()?)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Always => f.write_str("always"),
            Source::Configured(key) => write!(f, "EgressCluster {key}"),
            Source::Vtep(node) => write!(f, "VTEP of EgressNode {node}"),
            Source::Ipam(file) => write!(f, "ipam ranges in {file}"),
            Source::PreviousResult => f.write_str("previous result"),
            Source::Connected(link) => write!(f, "connected network of link {link}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_in_every_form_of_the_ipam_section() {
        let list = serde_json::json!({ "name": "podnet", "plugins": [
            { "type": "bridge", "ipam": { "ranges": [[{ "subnet": "10.244.1.0/24" }], [{ "subnet": "fd00::1/64" }]] } },
            { "type": "macvlan", "ipam": { "type": "whereabouts", "range": "10.9.0.0/16" } },
            { "type": "ptp", "ipam": { "subnet": "10.8.0.0/16", "ranges": null } },
            { "type": "egret", "ipam": { "type": "egret-ipam" } },
        ]});
        let found = list_networks(&list, "podnet").unwrap();
        let texts: Vec<String> = found.iter().map(Prefix::to_string).collect();
        assert_eq!(texts, ["10.244.1.0/24", "fd00::/64", "10.9.0.0/16", "10.8.0.0/16"]);
        assert_eq!(list_networks(&list, "other"), None);
    }

    #[test]
    fn link_local_and_multicast_are_never_steered() {
        let all = always();
        for address in [
            "169.254.169.254",
            "224.0.0.251",
            "255.255.255.255",
            "127.0.0.1",
            "fe80::1",
            "ff02::1",
            "::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(all.iter().any(|p| p.contains_address(address)), "{address}");
        }
    }
}

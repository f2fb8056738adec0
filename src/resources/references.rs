//! What no document can say alone: names that must exist, numbers that must differ, ranges that
//! must not meet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use egret_types::{GatewayName, Namespace};

use crate::{
    AddressRange, EgressGateway, EgressNode, EgressPolicy, EgressPool, NoOuterFamily,
    node::outer_family,
    overlap,
    problem::Problems,
    resource::{Draft, Drafts, Kind},
    taken,
};

pub(crate) fn check(drafts: &Drafts<'_>, problems: &mut Problems) {
    check_names(drafts, problems);
    check_nodes(&drafts.nodes, problems);
    check_common_family(&drafts.nodes, problems);
    check_gateways(drafts, problems);
    check_pools(drafts, problems);
    overlap::check(&drafts.pools, problems);
    taken::check(drafts, problems);
    check_policies(drafts, problems);
}

/// Says so where two resources have the same `key`. The second one gets the problem.
fn check_unique<'d, T, K: Ord>(
    drafts: &'d [Draft<'_, T>],
    problems: &mut Problems,
    way: &[&str],
    keys: impl Fn(&'d T) -> Vec<K>,
    say: impl Fn(&K, &Draft<'_, T>) -> String,
) {
    let mut seen: BTreeMap<K, &Draft<'_, T>> = BTreeMap::new();
    for draft in drafts {
        for key in keys(&draft.value) {
            if let Some(first) = seen.get(&key) {
                problems.add(draft.document.along(way).problem(say(&key, first)));
            } else {
                seen.insert(key, draft);
            }
        }
    }
}

fn check_names(drafts: &Drafts<'_>, problems: &mut Problems) {
    const NAME: [&str; 2] = ["metadata", "name"];
    fn again<T>(kind: &str, name: &str, first: &Draft<'_, T>) -> String {
        format!("a second {kind} named {name:?}; the first is {}", first.document.whereabouts())
    }
    check_unique(
        &drafts.clusters,
        problems,
        &NAME,
        |_| vec![()],
        |(), first| again("EgressCluster", "default", first),
    );
    check_unique(
        &drafts.nodes,
        problems,
        &NAME,
        |n| vec![&n.name],
        |name, first| again("EgressNode", name.as_str(), first),
    );
    check_unique(
        &drafts.pools,
        problems,
        &NAME,
        |p| vec![&p.name],
        |name, first| again("EgressPool", name.as_str(), first),
    );
    check_unique(
        &drafts.gateways,
        problems,
        &NAME,
        |g| vec![&g.name],
        |name, first| again("EgressGateway", name.as_str(), first),
    );
    check_unique(
        &drafts.policies,
        problems,
        &NAME,
        |p| vec![&p.name],
        |name, first| again("policy", &name.to_string(), first),
    );
}

fn check_nodes(nodes: &[Draft<'_, EgressNode>], problems: &mut Problems) {
    check_unique(
        nodes,
        problems,
        &["spec", "id"],
        |n| vec![n.id],
        |id, first| {
            format!(
                "node id {} is also that of {} ({}); give one of them another id",
                id.number(),
                first.value.name,
                first.document.whereabouts()
            )
        },
    );
    let addresses = |node: &EgressNode| node.vtep.iter().map(|(_, a)| *a).collect();
    check_unique(nodes, problems, &["spec", "vtep"], addresses, |address, first| {
        format!(
            "{address} is also a VTEP of {} ({})",
            first.value.name,
            first.document.whereabouts()
        )
    });
}

fn check_common_family(nodes: &[Draft<'_, EgressNode>], problems: &mut Problems) {
    let Err(error) = outer_family(&nodes.iter().map(|draft| &draft.value)) else { return };
    let NoOuterFamily::NoneCommon { without_v6, .. } = &error else { return };
    if let Some(node) = nodes.iter().find(|draft| draft.value.name == *without_v6) {
        problems.add(node.document.along(&["spec", "vtep"]).problem(error.to_string()));
    }
}

/// Names of one kind that a reference may use.
fn known<'d, T>(
    drafts: &'d Drafts<'_>,
    kind: Kind,
    list: &'d [Draft<'_, T>],
    name: impl Fn(&'d T) -> &'d str,
) -> BTreeSet<&'d str> {
    let broken = drafts.broken.iter().filter(|(of, _)| *of == kind).map(|(_, name)| *name);
    list.iter().map(|draft| name(&draft.value)).chain(broken).collect()
}

fn unknown(kind: &str, name: &str, names: &BTreeSet<&str>) -> String {
    let hint = crate::nearest(name, names.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    format!("there is no {kind} named {name:?}{hint}")
}

fn node_names<'d>(drafts: &'d Drafts<'_>) -> BTreeSet<&'d str> {
    known(drafts, Kind::Node, &drafts.nodes, |node| node.name.as_str())
}

fn check_gateways(drafts: &Drafts<'_>, problems: &mut Problems) {
    let nodes = node_names(drafts);
    for gateway in &drafts.gateways {
        for (index, member) in gateway.value.members.iter().enumerate() {
            if !nodes.contains(member.as_str()) {
                let at = gateway.document.item(&["spec", "members"], index);
                problems.add(at.problem(unknown("EgressNode", member.as_str(), &nodes)));
            }
        }
        check_interfaces(gateway, &drafts.nodes, problems);
    }
}

fn check_interfaces(
    gateway: &Draft<'_, EgressGateway>,
    nodes: &[Draft<'_, EgressNode>],
    problems: &mut Problems,
) {
    if gateway.value.uplink.interface.is_some() {
        return;
    }
    let members = nodes.iter().filter(|node| gateway.value.members.contains(&node.value.name));
    for node in members.filter(|node| node.value.uplink.interface.is_none()) {
        problems.add(gateway.document.along(&["spec", "uplink"]).problem(format!(
            "the uplink of member {} has no \"interface\", neither here nor in its EgressNode ({})",
            node.value.name,
            node.document.whereabouts()
        )));
    }
}

fn check_pools(drafts: &Drafts<'_>, problems: &mut Problems) {
    let gateways = known(drafts, Kind::Gateway, &drafts.gateways, |g| g.name.as_str());
    let nodes = node_names(drafts);
    check_unique(
        &drafts.pools,
        problems,
        &["spec", "id"],
        |p| vec![p.id],
        |id, first| {
            format!(
                "pool id {} is also that of {} ({})",
                id.number(),
                first.value.name,
                first.document.whereabouts()
            )
        },
    );
    for pool in &drafts.pools {
        let gateway = pool.value.gateway().map(GatewayName::as_str);
        if let Some(gateway) = gateway.filter(|name| !gateways.contains(name)) {
            let at = pool.document.along(&["spec", "gateway"]);
            problems.add(at.problem(unknown("EgressGateway", gateway, &gateways)));
        }
        if let Some(node) = pool.value.node.as_ref().filter(|n| !nodes.contains(n.as_str())) {
            let at = pool.document.along(&["spec", "node"]);
            problems.add(at.problem(unknown("EgressNode", node.as_str(), &nodes)));
        }
    }
}

fn check_policies(drafts: &Drafts<'_>, problems: &mut Problems) {
    let names = known(drafts, Kind::Pool, &drafts.pools, |pool| pool.name.as_str());
    let pools: BTreeMap<_, _> =
        drafts.pools.iter().map(|pool| (&pool.value.name, &pool.value)).collect();
    for policy in &drafts.policies {
        let name = &policy.value.pool;
        if let Some(pool) = pools.get(name) {
            check_purpose(policy, pool, problems);
            check_pair(policy, pool, problems);
        }
        if !names.contains(name.as_str()) {
            let at = policy.document.along(&["spec", "pool"]);
            problems.add(at.problem(unknown("EgressPool", name.as_str(), &names)));
        }
    }
    check_owners(&drafts.policies, problems);
}

fn check_purpose(policy: &Draft<'_, EgressPolicy>, pool: &EgressPool, problems: &mut Problems) {
    if pool.gateway().is_none() {
        problems.add(policy.document.along(&["spec", "pool"]).problem(format!(
            "pool {} has no \"gateway\": it gives pods their addresses, so policy {} cannot have \
             egress IPs from it",
            pool.name, policy.value.name
        )));
    }
}

fn check_pair(policy: &Draft<'_, EgressPolicy>, pool: &EgressPool, problems: &mut Problems) {
    for (family, address) in policy.value.egress_ip.addresses() {
        let at = policy.document.along(&["spec", "egressIP", &family.to_string()]);
        let holds = |ranges: &[AddressRange]| ranges.iter().any(|r| r.contains(address));
        if !holds(pool.ranges(family)) {
            problems.add(at.problem(format!("{address} is in no range of pool {}", pool.name)));
        } else if holds(&pool.exclude) {
            problems.add(at.problem(format!("pool {} excludes {address}", pool.name)));
        }
    }
}

/// An address that policies of two namespaces name would belong to both: workers share these files
/// and no leases, so each would give it to the one that asks there first.
fn check_owners(policies: &[Draft<'_, EgressPolicy>], problems: &mut Problems) {
    let mut owners: BTreeMap<IpAddr, (&Namespace, &Draft<'_, EgressPolicy>)> = BTreeMap::new();
    for policy in policies {
        let Some(namespace) = policy.value.selector.only_namespace() else { continue };
        for (family, address) in policy.value.egress_ip.addresses() {
            let (owner, first) = *owners.entry(address).or_insert((namespace, policy));
            if owner != namespace {
                let at = policy.document.along(&["spec", "egressIP", &family.to_string()]);
                problems.add(at.problem(format!(
                    "{address} is that of namespace {owner} by policy {} ({}); \
                     an egress pair belongs to one namespace",
                    first.value.name,
                    first.document.whereabouts()
                )));
            }
        }
    }
}

//! What is wrong, in words: where the node and the resources disagree about who serves what, and
//! what the counters and the uplink suffer from. Objects that are not as they were made are
//! compared elsewhere.

use std::collections::BTreeSet;

use egret_ipam::Pool;
use egret_resources::EgressGateway;
use egret_types::{Family, Identity, MacAddr};

use super::assemble::{Facts, Role};
use super::reading::Reading;
use super::value::{Fill, GatewayStatus, Here, ParentState, Status};

/// One sentence each.
pub(super) fn problems(facts: &Facts<'_>, reading: &Reading, status: &Status) -> Vec<String> {
    let mut problems: Vec<String> = status.gateways.iter().filter_map(role).collect();
    if facts.role == Role::Up {
        problems.extend(pairs(facts, reading, status));
        problems.extend(nodes(facts, reading));
        problems.extend(uplink(reading, status));
    }
    problems.extend(status.conntrack.and_then(fill));
    let full = reading.counters.conntrack.table_full();
    if full > 0 {
        problems.push(format!("the conntrack table was full: {full} packets of new flows dropped"));
    }
    let over = status.pairs.iter().filter(|pair| pair.over_share > 0);
    problems.extend(over.map(|pair| {
        let (pool, index) = (pair.pool.as_deref().unwrap_or("-"), pair.index);
        let (flows, dropped) = (pair.flows, pair.over_share);
        format!(
            "pair {index} of pool {pool} was over its share of the conntrack table: {dropped} packets of new flows dropped, {flows} flows now"
        )
    }));
    problems
}

/// Who should serve a gateway, and who does.
fn role(gateway: &GatewayStatus) -> Option<String> {
    let GatewayStatus { name, owner, .. } = gateway;
    match gateway.here {
        Here::Owner | Here::Standby => None,
        Here::Missing => Some(format!(
            "gateway {name}: this node is its first member and serves none of its egress IPs; see egretctl gateway up"
        )),
        Here::Taken => Some(format!(
            "gateway {name}: its egress IPs are on this node, but the files give them to {owner}, and workers send there"
        )),
    }
}

/// The pairs of the files against those that are served.
fn pairs(facts: &Facts<'_>, reading: &Reading, status: &Status) -> Vec<String> {
    let mut all = BTreeSet::new();
    let mut problems = Vec::new();
    for (gateway, told) in facts.gateways().zip(&status.gateways) {
        let wanted = identities(facts, gateway);
        let missing = wanted.iter().filter(|identity| !reading.sent.contains_key(identity)).count();
        if missing > 0 && matches!(told.here, Here::Owner | Here::Taken) {
            problems.push(format!(
                "gateway {}: {missing} egress pairs of the files are not served here; see egretctl gateway up",
                told.name
            ));
        }
        all.extend(wanted);
    }
    let others = reading.sent.keys().filter(|identity| !all.contains(identity)).count();
    if others > 0 {
        problems.push(format!(
            "{others} egress pairs are served here that are of no gateway of this node; see egretctl gateway up"
        ));
    }
    problems
}

fn identities(facts: &Facts<'_>, gateway: &EgressGateway) -> BTreeSet<u32> {
    let pools = facts.resources.pools_of(&gateway.name).map(|definition| Pool::new(definition, []));
    let of_pool = |pool: Pool| {
        let pairs = pool.all_pairs().map(|(index, _)| Identity::new(pool.id(), index).number());
        pairs.collect::<Vec<_>>()
    };
    pools.flat_map(of_pool).collect()
}

/// The nodes of the files against those whose frames are taken.
fn nodes(facts: &Facts<'_>, reading: &Reading) -> Vec<String> {
    if reading.frames.is_empty() {
        return vec![]; // Not one node is missing but the gateway, which is told elsewhere.
    }
    let nodes = &facts.resources.nodes;
    let unknown = nodes.iter().filter(|node| !reading.frames.contains_key(&node.id.mac()));
    let mut problems: Vec<String> = unknown
        .map(|node| {
            format!("node {}: its frames are not taken here; see egretctl gateway up", node.name)
        })
        .collect();
    let named: BTreeSet<MacAddr> = nodes.iter().map(|node| node.id.mac()).collect();
    let strangers = reading.frames.keys().filter(|mac| !named.contains(mac));
    problems.extend(strangers.map(|mac| {
        format!(
            "frames from {mac} are taken, which is no node of the files; see egretctl gateway up"
        )
    }));
    problems
}

fn uplink(reading: &Reading, status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    let wrong = match status.uplink.state {
        ParentState::Up => None,
        ParentState::NoCarrier => Some("has no carrier"),
        ParentState::Down => Some("is down"),
        ParentState::Missing => Some("does not exist in the node's namespace"),
    };
    if let (Some(wrong), Some(parent)) = (wrong, &status.uplink.parent) {
        problems.push(format!("uplink interface {parent} {wrong}"));
    }
    let missing = Family::BOTH.into_iter().filter(|family| {
        let served = reading.sent.values().any(|(pair, _)| pair.get(*family).is_some());
        served && !reading.uplink.next_hops.iter().any(|hop| Family::of(*hop) == *family)
    });
    problems.extend(missing.map(|family| {
        format!("the uplink has no {family} next hop: only its own networks are reached")
    }));
    problems
}

/// Nine tenths: from there on a burst of new flows fills it.
fn fill(Fill { count, max }: Fill) -> Option<String> {
    let nearly = u128::from(count) * 10 > u128::from(max) * 9;
    nearly.then(|| format!("the conntrack table is nearly full: {count} of {max} entries"))
}

//! What is wrong, in words: where the node and the resources disagree about who serves what, and
//! what the counters and the uplink suffer from. Objects that are not as they were made are
//! compared elsewhere.

use std::collections::BTreeSet;

use egret_ipam::Pool;
use egret_resources::EgressGateway;
use egret_types::{Family, Identity, MacAddr};

use super::assemble::{Facts, Role};
use super::reading::{Growth, Reading};
use super::value::{Fill, GatewayStatus, Here, ParentState, Status};

/// One sentence each.
pub(super) fn problems(facts: &Facts<'_>, reading: &Reading, status: &Status) -> Vec<String> {
    let mut problems: Vec<String> = status.gateways.iter().filter_map(role).collect();
    if facts.role == Role::Up && status.gateways.is_empty() {
        problems.push(of_no_gateway(status.pairs.len()));
    }
    if facts.role == Role::Up {
        problems.extend(pairs(facts, reading, status));
        problems.extend(shares(facts, reading));
        problems.extend(nodes(facts, reading));
        problems.extend(uplink(reading, status));
    }
    problems.extend(status.conntrack.and_then(fill));
    problems.extend(refused(reading, status));
    problems
}

/// New flows that were dropped while we looked. What was dropped before is in the tables alone: it
/// would be told for ever.
fn refused(reading: &Reading, status: &Status) -> Vec<String> {
    let Growth { table_full: full, over_share } = &reading.growth;
    let mut problems = Vec::new();
    if *full > 0 {
        problems
            .push(format!("the conntrack table is full: {full} packets of new flows dropped now"));
    }
    problems.extend(over_share.iter().map(|(identity, dropped)| {
        let pair = status.pairs.iter().find(|pair| pair.identity == format!("{identity:08x}"));
        let pool = pair.and_then(|pair| pair.pool.as_deref()).unwrap_or("-");
        let flows = pair.map_or(0, |pair| pair.flows);
        let index = identity & 0x00ff_ffff;
        format!(
            "pair {index} of pool {pool} is over its share of the conntrack table: {dropped} packets of new flows dropped now, {flows} flows"
        )
    }));
    problems
}

fn of_no_gateway(pairs: usize) -> String {
    format!(
        "this node serves {pairs} egress pairs, and is member of no gateway in the files; see egretctl gateway down"
    )
}

/// A table that was made larger leaves the shares small, a smaller one can be filled by one of them.
fn shares(facts: &Facts<'_>, reading: &Reading) -> Option<String> {
    let (made, now) = (facts.shares?, reading.conntrack?.max);
    (made != now).then(|| {
        format!(
            "nf_conntrack_max is now {now}, shares were made for {made}; see {}",
            facts.remedy()
        )
    })
}

/// Who should serve a gateway, and who does.
fn role(gateway: &GatewayStatus) -> Option<String> {
    let GatewayStatus { name, owner, .. } = gateway;
    match gateway.here {
        Here::Owner | Here::Standby => None,
        Here::Missing if gateway.pools.is_empty() => Some(format!(
            "gateway {name}: this node is its first member, and no pool of the files is behind it: egretctl gateway up is refused until there is one"
        )),
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
                "gateway {}: {missing} egress pairs of the files are not served here; see {}",
                told.name,
                facts.remedy()
            ));
        }
        all.extend(wanted);
    }
    let others = reading.sent.keys().filter(|identity| !all.contains(identity)).count();
    if others > 0 && !status.gateways.is_empty() {
        problems.push(format!(
            "{others} egress pairs are served here that are of no gateway of this node; see {}",
            facts.remedy()
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
    let (nodes, remedy) = (&facts.resources.nodes, facts.remedy());
    let unknown = nodes.iter().filter(|node| !reading.frames.contains_key(&node.id.mac()));
    let mut problems: Vec<String> = unknown
        .map(|node| format!("node {}: its frames are not taken here; see {remedy}", node.name))
        .collect();
    let named: BTreeSet<MacAddr> = nodes.iter().map(|node| node.id.mac()).collect();
    let strangers = reading.frames.keys().filter(|mac| !named.contains(mac));
    problems.extend(strangers.map(|mac| {
        format!("frames from {mac} are taken, which is no node of the files; see {remedy}")
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

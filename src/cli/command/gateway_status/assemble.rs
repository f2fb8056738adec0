//! From what was read, and what the resources say, to the answer. Pure: a test makes up both.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egret_kernel::LinkState;
use egret_resources::{EgressGateway, EgressNode, Resources};
use egret_types::{DualStack, Family, LinkName, NodeName};

use super::problems::problems;
use super::reading::Reading;
use super::value::{
    Count, GatewayStatus, Here, NodeStatus, PairStatus, ParentState, Sources, Status, TunnelStatus,
    UplinkStatus,
};

/// What is not read from the kernel.
pub(super) struct Facts<'a> {
    pub(super) resources: &'a Resources,
    pub(super) node: &'a NodeName,
    /// Whether `gateway up` has been run, and no `gateway down` since.
    pub(super) role: Role,
    /// The link below the uplink, if it is known.
    pub(super) parent: Option<&'a LinkName>,
    /// The size of the connection tracking table for which shares were made.
    pub(super) shares: Option<u64>,
}

/// Whether the node is meant to serve anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Up,
    Down,
}

/// The answer.
pub(super) fn status(facts: &Facts<'_>, reading: &Reading) -> Status {
    let mut status = Status {
        node: facts.node.to_string(),
        up: facts.role == Role::Up,
        gateways: facts.gateways().map(|gateway| facts.gateway(gateway, reading)).collect(),
        uplink: facts.uplink(reading),
        conntrack: reading.conntrack,
        pairs: facts.pairs(reading),
        nodes: facts.resources.nodes.iter().filter_map(|node| of_node(node, reading)).collect(),
        tunnel: TunnelStatus { accepted: reading.counters.accepted() },
        drops: reading.counters.drops(),
        blocked_flows: reading.blocked,
        problems: vec![],
    };
    status.problems = problems(facts, reading, &status);
    status
}

impl<'a> Facts<'a> {
    /// The gateways of which this node is a member.
    pub(super) fn gateways(&self) -> impl Iterator<Item = &'a EgressGateway> {
        let name = self.node;
        self.resources.gateways.iter().filter(move |gateway| gateway.members.contains(name))
    }

    /// What brings the node and the files together again: `gateway up` is refused, as long as
    /// nothing is to be served.
    pub(super) fn remedy(&self) -> &'static str {
        let first = self.gateways().filter(|gateway| gateway.members.first() == Some(self.node));
        let mut pools = first.flat_map(|gateway| self.resources.pools_of(&gateway.name));
        match pools.next() {
            Some(_) => "egretctl gateway up",
            None => "egretctl gateway down",
        }
    }

    fn gateway(&self, gateway: &EgressGateway, reading: &Reading) -> GatewayStatus {
        let pools = || self.resources.pools_of(&gateway.name);
        let served: BTreeSet<u32> =
            reading.sent.keys().map(|identity| pool_of(*identity)).collect();
        let serving = pools().any(|pool| served.contains(&u32::from(pool.id)));
        let here = match (gateway.members.first() == Some(self.node), serving) {
            (true, true) => Here::Owner,
            (false, true) => Here::Taken,
            (false, false) => Here::Standby,
            (true, false) => Here::Missing,
        };
        GatewayStatus {
            name: gateway.name.to_string(),
            owner: gateway.members.first().map(ToString::to_string).unwrap_or_default(),
            here,
            members: gateway.members.iter().map(ToString::to_string).collect(),
            pools: pools().map(|pool| pool.name.to_string()).collect(),
        }
    }

    fn uplink(&self, reading: &Reading) -> UplinkStatus {
        let uplink = &reading.uplink;
        let served: BTreeSet<IpAddr> =
            reading.sent.values().flat_map(|(pair, _)| pair.iter()).map(|(_, a)| *a).collect();
        let is_egress = |(address, length): &(IpAddr, u8)| {
            *length == Family::of(*address).bits() && served.contains(address)
        };
        let (egress, own): (Vec<_>, Vec<_>) = uplink.addresses.iter().partition(|a| is_egress(a));
        UplinkStatus {
            parent: self.parent.map(ToString::to_string),
            state: match uplink.parent {
                Some(LinkState::Up) => ParentState::Up,
                Some(LinkState::NoCarrier) => ParentState::NoCarrier,
                Some(LinkState::Down) => ParentState::Down,
                None => ParentState::Missing,
            },
            addresses: own.iter().map(|(address, length)| format!("{address}/{length}")).collect(),
            egress_addresses: egress.len(),
            next_hops: uplink.next_hops.iter().copied().collect(),
        }
    }

    fn pairs(&self, reading: &Reading) -> Vec<PairStatus> {
        let pair = |(identity, (addresses, sent)): (&u32, &(DualStack<IpAddr>, Count))| {
            let mut pools = self.resources.pools.iter();
            let pool = pools.find(|pool| u32::from(pool.id) == pool_of(*identity));
            PairStatus {
                identity: format!("{identity:08x}"),
                pool: pool.map(|pool| pool.name.to_string()),
                index: identity & 0x00ff_ffff,
                ipv4: addresses.v4,
                ipv6: addresses.v6,
                sent: *sent,
                received: reading.received.get(identity).copied().unwrap_or_default(),
                flows: reading.flows.get(identity).copied().unwrap_or_default(),
                over_share: reading.over_share.get(identity).copied().unwrap_or_default(),
            }
        };
        reading.sent.iter().map(pair).collect()
    }
}

/// A node whose frames the kernel takes.
fn of_node(node: &EgressNode, reading: &Reading) -> Option<NodeStatus> {
    Some(NodeStatus {
        name: node.name.to_string(),
        id: node.id,
        frames: *reading.frames.get(&node.id.mac())?,
        sources: if node.pod_cidrs.is_empty() { Sources::Any } else { Sources::Checked },
        refused: reading.counters.refused_of(node.id.number()),
    })
}

/// The number of the pool of an identity.
pub(super) fn pool_of(identity: u32) -> u32 {
    identity >> 24
}

//! What the resources say about this node and the others: the numbers and addresses from which
//! everything in `desired` is built. One place for plugin and command line.

use std::net::IpAddr;

use egret_resources::{EgressNode, Resources};
use egret_types::{Family, Invalid, Mtu, NodeName, PoolName, Prefix, ours};

use crate::desired::{NodeFacts, Peer, egret_namespace, space, tunnel_guard, tunnel_link};
use crate::object::Placed;

/// The cluster as seen from one node.
#[derive(Debug, Clone, Copy)]
pub struct Topology<'a> {
    resources: &'a Resources,
    /// The outer family: every node has a VTEP in it.
    family: Family,
    own: &'a EgressNode,
}

/// Why the resources do not describe a working node.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// This node is not among the resources.
    #[error("no EgressNode is named {name}: add one for this node, or set nodeName")]
    UnknownNode {
        /// The name looked for.
        name: NodeName,
    },
    /// No family in which all nodes have a VTEP.
    #[error("{0}")]
    NoOuterFamily(#[from] egret_resources::NoOuterFamily),
    /// The tunnel would carry less than IPv6 needs.
    #[error(
        "the underlay's MTU of {underlay} bytes leaves {left} for the tunnel, which is too small: {source}"
    )]
    UnderlayTooSmall {
        /// MTU of the underlay link.
        underlay: u32,
        /// What is left of it.
        left: u32,
        /// The rule.
        source: Invalid,
    },
    /// `tunnel.mtu` does not fit the underlay of this node.
    #[error(
        "EgressCluster tunnel.mtu {mtu} does not fit: the underlay's MTU of {underlay} bytes leaves {left}"
    )]
    TunnelTooLarge {
        /// As configured.
        mtu: Mtu,
        /// MTU of the underlay link.
        underlay: u32,
        /// What is left of it.
        left: u32,
    },
    /// A policy names a pool that is not there, or a pool such a gateway; parsing refuses both.
    #[error("pool {pool} has no gateway node")]
    NoOwner {
        /// The pool.
        pool: PoolName,
    },
}

impl<'a> Topology<'a> {
    /// The cluster as the node of this name sees it.
    pub fn of(resources: &'a Resources, name: &NodeName) -> Result<Self, TopologyError> {
        let unknown = || TopologyError::UnknownNode { name: name.clone() };
        let own = resources.node(name).ok_or_else(unknown)?;
        Ok(Self { resources, family: resources.outer_family()?, own })
    }

    /// This node.
    pub fn own(&self) -> &'a EgressNode {
        self.own
    }

    /// This node's VTEP.
    pub fn vtep(&self) -> Result<IpAddr, TopologyError> {
        self.vtep_of(self.own)
    }

    fn vtep_of(&self, node: &EgressNode) -> Result<IpAddr, TopologyError> {
        // `outer_family` is one in which every node has a VTEP.
        let unknown = || TopologyError::UnknownNode { name: node.name.clone() };
        node.vtep.get(self.family).copied().ok_or_else(unknown)
    }

    /// The facts of this node over an underlay link with this MTU in bytes.
    pub fn node_facts(&self, underlay: u32) -> Result<NodeFacts, TopologyError> {
        let tunnel = &self.resources.cluster.tunnel;
        let overhead = match self.family {
            Family::V4 => ours::TUNNEL_OVERHEAD_V4,
            Family::V6 => ours::TUNNEL_OVERHEAD_V6,
        };
        let left = underlay.saturating_sub(overhead);
        let mtu = match tunnel.mtu {
            Some(mtu) if mtu.bytes() > left => {
                return Err(TopologyError::TunnelTooLarge { mtu, underlay, left });
            }
            Some(mtu) => mtu,
            None => Mtu::try_from(left.min(65535))
                .map_err(|source| TopologyError::UnderlayTooSmall { underlay, left, source })?,
        };
        let (id, vtep) = (self.own.id, self.vtep()?);
        Ok(NodeFacts { id, vtep, vni: tunnel.vni, port: tunnel.port, mtu })
    }

    /// What both roles stand on, without the guard, which comes before it.
    pub fn foundation(&self, facts: &NodeFacts) -> Vec<Placed> {
        vec![egret_namespace(), tunnel_link(facts), space(facts.id)]
    }

    /// The tunnel guard of this node.
    pub fn tunnel_guard(&self) -> Result<Placed, TopologyError> {
        let nodes = self.resources.nodes.iter();
        let nodes: Result<Vec<_>, TopologyError> =
            nodes.map(|n| Ok((self.vtep_of(n)?, n.id))).collect();
        let gateways = self.resources.gateways.iter().flat_map(|g| &g.members);
        let members = gateways.filter_map(|name| self.resources.node(name));
        let members: Result<Vec<_>, _> = members.map(|node| self.vtep_of(node)).collect();
        let port = self.resources.cluster.tunnel.port;
        Ok(tunnel_guard(self.own.id, port, self.family, &nodes?, &members?))
    }

    /// The VTEP in whose direction this node's underlay link is looked for: a gateway node's, else
    /// any other node's. The same for every pod of this node, since they share one tunnel link.
    pub fn toward(&self) -> Result<Option<IpAddr>, TopologyError> {
        let members = self.resources.gateways.iter().flat_map(|gateway| &gateway.members);
        let members = members.filter_map(|name| self.resources.node(name));
        let other = members.chain(&self.resources.nodes).find(|node| node.name != self.own.name);
        other.map(|node| self.vtep_of(node)).transpose()
    }

    /// The VTEP of the node that owns the egress pairs of a pool: in file mode the first member of
    /// its gateway.
    pub fn owner(&self, pool: &PoolName) -> Result<IpAddr, TopologyError> {
        let node = self
            .resources
            .pool(pool)
            .and_then(|pool| self.resources.gateway(pool.gateway()?))
            .and_then(|gateway| gateway.members.first())
            .and_then(|name| self.resources.node(name));
        match node {
            Some(node) => self.vtep_of(node),
            None => Err(TopologyError::NoOwner { pool: pool.clone() }),
        }
    }

    /// Every node, as a gateway sees it.
    pub fn peers(&self) -> Result<Vec<Peer>, TopologyError> {
        let peer = |node: &EgressNode| {
            let vtep = self.vtep_of(node)?;
            Ok(Peer { id: node.id, vtep, pod_cidrs: node.pod_cidrs.clone() })
        };
        self.resources.nodes.iter().map(peer).collect()
    }

    /// The networks to which a gateway has a way back: `clusterCIDRs` and every node's `podCIDRs`.
    pub fn pod_networks(&self) -> Vec<Prefix> {
        let nodes = self.resources.nodes.iter().flat_map(|node| &node.pod_cidrs);
        let mut all: Vec<Prefix> =
            self.resources.cluster.cluster_cidrs.iter().chain(nodes).copied().collect();
        all.sort();
        all.dedup();
        all
    }
}

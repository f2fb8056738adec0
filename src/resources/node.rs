//! `EgressNode`: a machine that takes part, as worker, gateway or both.

use std::net::IpAddr;

use egret_types::{DualStack, Family, NodeId, NodeName, Prefix};

use crate::{
    UplinkSpec,
    cluster::read_networks,
    cursor::{Cursor, Fields, Keys},
    problem::Problems,
    unicast::read_address,
    uplink,
};

/// A machine that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressNode {
    /// `metadata.name`.
    pub name: NodeName,
    /// `vtep`: its underlay addresses, at least one.
    pub vtep: DualStack<IpAddr>,
    /// `id`, or the low 16 bits of the VTEP that stands first.
    pub id: NodeId,
    /// `podCIDRs`: inner sources that this node may send; empty is not checked.
    pub pod_cidrs: Vec<Prefix>,
    /// `uplink`: what differs on this node from the uplink of its gateway.
    pub uplink: UplinkSpec,
}

/// There is no address family in which every node has a VTEP. One VXLAN link takes one outer
/// family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOuterFamily {
    /// There is no node.
    #[error("there is no EgressNode, so the tunnel has no outer family")]
    NoNode,
    /// For each family there is a node without it.
    #[error(
        "no address family has a VTEP on every EgressNode: \
         {without_v4} has no ipv4, {without_v6} has no ipv6"
    )]
    NoneCommon {
        /// A node without an IPv4 VTEP.
        without_v4: NodeName,
        /// A node without an IPv6 VTEP.
        without_v6: NodeName,
    },
}

/// The first family in which every node has a VTEP.
pub(crate) fn outer_family<'n>(
    nodes: &(impl Iterator<Item = &'n EgressNode> + Clone),
) -> Result<Family, NoOuterFamily> {
    let lacking = |family| nodes.clone().find(|node| node.vtep.get(family).is_none());
    match (nodes.clone().next(), lacking(Family::V4), lacking(Family::V6)) {
        (None, ..) => Err(NoOuterFamily::NoNode),
        (_, None, _) => Ok(Family::V4),
        (_, _, None) => Ok(Family::V6),
        (_, Some(a), Some(b)) => Err(NoOuterFamily::NoneCommon {
            without_v4: a.name.clone(),
            without_v6: b.name.clone(),
        }),
    }
}

const SPEC: Keys = Keys { honoured: &["vtep", "id", "podCIDRs", "uplink"], later: &[] };

pub(crate) fn read(
    name: NodeName,
    spec: Cursor<'_>,
    problems: &mut Problems,
) -> Option<EgressNode> {
    let spec = Fields::open(spec, &SPEC, problems)?;
    let vtep = spec.required("vtep", "the node's underlay addresses, one a family", problems);
    let vtep = vtep.and_then(|at| read_vtep(&at, problems).map(|vtep| (at, vtep)));
    let id = match spec.get("id") {
        Some(at) => problems.keep(at.number()),
        None => vtep.as_ref().and_then(|(at, vtep)| derive_id(at, vtep, problems)),
    };
    let uplink = match spec.get("uplink") {
        Some(at) => uplink::read(at, problems),
        None => Some(UplinkSpec::default()),
    };
    Some(EgressNode {
        name,
        pod_cidrs: read_networks(&spec, "podCIDRs", problems).unwrap_or_default(),
        vtep: vtep?.1.by_family,
        id: id?,
        uplink: uplink?,
    })
}

struct Vtep {
    first: IpAddr,
    by_family: DualStack<IpAddr>,
}

fn read_vtep(at: &Cursor<'_>, problems: &mut Problems) -> Option<Vtep> {
    const EXPECTED: &str = "a list of one or two addresses";
    let items = problems.keep(at.items(EXPECTED))?;
    if items.len() == 0 {
        problems.add(at.problem(format!("the list is empty; wanted {EXPECTED}")));
    }
    let mut first = None;
    let mut by_family = DualStack::default();
    for item in items {
        let Some(address) = problems.keep(read_address(&item)) else { continue };
        first = first.or(Some(address));
        let family = Family::of(address);
        if let Some(other) = by_family.slot(family).replace(address) {
            problems.add(item.problem(format!(
                "{address} is a second {family} address beside {other}; a node has one VTEP a family"
            )));
        }
    }
    Some(Vtep { first: first?, by_family })
}

fn derive_id(at: &Cursor<'_>, vtep: &Vtep, problems: &mut Problems) -> Option<NodeId> {
    let low = u32::try_from(Family::number(vtep.first) & 0xffff).unwrap_or(0);
    problems.keep(NodeId::try_from(low).map_err(|_| {
        at.problem(format!("the low 16 bits of {} are 0 and name no node; give an id", vtep.first))
    }))
}

//! `EgressGateway`: the nodes through which the pools that name it leave the cluster.

use egret_types::{GatewayName, NodeName};

use crate::{
    EgressNode, Uplink, UplinkSpec,
    cursor::{Cursor, Fields, Keys},
    problem::Problems,
    uplink,
};

/// A logical exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressGateway {
    /// `metadata.name`.
    pub name: GatewayName,
    /// `members`, at least one, each an `EgressNode`. The first owns every egress IP.
    pub members: Vec<NodeName>,
    /// `uplink`, for the members that do not say otherwise.
    pub uplink: UplinkSpec,
}

impl EgressGateway {
    /// The uplink of a member: what the node says goes before what the gateway says. `None` if
    /// neither names the interface, which `parse` refuses.
    pub fn uplink_on(&self, member: &EgressNode) -> Option<Uplink> {
        member.uplink.over(&self.uplink)
    }
}

const SPEC: Keys = Keys { honoured: &["members", "uplink"], later: &["default"] };

pub(crate) fn read(
    name: GatewayName,
    spec: Cursor<'_>,
    problems: &mut Problems,
) -> Option<EgressGateway> {
    let spec = Fields::open(spec, &SPEC, problems)?;
    let members = spec.required("members", "the EgressNodes of this gateway", problems);
    let members = members.and_then(|at| read_members(&at, problems));
    let uplink = match spec.get("uplink") {
        Some(at) => uplink::read(at, problems),
        None => Some(UplinkSpec::default()),
    };
    Some(EgressGateway { name, members: members?, uplink: uplink? })
}

fn read_members(at: &Cursor<'_>, problems: &mut Problems) -> Option<Vec<NodeName>> {
    let items = problems.keep(at.items("a list of EgressNode names"))?;
    if items.len() == 0 {
        problems.add(at.problem("the list is empty; a gateway needs at least one member"));
    }
    let mut members: Vec<NodeName> = Vec::new();
    for item in items {
        let Some(name) = problems.keep(item.parse("the name of an EgressNode")) else { continue };
        if members.contains(&name) {
            problems.add(item.problem(format!("{:?} stands twice in the list", name.as_str())));
        }
        members.push(name);
    }
    Some(members)
}

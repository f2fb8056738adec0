//! The gateway role of this node: which gateways it serves, over which uplink, and the record of
//! what was made for it.

use egret_egress::object::Placed;
use egret_resources::{EgressGateway, Uplink};
use egret_types::{GatewayName, NodeName};
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::node::Node;

/// What `gateway up` made, in order: what `gateway down` removes. Like the record of an attachment
/// it is written before the kernel is touched.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct GatewayRecord {
    pub(crate) objects: Vec<Placed>,
}

/// A gateway that this node is to serve, with the uplink it wants here.
pub(crate) struct Served<'a> {
    pub(crate) gateway: &'a EgressGateway,
    pub(crate) uplink: Uplink,
}

/// The gateways whose egress IPs this node is to have: those of which it is the first member, or,
/// when it takes them, any member. At least one; all over one uplink.
pub(crate) fn served<'a>(node: &'a Node, take: Take) -> Result<Vec<Served<'a>>, CliError> {
    let memberships: Vec<&EgressGateway> =
        node.resources.gateways.iter().filter(|g| g.members.contains(&node.name)).collect();
    let owned = |g: &&&EgressGateway| take == Take::Yes || g.members.first() == Some(&node.name);
    let Some(any) = memberships.first() else {
        return Err(no_member(node)?);
    };
    let own = node.topology()?.own();
    let mut served: Vec<Served<'a>> = Vec::new();
    for gateway in memberships.iter().filter(owned) {
        let no_uplink = || CliError::NoUplink(gateway.name.clone());
        let uplink = gateway.uplink_on(own).ok_or_else(no_uplink)?;
        if let Some(first) = served.first().filter(|first| first.uplink != uplink) {
            let (first, second) = (first.gateway.name.clone(), gateway.name.clone());
            return Err(CliError::TwoUplinks { first, second });
        }
        served.push(Served { gateway, uplink });
    }
    match (served.is_empty(), any.members.first()) {
        (true, Some(first)) => Err(not_first(node, any, first)?),
        _ => Ok(served),
    }
}

fn no_member(node: &Node) -> Result<CliError, CliError> {
    Ok(match node.local.gateway()? {
        None => CliError::NoMember(node.name.clone()),
        Some(_) => CliError::NoMemberAndUp(node.name.clone()),
    })
}

/// Refused, and what is up stays as it is: to be no gateway at all is `gateway down`.
fn not_first(node: &Node, gateway: &EgressGateway, first: &NodeName) -> Result<CliError, CliError> {
    let (node_name, gateway, first) = (node.name.clone(), gateway.name.clone(), first.clone());
    Ok(match node.local.gateway()? {
        None => CliError::NotFirst { node: node_name, gateway, first },
        Some(_) => CliError::NotFirstAndUp { node: node_name, gateway, first },
    })
}

/// Whether egress IPs are taken although the resources give them to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// `--take`
    Yes,
    /// The first member only.
    No,
}

impl From<bool> for Take {
    fn from(flag: bool) -> Self {
        if flag { Take::Yes } else { Take::No }
    }
}

/// The names of these gateways in one text.
pub(crate) fn names(served: &[Served<'_>]) -> String {
    let names: Vec<&str> = served.iter().map(|s| GatewayName::as_str(&s.gateway.name)).collect();
    names.join(", ")
}

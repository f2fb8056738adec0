//! The gateway's link to the outside: in an `EgressGateway` for all members, in an `EgressNode` for
//! one of them, and what both together mean.

use std::net::IpAddr;

use egret_types::{Family, LinkAddress, LinkName};

use crate::{
    Problem,
    cursor::{Cursor, Fields, Keys},
    defaults,
    problem::Problems,
    unicast::read_any,
};

/// `uplink` as one resource gives it; what is absent there comes from the other one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkSpec {
    /// `interface`: the link of the node's root namespace.
    pub interface: Option<LinkName>,
    /// `mode`.
    pub mode: Option<UplinkMode>,
    /// `addresses`; empty is copied from the interface.
    pub addresses: Option<Vec<LinkAddress>>,
    /// `nextHops`, at most one a family; empty is copied from the interface.
    pub next_hops: Option<Vec<IpAddr>>,
}

/// How the gateway's namespace reaches the uplink interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkMode {
    /// A macvlan link on it, with its own MAC.
    Macvlan,
}

/// The uplink of one member of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The link of the node's root namespace.
    pub interface: LinkName,
    /// How to reach it.
    pub mode: UplinkMode,
    /// Connected networks of the uplink; empty: those of the interface.
    pub addresses: Vec<LinkAddress>,
    /// Next hops, at most one a family; empty: those of the interface's default routes.
    pub next_hops: Vec<IpAddr>,
}

impl UplinkSpec {
    /// What both say together; this one goes first. `None` if neither names the interface.
    pub fn over(&self, other: &UplinkSpec) -> Option<Uplink> {
        let addresses = self.addresses.as_ref().or(other.addresses.as_ref());
        let next_hops = self.next_hops.as_ref().or(other.next_hops.as_ref());
        Some(Uplink {
            interface: self.interface.clone().or_else(|| other.interface.clone())?,
            mode: self.mode.or(other.mode).unwrap_or(defaults::UPLINK_MODE),
            addresses: addresses.cloned().unwrap_or_default(),
            next_hops: next_hops.cloned().unwrap_or_default(),
        })
    }
}

const UPLINK: Keys = Keys { honoured: &["interface", "mode", "addresses", "nextHops"], later: &[] };

pub(crate) fn read(at: Cursor<'_>, problems: &mut Problems) -> Option<UplinkSpec> {
    let fields = Fields::open(at, &UPLINK, problems)?;
    let interface = fields.get("interface");
    let mode = fields.get("mode");
    Some(UplinkSpec {
        interface: interface.and_then(|at| problems.keep(at.parse("the name of a link"))),
        mode: mode.and_then(|at| problems.keep(read_mode(&at))),
        addresses: fields.get("addresses").map(|at| {
            at.list("a list of addresses with the length of their prefix", problems, |item| {
                item.parse("an address with the length of its prefix (address/length)")
            })
        }),
        next_hops: fields.get("nextHops").map(|at| read_next_hops(&at, problems)),
    })
}

fn read_mode(at: &Cursor<'_>) -> Result<UplinkMode, Problem> {
    at.word("macvlan", &["host"]).map(|()| UplinkMode::Macvlan)
}

fn read_next_hops(at: &Cursor<'_>, problems: &mut Problems) -> Vec<IpAddr> {
    let hops = at.list("a list of addresses, at most one a family", problems, read_any);
    for family in Family::BOTH {
        let of_family: Vec<_> = hops.iter().filter(|hop| Family::of(**hop) == family).collect();
        if let [first, second, ..] = of_family.as_slice() {
            problems.add(at.problem(format!(
                "{first} and {second} are both {family}; an uplink has one next hop a family"
            )));
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_goes_before_its_gateway_key_by_key() {
        let gateway = UplinkSpec {
            interface: Some("ext0".parse().unwrap()),
            mode: None,
            addresses: Some(vec!["203.0.113.2/24".parse().unwrap()]),
            next_hops: Some(vec!["203.0.113.1".parse().unwrap()]),
        };
        let node = UplinkSpec {
            interface: Some("ext1".parse().unwrap()),
            addresses: Some(Vec::new()),
            ..UplinkSpec::default()
        };
        let uplink = node.over(&gateway).unwrap();
        assert_eq!(uplink.interface.as_str(), "ext1");
        assert_eq!(uplink.mode, UplinkMode::Macvlan);
        assert!(uplink.addresses.is_empty(), "an empty list is copied from the node's interface");
        assert_eq!(Some(uplink.next_hops), gateway.next_hops);
        assert_eq!(UplinkSpec::default().over(&UplinkSpec::default()), None);
    }
}

//! The pod guard, in the node's root namespace: what a selected pod may send on its primary link.
//! Steering is the pod's to remove, and any process leaves around it with `SO_BINDTODEVICE`; this
//! is not the pod's.
//!
//! Two tables. In family netdev, on the node's end of the link, frames pass only with a source that
//! is the pod's own. In family inet, where the node forwards, a packet from the pod's address to a
//! destination that is not untouched by its decision is dropped, unless it answers a connection that
//! came in. `ct direction original drop` would not do: a packet without a conntrack entry, a wrong
//! checksum is enough, has no direction, and would pass. Nor may anybody begin such a connection: what
//! comes to the pod from such an address must come in where the answer goes out. A pod that is not
//! guarded, with `NET_RAW` and a forged source, would otherwise open the way for its accomplice.
//!
//! Each attachment has a chain of its own, to which its addresses lead: an address that was given to
//! a newer pod leads to that pod's chain, so that nobody removes it with the older one. What the
//! decision leaves alone is a set that all pods of the same decision share. It lists what may pass,
//! since a set that is new in a transaction looks empty for a moment: then nothing does. The tables go
//! with the last guard in them.

use std::net::IpAddr;

use egret_types::{Family, IfIndex, LinkName, ours};

use super::attachment::Names;
use super::guard::GUARD_PRIORITY;
use super::{Policy, base, chain, drop_counted, ether_type, nfproto, of_family, shared_set};
use crate::decision::Decision;
use crate::nft::{
    Chain, Constant, Content, Count, DataType, Datum, Element, Entry, Expr, Field, HookPoint, Op,
    Removal, Rule, Ruleset, Set, TableFamily, Value, ValueType, fingerprint,
};
use crate::object::{Object, Place, Placed};

const ARP: u32 = 0x0806;
const ICMPV6: u32 = 58;
const ROUTER_ADVERTISEMENT: u32 = 134;
const NEIGHBOUR_SOLICITATION: u32 = 135;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
const REDIRECT: u32 = 137;
const MULTICAST_REPORT: u32 = 143;
/// `fe80::/64`. Packets with such a source are never forwarded; neighbour discovery needs them.
const LINK_LOCAL: [u8; 8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];
/// Version 4, and a header of five words.
const WITHOUT_OPTIONS: u32 = 0x45;
/// `IP_CT_DIR_ORIGINAL` and `IP_CT_DIR_REPLY` of `ct direction`.
const ORIGINAL: u32 = 0;
const REPLY: u32 = 1;
/// Where a pod's address leads as a source, and as a destination.
const GUARDED: &str = "guarded";
const ARRIVING: &str = "arriving";
/// The chain for what comes to a pod from where its policies send it.
const ELSEWHERE: &str = "elsewhere";

/// The node's end of a pod's primary link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub name: LinkName,
    /// Its number: another link may get the name one day.
    pub index: IfIndex,
}

/// What guards a pod with these addresses, in the order in which it is made. Of the decision only
/// matters what it leaves untouched, so that the guard can be there before any lease is.
pub fn pod_guard(
    names: &Names,
    end: &HostEnd,
    addresses: &[IpAddr],
    decision: &Decision,
) -> Vec<Placed> {
    vec![sources(names, end, addresses), destinations(names, addresses, decision)]
}

/// The guard of a pod of which no record is left. Its addresses are found by where they lead.
pub(super) fn by_name(names: &Names) -> Vec<Placed> {
    let end = HostEnd { name: names.node.clone(), index: IfIndex(0) };
    pod_guard(names, &end, &[], &Decision::default())
}

/// Both tables with all that is in them: a ruleset that names nothing is the table itself.
pub fn pod_guard_tables() -> [Placed; 2] {
    [TableFamily::Netdev, TableFamily::Inet].map(|family| table(family, vec![], vec![], vec![]))
}

fn table(
    family: TableFamily,
    sets: Vec<Set>,
    chains: Vec<Chain>,
    elements: Vec<Element>,
) -> Placed {
    let table = ours::NFT_GUARD_TABLE.into();
    let ruleset = Ruleset { family, table, sets, chains, elements };
    Placed { place: Place::Root, object: Object::Nft(ruleset) }
}

fn own(addresses: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> {
    addresses.iter().copied().filter(move |address| Family::of(*address) == family)
}

fn common(set: Set) -> Set {
    Set { removal: Removal::Last, ..set }
}

/// The sources of a pod's frames.
fn sources(names: &Names, end: &HostEnd, addresses: &[IpAddr]) -> Placed {
    let map = |family| {
        let key = [DataType::IfIndex, DataType::Address(family)];
        common(shared_set(&of_family("sources", family), &key, ValueType::None))
    };
    let element = |address: &IpAddr| Element {
        set: of_family("sources", Family::of(*address)),
        entry: Entry {
            key: vec![Datum::IfIndex(end.index), Datum::Address(*address)],
            value: Value::None,
        },
    };
    // The kernel keeps the chain of a link that is gone, and gives it to the next of its name.
    let this_link = Expr::Match(Field::Iif, Op::Is, Constant::Number(end.index.0));
    let ingress = HookPoint::Ingress(end.name.clone());
    let ingress = base(names.node.as_str(), ingress, GUARD_PRIORITY, Policy::Accept)
        .rules(vec![vec![this_link, Expr::Jump("source".into())]]);
    let mut elements: Vec<Element> = addresses.iter().map(element).collect();
    elements.dedup();
    table(
        TableFamily::Netdev,
        Family::BOTH.map(map).into(),
        vec![advertised(), ipv6_source(), source(), ingress],
        elements,
    )
}

/// `iif . field @sources`: the address is the pod's own.
fn is_own(field: Field, family: Family) -> Expr {
    Expr::Lookup(vec![Field::Iif, field], Op::Is, of_family("sources", family))
}

fn icmpv6(kind: u32) -> [Expr; 2] {
    [
        Expr::Match(Field::L4Proto, Op::Is, Constant::Number(ICMPV6)),
        Expr::Match(Field::IcmpType, Op::Is, Constant::Number(kind)),
    ]
}

fn link_local(field: Field) -> Expr {
    Expr::Match(field, Op::Is, Constant::Bytes(LINK_LOCAL.to_vec()))
}

fn source() -> Chain {
    let arp = Expr::Match(Field::EtherType, Op::Is, Constant::Number(ARP));
    let rules = vec![
        // ether type arp iif . arp saddr ip @sources4 accept
        vec![arp, is_own(Field::ArpSender, Family::V4), Expr::Accept],
        vec![ether_type(Family::V4), is_own(Field::Saddr(Family::V4), Family::V4), Expr::Accept],
        vec![ether_type(Family::V6), Expr::Jump("source6".into())],
        drop_counted(),
    ];
    chain("source", rules, Removal::Last)
}

/// Returning is being dropped.
fn ipv6_source() -> Chain {
    let of_kind =
        |kind, parts: Vec<Expr>| -> Rule { icmpv6(kind).into_iter().chain(parts).collect() };
    let unspecified = || {
        let address = Constant::Bytes(vec![0; 16]);
        Expr::Match(Field::Saddr(Family::V6), Op::Is, address)
    };
    let from_nowhere = |kind| {
        let mut rule = vec![unspecified()];
        rule.extend(icmpv6(kind));
        rule.push(Expr::Accept);
        rule
    };
    let rules = vec![
        // A pod is no router.
        of_kind(ROUTER_ADVERTISEMENT, drop_counted()),
        of_kind(REDIRECT, drop_counted()),
        of_kind(NEIGHBOUR_ADVERTISEMENT, vec![Expr::Jump("advertised".into())]),
        vec![is_own(Field::Saddr(Family::V6), Family::V6), Expr::Accept],
        vec![link_local(Field::Ip6SaddrNetwork), Expr::Accept],
        // Detection of duplicate addresses.
        from_nowhere(NEIGHBOUR_SOLICITATION),
        from_nowhere(MULTICAST_REPORT),
    ];
    chain("source6", rules, Removal::Last)
}

/// A pod speaks for its own addresses only.
fn advertised() -> Chain {
    let rules = vec![
        vec![is_own(Field::NdTarget, Family::V6), Expr::Return],
        vec![link_local(Field::NdTargetNetwork), Expr::Return],
        drop_counted(),
    ];
    chain("advertised", rules, Removal::Last)
}

/// The destinations of a pod's packets.
fn destinations(names: &Names, addresses: &[IpAddr], decision: &Decision) -> Placed {
    let map = |stem: &str, family| {
        let key = [DataType::Address(family)];
        common(shared_set(&of_family(stem, family), &key, ValueType::Verdict))
    };
    let maps = |family| [map(GUARDED, family), map(ARRIVING, family)];
    let mut sets: Vec<Set> = Family::BOTH.map(maps).concat();
    let mut chains = vec![outside(), from_elsewhere()];
    let (mut way, mut back) = (Vec::new(), Vec::new());
    let mut elements = Vec::new();
    let (there, here) = (names.node.to_string(), format!("{}-in", names.node));
    for family in Family::BOTH {
        if own(addresses, family).next().is_none() {
            continue;
        }
        let (set, chain) = untouched(family, decision.untouched(family));
        way.push(vec![nfproto(family), Expr::Jump(chain.name.clone())]);
        let near = Expr::Lookup(vec![Field::Saddr(family)], Op::Is, set.name.clone());
        back.push(vec![nfproto(family), near, Expr::Return]);
        sets.push(set);
        chains.push(chain);
        for address in own(addresses, family) {
            for (map, to) in [(GUARDED, &there), (ARRIVING, &here)] {
                let key = vec![Datum::Address(address)];
                let entry = Entry { key, value: Value::Jump(to.clone()) };
                elements.push(Element { set: of_family(map, family), entry });
            }
        }
    }
    // A chain of a decision has a verdict for every packet. Should it ever not, this is it.
    way.push(drop_counted());
    elements.dedup();
    back.push(vec![Expr::Jump(ELSEWHERE.into())]);
    chains.push(chain(&there, way, Removal::Delete));
    chains.push(chain(&here, back, Removal::Delete));
    chains.push(forward());
    table(TableFamily::Inet, sets, chains, elements)
}

/// What does not stay: answers to connections that came in, and nothing else.
fn outside() -> Chain {
    let reply = Expr::Match(Field::CtDirection, Op::Is, Constant::Number(REPLY));
    chain("outside", vec![vec![reply, Expr::Return], drop_counted()], Removal::Last)
}

/// What speaks to a pod first, with a source that the pod does not answer freely: it must come in where
/// the answer would go out. Otherwise any pod that is not guarded could pretend to be such a source, and
/// the answer would leave.
fn from_elsewhere() -> Chain {
    let first = Expr::Match(Field::CtDirection, Op::Is, Constant::Number(ORIGINAL));
    let no_way_back = Expr::Match(Field::FibReversePath, Op::Is, Constant::Number(0));
    chain(ELSEWHERE, vec![vec![first, no_way_back, Expr::Counter, Expr::Drop]], Removal::Last)
}

/// The chain of one decision and family and the destinations that it leaves alone; shared as the
/// decision chains of the worker are.
fn untouched(family: Family, ranges: Vec<(IpAddr, IpAddr)>) -> (Set, Chain) {
    let name = of_family(&format!("g{}-", fingerprint(&ranges)), family);
    let alone = Expr::Lookup(vec![Field::Daddr(family)], Op::Is, name.clone());
    let mut rules = vec![];
    if family == Family::V4 {
        // Options can name the next hops (a source route): the destination is only the first of them.
        let has_options =
            Expr::Match(Field::Ip4Start, Op::IsNot, Constant::Number(WITHOUT_OPTIONS));
        rules.push(vec![has_options, Expr::Jump("outside".into())]);
    }
    rules.push(vec![alone, Expr::Accept]);
    rules.push(vec![Expr::Jump("outside".into())]);
    rules.push(vec![Expr::Accept]);
    let set = Set {
        name: name.clone(),
        key: vec![DataType::Address(family)],
        value: ValueType::None,
        content: Content::Ranges(ranges),
        count: Count::Nothing,
        removal: Removal::Unused,
    };
    (set, chain(&name, rules, Removal::Unused))
}

/// Where the node forwards, before others do anything.
fn forward() -> Chain {
    let led = |stem: &str, family, field| {
        vec![nfproto(family), Expr::VerdictMap(vec![field], of_family(stem, family))]
    };
    let from = Family::BOTH.map(|family| led(GUARDED, family, Field::Saddr(family)));
    let to = Family::BOTH.map(|family| led(ARRIVING, family, Field::Daddr(family)));
    let rules = [from, to].concat();
    let base = base("forward", HookPoint::Forward, GUARD_PRIORITY, Policy::Accept).rules(rules);
    Chain { removal: Removal::Last, ..base }
}

//! The nft tables of the gateway side. conntrack remembers, flow by flow, the node (zone of the
//! original direction) and the identity (connection mark); these numbers travel:
//!
//! | from                            | to                           | where                       |
//! |---------------------------------|------------------------------|-----------------------------|
//! | destination MAC of the frame    | packet mark (identity)       | netdev ingress of the tunnel|
//! | source MAC of the frame         | zone of the original direction | inet prerouting, before defragmentation |
//! | packet mark                     | connection mark, once a flow | inet prerouting             |
//! | zone                            | packet mark (node)           | prerouting, forward         |
//! | connection mark                 | packet priority (identity)   | forward, on the way back    |
//! | packet mark and priority        | MACs of the return frame     | netdev egress of the tunnel |

use std::net::IpAddr;

use egret_types::{Family, LinkName, ours};

use super::gateway::{GatewayFacts, OwnedPair, Peer, uplink_name};
use super::tunnel::{to_an_identity, tunnel_name};
use super::{
    Policy, Removal, base, chain, drop_counted, ether_type, exact, link_is, mac_is, nfproto,
    of_family,
};
use crate::nft::{
    Chain, Constant, Content, DataType, Datum, Entry, Expr, Field, HookPoint, Op, ReturnSource,
    Rule, Ruleset, Set, TableFamily, Target, Value, ValueType,
};

/// Before defragmentation (-400), whose queues are keyed by the zone: later, fragments of two nodes
/// with one pod address and one IP id would be put together.
const BEFORE_DEFRAGMENTATION: i32 = -450;
const MANGLE: i32 = -150;
const SOURCE_NAT: i32 = 100;
/// Behind source NAT: it sees what really leaves.
const FENCE: i32 = 110;
/// Bits of `ct state`.
const INVALID: u32 = 1;
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

/// Frames: who may send them, with which identity, and how they go back.
pub(super) fn netdev(facts: &GatewayFacts) -> Ruleset {
    let checked: Vec<&Peer> = facts.peers.iter().filter(|p| !p.pod_cidrs.is_empty()).collect();
    let mut sets = vec![nodes(&facts.peers), checks(&checked)];
    let mut chains = Vec::new();
    for peer in &checked {
        sets.extend(Family::BOTH.map(|family| sources(peer, family)));
        chains.push(source_check(peer));
    }
    let [taken4, taken6] = Family::BOTH.map(taken);
    let check = vec![Expr::VerdictMap(vec![Field::EtherSaddr], "checked".into())];
    chains.push(chain("gateway", vec![check, taken4, taken6, drop_counted()], Removal::Flush));
    chains.push(chain(
        "back",
        vec![back(ReturnSource::Priority), back(ReturnSource::Gateway), drop_counted()],
        Removal::Delete,
    ));
    chains.push(base("out", HookPoint::Egress(tunnel_name()), 0, Policy::Drop).rules(vec![
        vec![mac_is(Field::EtherDaddr, Op::Is, ours::RETURN_HOP_MAC), Expr::Jump("back".into())],
        // From the worker side of this node, which sends through the same link.
        vec![to_an_identity(), Expr::Accept],
        // What the kernel itself says on a link that routes: multicast listener reports.
        vec![to_ipv6_multicast(), Expr::Drop],
        drop_counted(),
    ]));
    // Nothing of ours leaves the namespace with a packet.
    let scrub =
        [Target::Mark, Target::Priority].map(|target| Expr::SetConstant(target, 0)).to_vec();
    chains.push(
        base("uplink", HookPoint::Egress(uplink_name()), 0, Policy::Accept).rules(vec![scrub]),
    );
    Ruleset {
        family: TableFamily::Netdev,
        table: ours::NFT_TABLE.into(),
        sets,
        chains,
        elements: vec![],
    }
}

/// A frame of a known node: its identity becomes the packet's mark.
fn taken(family: Family) -> Rule {
    vec![
        ether_type(family),
        Expr::Lookup(vec![Field::EtherSaddr], Op::Is, "nodes".into()),
        Expr::SetField(Target::Mark, Field::EtherDaddrIdentity),
        // The frame is addressed to an identity, no link has that MAC: say it is for this host.
        Expr::SetConstant(Target::PktType, 0),
        Expr::Accept,
    ]
}

/// A return frame. A mark would make vxlan look up the outer route for every packet, a priority is
/// a class to the qdiscs of the underlay: both have done their work and are cleared.
fn back(source: ReturnSource) -> Rule {
    vec![
        Expr::ReturnMacs(source),
        Expr::SetConstant(Target::Mark, 0),
        Expr::SetConstant(Target::Priority, 0),
        Expr::Accept,
    ]
}

/// 33:33 begins every MAC to which IPv6 multicast goes (RFC 2464, section 7).
fn to_ipv6_multicast() -> Expr {
    Expr::Match(Field::EtherDaddrPrefix, Op::Is, Constant::Bytes(vec![0x33, 0x33]))
}

fn nodes(peers: &[Peer]) -> Set {
    let entry = |peer: &Peer| Entry { key: vec![Datum::Mac(peer.id.mac())], value: Value::None };
    exact("nodes", vec![DataType::Ether], ValueType::None, peers.iter().map(entry))
}

/// Nodes whose inner sources are checked.
fn checks(checked: &[&Peer]) -> Set {
    let entry = |peer: &&Peer| Entry {
        key: vec![Datum::Mac(peer.id.mac())],
        value: Value::Jump(check_name(peer)),
    };
    exact("checked", vec![DataType::Ether], ValueType::Verdict, checked.iter().map(entry))
}

fn check_name(peer: &Peer) -> String {
    format!("node-{}", peer.id.number())
}

fn sources(peer: &Peer, family: Family) -> Set {
    let mut ranges: Vec<(u128, u128)> =
        peer.pod_cidrs.iter().filter(|p| p.family() == family).map(|p| p.range()).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    let addresses =
        joined.into_iter().map(|(a, b)| (family.address(a), family.address(b))).collect();
    Set {
        name: of_family(&format!("{}-", check_name(peer)), family),
        key: vec![DataType::Address(family)],
        value: ValueType::None,
        content: Content::Ranges(addresses),
        removal: Removal::Delete,
    }
}

fn source_check(peer: &Peer) -> Chain {
    let known = |family| {
        let set = of_family(&format!("{}-", check_name(peer)), family);
        let source = Expr::Lookup(vec![Field::Saddr(family)], Op::Is, set);
        vec![ether_type(family), source, Expr::Return]
    };
    let [known4, known6] = Family::BOTH.map(known);
    chain(&check_name(peer), vec![known4, known6, drop_counted()], Removal::Delete)
}

/// Packets: which flow is whose, what may be forwarded, with which source it leaves.
pub(super) fn inet(facts: &GatewayFacts) -> Ruleset {
    let (tunnel, uplink) = (tunnel_name(), uplink_name());
    let filter = |name: &str, point, priority, policy, rules| {
        base(name, point, priority, policy).rules(rules)
    };
    let zone = vec![
        link_is(Field::IifName, &tunnel),
        Expr::SetField(Target::CtOriginalZone, Field::EtherSaddrNode),
    ];
    let remember = vec![link_is(Field::IifName, &tunnel), Expr::Jump("tunnel".into())];
    let chains = vec![
        filter("zone", HookPoint::Prerouting, BEFORE_DEFRAGMENTATION, Policy::Accept, vec![zone]),
        chain("tunnel", flow(), Removal::Delete),
        filter("remember", HookPoint::Prerouting, MANGLE, Policy::Accept, vec![remember]),
        filter("input", HookPoint::Input, 0, Policy::Drop, input(&uplink)),
        filter("forward", HookPoint::Forward, 0, Policy::Drop, forward(&tunnel, &uplink)),
        filter(
            "post",
            HookPoint::PostroutingNat,
            SOURCE_NAT,
            Policy::Accept,
            translate(&tunnel, &uplink),
        ),
        filter("fence", HookPoint::Postrouting, FENCE, Policy::Accept, fence(&tunnel, &uplink)),
    ];
    Ruleset {
        family: TableFamily::Inet,
        table: ours::NFT_TABLE.into(),
        sets: Family::BOTH.into_iter().flat_map(|family| pair_sets(family, &facts.pairs)).collect(),
        chains,
        elements: vec![],
    }
}

/// A flow has the identity of its first packet for ever. One lookup with the packet's identity and
/// its flow's answers three questions: is the identity known, is the flow its own (a reused pod
/// address could meet another tenant's flow), is there a conntrack entry at all.
fn flow() -> Vec<Rule> {
    let first = vec![
        Expr::Match(Field::CtMark, Op::Is, Constant::Number(0)),
        Expr::SetField(Target::CtMark, Field::Mark),
    ];
    let own = |family| {
        let key = vec![Field::Mark, Field::CtMark];
        vec![
            nfproto(family),
            Expr::Lookup(key, Op::Is, of_family("snat", family)),
            // From here the mark is the node: an error about this packet finds its way by it.
            Expr::SetField(Target::Mark, Field::CtOriginalZone),
            Expr::Accept,
        ]
    };
    let [own4, own6] = Family::BOTH.map(own);
    vec![first, own4, own6, drop_counted()]
}

/// To an egress address itself: ICMP, which includes neighbour discovery, and answers. A packet of
/// no known flow is dropped without a reset, which would end a flow that another gateway has.
fn input(uplink: &LinkName) -> Vec<Rule> {
    let icmp = |number| {
        let protocol = Expr::Match(Field::L4Proto, Op::Is, Constant::Number(number));
        vec![link_is(Field::IifName, uplink), protocol, Expr::Accept]
    };
    let known = Expr::AnyBit(Field::CtState, ESTABLISHED_OR_RELATED);
    vec![
        vec![link_is(Field::IifName, &ours::link("lo")), Expr::Accept],
        icmp(ICMP),
        icmp(ICMPV6),
        vec![link_is(Field::IifName, uplink), known, Expr::Accept],
        drop_counted(),
    ]
}

fn forward(tunnel: &LinkName, uplink: &LinkName) -> Vec<Rule> {
    let between = |from, to| [link_is(Field::IifName, from), link_is(Field::OifName, to)];
    let invalid = vec![Expr::AnyBit(Field::CtState, INVALID), Expr::Counter, Expr::Drop];
    let out = between(tunnel, uplink).into_iter().chain([Expr::Accept]).collect();
    let answer = between(uplink, tunnel)
        .into_iter()
        .chain([
            Expr::AnyBit(Field::CtState, ESTABLISHED_OR_RELATED),
            Expr::SetField(Target::Mark, Field::CtOriginalZone),
            // ip_forward has set the priority from the TOS field before this hook.
            Expr::SetField(Target::Priority, Field::CtMark),
            Expr::Accept,
        ])
        .collect();
    vec![invalid, out, answer, drop_counted()]
}

/// What no map names is dropped, never masqueraded.
fn translate(tunnel: &LinkName, uplink: &LinkName) -> Vec<Rule> {
    let snat = |family| {
        let key = vec![Field::CtMark, Field::CtMark];
        let map = of_family("snat", family);
        vec![link_is(Field::OifName, uplink), nfproto(family), Expr::SnatMap(family, key, map)]
    };
    let [snat4, snat6] = Family::BOTH.map(snat);
    vec![snat4, snat6, leaving(tunnel, uplink, drop_counted())]
}

/// The last look: the pair (identity, source) must be one that this gateway owns.
fn fence(tunnel: &LinkName, uplink: &LinkName) -> Vec<Rule> {
    let owned = |family| {
        let key = vec![Field::CtMark, Field::Saddr(family)];
        let mut rule =
            vec![nfproto(family), Expr::Lookup(key, Op::IsNot, of_family("pair", family))];
        rule.extend(drop_counted());
        leaving(tunnel, uplink, rule)
    };
    Family::BOTH.map(owned).to_vec()
}

/// A rule for what goes from the tunnel to the outside.
fn leaving(tunnel: &LinkName, uplink: &LinkName, rest: Rule) -> Rule {
    let mut rule = vec![link_is(Field::IifName, tunnel), link_is(Field::OifName, uplink)];
    rule.extend(rest);
    rule
}

/// SNAT map and fence set of one family.
fn pair_sets(family: Family, pairs: &[OwnedPair]) -> [Set; 2] {
    let owned: Vec<(Datum, IpAddr)> = pairs
        .iter()
        .filter_map(|o| o.pair.get(family).map(|a| (Datum::Mark(o.identity.number()), *a)))
        .collect();
    let address = DataType::Address(family);
    let source = owned.iter().map(|(mark, address)| Entry {
        key: vec![*mark, *mark],
        value: Value::Data(Datum::Address(*address)),
    });
    let pair = owned.iter().map(|(mark, address)| Entry {
        key: vec![*mark, Datum::Address(*address)],
        value: Value::None,
    });
    let marks = vec![DataType::Mark, DataType::Mark];
    [
        exact(&of_family("snat", family), marks, ValueType::Data(address), source),
        exact(&of_family("pair", family), vec![DataType::Mark, address], ValueType::None, pair),
    ]
}

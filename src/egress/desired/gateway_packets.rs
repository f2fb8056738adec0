//! The packets of the gateway side: which flow is whose, what may be forwarded, with which source it
//! leaves. `gateway_frames` tells where the numbers come from.

use std::net::IpAddr;

use egret_types::{Family, LinkName, ours};

use super::gateway::{GatewayFacts, OwnedPair, uplink_name};
use super::tunnel::tunnel_name;
use super::{Policy, Removal, base, chain, drop_counted, exact, link_is, nfproto, of_family};
use crate::nft::{
    Constant, DataType, Datum, Entry, Expr, Field, HookPoint, Op, Rule, Ruleset, Set, TableFamily,
    Target, Value, ValueType,
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

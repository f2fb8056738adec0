//! The packets of the gateway side: which flow is whose, what may be forwarded, with which source it
//! leaves. `gateway_frames` tells where the numbers come from.

use std::net::IpAddr;

use egret_types::{Family, LinkName, ours};

use super::counted::{BLOCKED, FOREIGN_FLOW, INVALID, OVER, OVER_SHARE, PAIR, RECEIVED, UNKNOWN};
use super::gateway::{GatewayFacts, OwnedPair, uplink_name};
use super::share::{Share, dynamic};
use super::tunnel::tunnel_name;
use super::{Policy, Removal, base, chain, drop_counted, exact, link_is, nfproto, of_family};
use crate::nft::{
    Capacity, Chain, Constant, DataType, Datum, Entry, Expr, Field, HookPoint, Op, Rule, Ruleset,
    Set, TableFamily, Target, Value, ValueType,
};

/// Before defragmentation (-400), whose queues are keyed by the zone: later, fragments of two nodes
/// with one pod address and one IP id would be put together.
const BEFORE_DEFRAGMENTATION: i32 = -450;
const MANGLE: i32 = -150;
const SOURCE_NAT: i32 = 100;
/// Behind source NAT: it sees what really leaves.
const FENCE: i32 = 110;
/// Bits of `ct state`.
const CT_INVALID: u32 = 1;
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const NEW_OR_ESTABLISHED: u32 = 8 | 2;
/// `IP_CT_DIR_ORIGINAL` of `ct direction`.
const ORIGINAL: u32 = 0;
/// A full set keeps no more numbers; what is dropped is dropped all the same.
const BLOCKED_CAPACITY: Capacity = Capacity { size: 4096, seconds: Some(3600) };
/// Echo requests.
const ECHO: [(u32, u32); 2] = [(ICMP, 8), (ICMPV6, 128)];
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
    let outside = vec![link_is(Field::IifName, &uplink), Expr::Jump("outside".into())];
    let remember = vec![link_is(Field::IifName, &tunnel), Expr::Jump("tunnel".into())];
    let fence = vec![
        link_is(Field::IifName, &tunnel),
        link_is(Field::OifName, &uplink),
        Expr::Jump("leaving".into()),
    ];
    let share = Share::of(facts.flows);
    let mut sets: Vec<Set> =
        Family::BOTH.into_iter().flat_map(|family| pair_sets(family, &facts.pairs)).collect();
    sets.extend([RECEIVED, OVER].map(|name| identities(name, &facts.pairs)));
    sets.extend(share.sets());
    sets.push(blocked());
    let chains = vec![
        refusal(UNKNOWN),
        foreign_flow(),
        refusal(INVALID),
        over_share(),
        chain("outside", untracked().to_vec(), Removal::Delete),
        filter(
            "zone",
            HookPoint::Prerouting,
            BEFORE_DEFRAGMENTATION,
            Policy::Accept,
            vec![zone, outside],
        ),
        chain("new", first_packet(share), Removal::Delete),
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
        chain("leaving", owned_source(), Removal::Delete),
        filter("fence", HookPoint::Postrouting, FENCE, Policy::Accept, vec![fence]),
    ];
    Ruleset {
        family: TableFamily::Inet,
        table: ours::NFT_TABLE.into(),
        sets,
        chains,
        elements: vec![],
    }
}

/// A chain whose name is the reason for which what comes to it is dropped.
fn refusal(reason: &str) -> Chain {
    chain(reason, vec![drop_counted()], Removal::Delete)
}

/// The flow is another tenant's. Its number is kept: packets that are dropped here keep it alive,
/// so somebody must be able to delete it. Only for a packet that would be of the flow itself; an
/// ICMP error that quotes it may come from anybody.
fn foreign_flow() -> Chain {
    let note = vec![
        Expr::AnyBit(Field::CtState, NEW_OR_ESTABLISHED),
        Expr::Match(Field::CtDirection, Op::Is, Constant::Number(ORIGINAL)),
        Expr::NoteFlow(BLOCKED.into()),
    ];
    chain(FOREIGN_FLOW, vec![note, drop_counted()], Removal::Delete)
}

/// Anybody outside can ping an egress IP. It is answered, and leaves no trace in the table of flows.
fn untracked() -> [Rule; 2] {
    ECHO.map(|(protocol, kind)| {
        vec![
            Expr::Match(Field::L4Proto, Op::Is, Constant::Number(protocol)),
            Expr::Match(Field::IcmpType, Op::Is, Constant::Number(kind)),
            Expr::NoTrack,
        ]
    })
}

/// By number, and by the identity whose flow it is.
fn blocked() -> Set {
    dynamic(BLOCKED, vec![DataType::Mark, DataType::Mark], BLOCKED_CAPACITY)
}

/// Its flows are too many: counted for the identity, and all together.
fn over_share() -> Chain {
    let count = vec![Expr::Lookup(vec![Field::Mark], Op::Is, OVER.into())];
    chain(OVER_SHARE, vec![count, drop_counted()], Removal::Delete)
}

/// The first packet of a flow gives it its identity, if this gateway serves it in this family, and
/// if the identity has not filled its share of the table.
fn first_packet(share: Share) -> Vec<Rule> {
    let unknown = |family| {
        let key = vec![Field::Mark, Field::Mark];
        let lookup = Expr::Lookup(key, Op::IsNot, of_family("snat", family));
        vec![nfproto(family), lookup, Expr::Jump(UNKNOWN.into())]
    };
    let [unknown4, unknown6] = Family::BOTH.map(unknown);
    let mut within = vec![Expr::SetField(Target::CtMark, Field::Mark)];
    within.extend(share.limits());
    within.push(Expr::Return);
    vec![unknown4, unknown6, within, vec![Expr::Jump(OVER_SHARE.into())]]
}

/// A flow has the identity of its first packet for ever. One lookup with the packet's identity and
/// its flow's tells whether the flow is its own: a reused pod address could meet another tenant's.
fn flow() -> Vec<Rule> {
    let first =
        vec![Expr::Match(Field::CtMark, Op::Is, Constant::Number(0)), Expr::Jump("new".into())];
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
    // What conntrack makes nothing of (a wrong checksum) has no flow, and finds nothing above.
    let invalid = vec![Expr::AnyBit(Field::CtState, CT_INVALID), Expr::Jump(INVALID.into())];
    vec![first, own4, own6, invalid, vec![Expr::Jump(FOREIGN_FLOW.into())]]
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
    let out = between(tunnel, uplink).into_iter().chain([Expr::Accept]).collect();
    let answer = between(uplink, tunnel)
        .into_iter()
        .chain([
            Expr::AnyBit(Field::CtState, ESTABLISHED_OR_RELATED),
            Expr::Lookup(vec![Field::CtMark], Op::Is, RECEIVED.into()),
            Expr::SetField(Target::Mark, Field::CtOriginalZone),
            // ip_forward has set the priority from the TOS field before this hook.
            Expr::SetField(Target::Priority, Field::CtMark),
            Expr::Accept,
        ])
        .collect();
    vec![out, answer, drop_counted()]
}

/// What no map names is dropped, never masqueraded.
fn translate(tunnel: &LinkName, uplink: &LinkName) -> Vec<Rule> {
    let snat = |family| {
        let key = vec![Field::CtMark, Field::CtMark];
        let map = of_family("snat", family);
        vec![link_is(Field::OifName, uplink), nfproto(family), Expr::SnatMap(family, key, map)]
    };
    let [snat4, snat6] = Family::BOTH.map(snat);
    let mut rest = vec![link_is(Field::IifName, tunnel), link_is(Field::OifName, uplink)];
    rest.extend(drop_counted());
    vec![snat4, snat6, rest]
}

/// The last look: the pair (identity, source) must be one that this gateway owns. Counted for each.
fn owned_source() -> Vec<Rule> {
    let owned = |family| {
        let key = vec![Field::CtMark, Field::Saddr(family)];
        let lookup = Expr::Lookup(key, Op::Is, of_family(PAIR, family));
        vec![nfproto(family), lookup, Expr::Accept]
    };
    let [owned4, owned6] = Family::BOTH.map(owned);
    vec![owned4, owned6, drop_counted()]
}

/// A set of all identities that counts for each.
fn identities(name: &str, pairs: &[OwnedPair]) -> Set {
    let entry = |owned: &OwnedPair| {
        let key = vec![Datum::Mark(owned.identity.number())];
        Entry { key, value: Value::None }
    };
    exact(name, vec![DataType::Mark], ValueType::None, pairs.iter().map(entry)).counted()
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
        exact(&of_family(PAIR, family), vec![DataType::Mark, address], ValueType::None, pair)
            .counted(),
    ]
}

//! The frames of the gateway side: who may send them, with which identity, and how they go back.
//! `gateway_packets` has what happens between. conntrack remembers, flow by flow, the node (zone of the
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

use egret_types::{Family, ours};

use super::counted::NODES;
use super::gateway::{GatewayFacts, Peer, uplink_name};
use super::tunnel::{to_an_identity, tunnel_name};
use super::{Policy, Removal, base, chain, drop_counted, ether_type, exact, mac_is, of_family};
use crate::nft::{
    Chain, Constant, Content, Count, DataType, Datum, Entry, Expr, Field, HookPoint, Op,
    ReturnSource, Rule, Ruleset, Set, TableFamily, Target, Value, ValueType,
};

/// A frame of a known node, if its sources are not checked or are right.
const FRAME: &str = "frame";

/// Frames: who may send them, with which identity, and how they go back.
pub(super) fn netdev(facts: &GatewayFacts) -> Ruleset {
    let checked: Vec<&Peer> = facts.peers.iter().filter(|p| !p.pod_cidrs.is_empty()).collect();
    let [taken4, taken6] = Family::BOTH.map(taken);
    let mut sets = vec![nodes(&facts.peers)];
    let mut chains = vec![chain(FRAME, vec![taken4, taken6, drop_counted()], Removal::Delete)];
    for peer in &checked {
        sets.extend(Family::BOTH.map(|family| sources(peer, family)));
        chains.push(source_check(peer));
    }
    let sender = vec![Expr::VerdictMap(vec![Field::EtherSaddr], NODES.into())];
    chains.push(chain("gateway", vec![sender, drop_counted()], Removal::Flush));
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

/// Who may send, counted for each, and whose inner sources are checked.
fn nodes(peers: &[Peer]) -> Set {
    let entry = |peer: &Peer| {
        let checked = !peer.pod_cidrs.is_empty();
        let chain = if checked { check_name(peer) } else { FRAME.to_owned() };
        Entry { key: vec![Datum::Mac(peer.id.mac())], value: Value::Jump(chain) }
    };
    exact(NODES, vec![DataType::Ether], ValueType::Verdict, peers.iter().map(entry)).counted()
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
        count: Count::Nothing,
        removal: Removal::Delete,
    }
}

fn source_check(peer: &Peer) -> Chain {
    let known = |family| {
        let set = of_family(&format!("{}-", check_name(peer)), family);
        let source = Expr::Lookup(vec![Field::Saddr(family)], Op::Is, set);
        vec![ether_type(family), source, Expr::Jump(FRAME.into())]
    };
    let [known4, known6] = Family::BOTH.map(known);
    chain(&check_name(peer), vec![known4, known6, drop_counted()], Removal::Delete)
}

//! The tunnel guard, in the node's root namespace: who may speak on the tunnel's port. It decides
//! before decapsulation, so that no frame of a stranger ever reaches the egret namespace.
//!
//! From a worker a datagram is accepted only when outer source and inner source MAC are one node's
//! own pair: no node can speak for another. From a gateway only when the outer source is a member
//! of a gateway and the frame is addressed to this node: a member cannot speak for a node. From
//! either only on the link on which the outer source would be answered: a pod of this node that
//! writes another node's address into its packet comes in elsewhere, whatever `rp_filter` says. Pods
//! and processes of this node never send to the port at all.

use std::net::IpAddr;

use egret_types::{Family, NodeId, ours};

use super::{Policy, base, drop_counted, exact, mac_is, nfproto};
use crate::nft::{
    Constant, DataType, Datum, Entry, Expr, Field, HookPoint, Op, Rule, Ruleset, Set, TableFamily,
    Value, ValueType,
};
use crate::object::{Object, Place, Placed};

pub(super) const GUARD_PRIORITY: i32 = -200;
const RAW_PRIORITY: i32 = -300;
const UDP: u32 = 17;
/// `RTN_LOCAL`: the address is this host's.
const LOCAL: u32 = 2;
/// `meta skuid` of a packet without a socket of this namespace. What the kernel's tunnel sends has
/// its socket here, but no user: the link lives in another namespace.
const NO_SOCKET: u32 = u32::MAX;

/// The guard of the node `own`: `nodes` are all VTEPs with their node ids, `members` the VTEPs of
/// all gateway nodes; all of the one outer family.
pub fn tunnel_guard(
    own: NodeId,
    port: u16,
    family: Family,
    nodes: &[(IpAddr, NodeId)],
    members: &[IpAddr],
) -> Placed {
    let to_port = || {
        [
            Expr::Match(Field::L4Proto, Op::Is, Constant::Number(UDP)),
            Expr::Match(Field::UdpDport, Op::Is, Constant::Number(u32::from(port))),
        ]
    };
    let rule = |parts: Vec<Expr>| -> Rule { to_port().into_iter().chain(parts).collect() };
    let input = |parts: Vec<Expr>| -> Rule {
        [nfproto(family)].into_iter().chain(to_port()).chain(parts).collect()
    };
    let outer = Field::Saddr(family);
    let reverse_path = Expr::Match(Field::FibReversePath, Op::IsNot, Constant::Number(0));
    let guard = |name: &str, point| base(name, point, GUARD_PRIORITY, Policy::Accept);
    let raw = |name: &str, point| base(name, point, RAW_PRIORITY, Policy::Accept);
    let chains = vec![
        guard("input", HookPoint::Input).rules(vec![
            // ip saddr . @th,176,48 @nodes fib saddr . iif oif != 0 accept
            input(vec![
                Expr::Lookup(vec![outer, Field::InnerEtherSaddr], Op::Is, "nodes".into()),
                reverse_path.clone(),
                Expr::Counter,
                Expr::Accept,
            ]),
            // ip saddr @members @th,128,48 <this node> fib saddr . iif oif != 0 accept
            input(vec![
                Expr::Lookup(vec![outer], Op::Is, "members".into()),
                mac_is(Field::InnerEtherDaddr, Op::Is, own.mac()),
                reverse_path,
                Expr::Counter,
                Expr::Accept,
            ]),
            rule(drop_counted()),
        ]),
        guard("forward", HookPoint::Forward).rules(vec![rule(drop_counted())]),
        guard("output", HookPoint::Output).rules(vec![
            // udp dport <port> meta skuid != 4294967295 drop
            rule(vec![
                Expr::Match(Field::SkUid, Op::IsNot, Constant::Number(NO_SOCKET)),
                Expr::Counter,
                Expr::Drop,
            ]),
        ]),
        // Tracking the outer flow would cost a lookup a packet and tell nobody anything.
        raw("raw-in", HookPoint::Prerouting).rules(vec![rule(vec![
            Expr::Match(Field::FibDaddrType, Op::Is, Constant::Number(LOCAL)),
            Expr::NoTrack,
        ])]),
        raw("raw-out", HookPoint::Output).rules(vec![rule(vec![Expr::NoTrack])]),
    ];
    let ruleset = Ruleset {
        family: TableFamily::Inet,
        table: ours::NFT_TUNNEL_TABLE.into(),
        sets: vec![node_set(family, nodes), member_set(family, members)],
        chains,
        elements: vec![],
    };
    Placed { place: Place::Root, object: Object::Nft(ruleset) }
}

fn node_set(family: Family, nodes: &[(IpAddr, NodeId)]) -> Set {
    let entry = |(vtep, id): &(IpAddr, NodeId)| Entry {
        key: vec![Datum::Address(*vtep), Datum::Mac(id.mac())],
        value: Value::None,
    };
    exact(
        "nodes",
        vec![DataType::Address(family), DataType::Ether],
        ValueType::None,
        nodes.iter().map(entry),
    )
}

fn member_set(family: Family, members: &[IpAddr]) -> Set {
    let entry = |vtep: &IpAddr| Entry { key: vec![Datum::Address(*vtep)], value: Value::None };
    exact("members", vec![DataType::Address(family)], ValueType::None, members.iter().map(entry))
}

//! What the kernel should hold, as values, one file for each owner: the node's tunnel, its guard,
//! the worker side, the steering of one pod, the guard of one pod, the gateway side.

mod attachment;
pub mod counted;
mod gateway;
mod gateway_frames;
mod gateway_packets;
mod guard;
mod pod_guard;
mod removal;
mod share;
mod steering;
mod tunnel;
mod worker;

pub use attachment::{Names, PodFacts, pod_filter, pod_link, pod_steering};
pub use gateway::{GatewayFacts, OwnedPair, Peer, UplinkFacts, gateway, uplink_name};
pub use guard::tunnel_guard;
pub use pod_guard::{HostEnd, pod_guard, pod_guard_tables};
pub use removal::{attachment_by_name, gateway_by_name, shared_by_name, worker_by_name};
pub use steering::reverse_path;
pub use tunnel::{
    NodeFacts, egret_namespace, identities_of, identity_fdb, space, tunnel_link, tunnel_name,
};
pub use worker::worker;

use crate::nft::{
    Chain, Constant, Content, Count, DataType, Entry, Expr, Field, Hook, HookPoint, Op, Policy,
    Removal, Rule, Set, ValueType,
};
use egret_types::{Family, LinkName, MacAddr};

/// Ethernet type of IPv4 and IPv6.
fn ether_type(family: Family) -> Expr {
    let number = match family {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    };
    Expr::Match(Field::EtherType, Op::Is, Constant::Number(number))
}

/// `meta nfproto ipv4` or `ipv6`: `NFPROTO_IPV4` is 2, `NFPROTO_IPV6` is 10.
fn nfproto(family: Family) -> Expr {
    let number = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    Expr::Match(Field::NfProto, Op::Is, Constant::Number(number))
}

/// `iifname`, or `oifname`, of a link.
fn link_is(field: Field, link: &LinkName) -> Expr {
    Expr::Match(field, Op::Is, Constant::Name(link.clone()))
}

fn mac_is(field: Field, op: Op, mac: MacAddr) -> Expr {
    Expr::Match(field, op, Constant::Mac(mac))
}

/// Counted and dropped: the last rule of a chain in which a packet should have been taken.
fn drop_counted() -> Rule {
    vec![Expr::Counter, Expr::Drop]
}

fn chain(name: &str, rules: Vec<Rule>, removal: Removal) -> Chain {
    Chain { name: name.into(), hook: None, rules: Some(rules), removal }
}

fn base(name: &str, point: HookPoint, priority: i32, policy: Policy) -> Chain {
    let hook = Some(Hook { point, priority, policy });
    Chain { name: name.into(), hook, rules: Some(Vec::new()), removal: Removal::Delete }
}

impl Chain {
    fn rules(mut self, rules: Vec<Rule>) -> Self {
        self.rules = Some(rules);
        self
    }
}

fn shared_set(name: &str, key: &[DataType], value: ValueType) -> Set {
    let (content, removal) = (Content::Shared, Removal::Delete);
    Set { name: name.into(), key: key.to_vec(), value, content, count: Count::Nothing, removal }
}

/// The name of a set or chain that exists once for each family: `tx4`, `tx6`.
fn of_family(stem: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{stem}4"),
        Family::V6 => format!("{stem}6"),
    }
}

/// A set or map with exactly these entries, of one owner.
fn exact(
    name: &str,
    key: Vec<DataType>,
    value: ValueType,
    entries: impl Iterator<Item = Entry>,
) -> Set {
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort();
    entries.dedup();
    Set {
        name: name.into(),
        key,
        value,
        content: Content::Exact(entries),
        count: Count::Nothing,
        removal: Removal::Delete,
    }
}

impl Set {
    fn counted(self) -> Self {
        Set { count: Count::Packets, ..self }
    }
}

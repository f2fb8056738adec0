//! Where a base chain is, in the kernel's terms: one form for writing, reading and comparing.

use std::fmt;

use egret_egress::nft::{self, HookPoint, Policy};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, DevHookNumber, Hook as HookAttribute, HookNumber, InetHookNumber,
};

use super::attribute::{attribute, attributes, be32, text};

/// A hook with the policy of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) place: HookPlace,
    pub(super) policy: u32,
}

/// A place in the stack, and the order there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HookPlace {
    kind: String,
    number: u32,
    priority: i32,
    /// None in family inet.
    links: Vec<String>,
}

impl From<&nft::Hook> for Hook {
    fn from(hook: &nft::Hook) -> Self {
        let kind = match &hook.point {
            HookPoint::OutputRoute => "route",
            HookPoint::PostroutingNat => "nat",
            _ => "filter",
        };
        let links = match &hook.point {
            HookPoint::Ingress(link) | HookPoint::Egress(link) => vec![link.as_str().to_owned()],
            _ => Vec::new(),
        };
        let place = HookPlace {
            kind: kind.to_owned(),
            number: number(&hook.point).into(),
            priority: hook.priority,
            links,
        };
        Self { place, policy: policy_number(hook.policy) }
    }
}

fn number(point: &HookPoint) -> HookNumber {
    match point {
        HookPoint::Ingress(_) => DevHookNumber::Ingress.into(),
        HookPoint::Egress(_) => DevHookNumber::Egress.into(),
        HookPoint::Prerouting => InetHookNumber::PreRouting.into(),
        HookPoint::Input => InetHookNumber::LocalIn.into(),
        HookPoint::Forward => InetHookNumber::Forward.into(),
        HookPoint::Output | HookPoint::OutputRoute => InetHookNumber::LocalOut.into(),
        HookPoint::Postrouting | HookPoint::PostroutingNat => InetHookNumber::PostRouting.into(),
    }
}

/// `NF_DROP` and `NF_ACCEPT`.
fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}

impl Hook {
    /// The hook among a chain's attributes; absent for a chain that is only jumped to.
    pub(super) fn of_chain(bytes: &[u8]) -> Option<Self> {
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const TYPE: u16 = 7;
        const NUMBER: u16 = 1;
        const PRIORITY: u16 = 2;
        const LINK: u16 = 3;
        const LINKS: u16 = 4;
        let nested = attribute(bytes, HOOK)?;
        // One link comes in both forms.
        let mut links: Vec<String> = attribute(nested, LINK).map(text).into_iter().collect();
        let list = attribute(nested, LINKS).into_iter().flat_map(attributes);
        links.extend(list.map(|(_, name)| text(name)));
        links.sort();
        links.dedup();
        let place = HookPlace {
            kind: attribute(bytes, TYPE).map(text).unwrap_or_default(),
            number: attribute(nested, NUMBER).map_or(u32::MAX, be32),
            priority: attribute(nested, PRIORITY).map_or(0, be32).cast_signed(),
            links,
        };
        Some(Self { place, policy: attribute(bytes, POLICY).map_or(u32::MAX, be32) })
    }

    /// The attributes with which a chain is made.
    pub(super) fn attributes(&self) -> [ChainAttribute; 3] {
        let HookPlace { kind, number, priority, links } = &self.place;
        let mut hook = vec![
            HookAttribute::Number(HookNumber::Other(*number)),
            HookAttribute::Priority(priority.cast_unsigned()),
        ];
        hook.extend(links.iter().cloned().map(HookAttribute::NetDeviceName));
        [
            ChainAttribute::Hook(hook),
            ChainAttribute::Type(kind.clone()),
            ChainAttribute::Policy(self.policy),
        ]
    }

    /// The policy in a word.
    pub(super) fn policy(&self) -> &'static str {
        if self.policy == policy_number(Policy::Drop) { "drop" } else { "accept" }
    }
}

impl fmt::Display for HookPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HookPlace { kind, number, priority, links } = self;
        let names: &[&str] = match links.as_slice() {
            [] => &["prerouting", "input", "forward", "output", "postrouting"],
            _ => &["ingress", "egress"],
        };
        let name = names.get(*number as usize).copied().unwrap_or("of an unknown number");
        write!(f, "type {kind} hook {name}")?;
        if !links.is_empty() {
            write!(f, " device {}", links.join(" "))?;
        }
        write!(f, " priority {priority}")
    }
}

//! What a gateway drops, reason by reason: which counter of ours, or of the kernel's, says so.

use egret_egress::desired::counted;
use egret_kernel::{Counter, Statistics};
use serde::Serialize;

use crate::arrival::ACCEPTING;

/// Packets dropped for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drop {
    /// For programs.
    pub(super) reason: &'static str,
    pub(super) packets: u64,
    /// The same for people.
    pub(super) meaning: &'static str,
}

/// The rule counters of the tables of ours, and the namespace's statistics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Tunnel guard, in the root namespace.
    pub(super) guard: Vec<Counter>,
    /// Frames, in the egret namespace.
    pub(super) frames: Vec<Counter>,
    /// Packets there.
    pub(super) packets: Vec<Counter>,
    pub(super) conntrack: Statistics,
}

impl Counters {
    /// Everything that is dropped, in the order of a packet's way.
    pub(super) fn drops(&self) -> Vec<Drop> {
        let drop = |reason, packets, meaning| Drop { reason, packets, meaning };
        let stranger = in_chain(&self.guard, "input").filter(|c| c.rule >= ACCEPTING);
        let [guard, frames, packets] = [&self.guard, &self.frames, &self.packets]
            .map(|table| move |chain: &str| sum(in_chain(table, chain)));
        vec![
            drop("tunnelStranger", sum(stranger), "tunnel, sent by nobody known"),
            drop("tunnelFromPod", guard("forward"), "tunnel, sent by a pod"),
            drop("tunnelFromProcess", guard("output"), "tunnel, sent by a process of this node"),
            drop("frameToNobody", frames("egret0"), "frame addressed to nobody"),
            drop("unknownNode", frames("gateway"), "frame of an unknown node"),
            drop("foreignSource", self.refused(), "pod address that is not the node's"),
            drop("neitherFamily", frames("frame"), "frame without an IP packet"),
            drop("invalid", packets(counted::INVALID), "belongs to no flow"),
            drop("tableFull", self.conntrack.table_full(), "new flow, conntrack table full"),
            drop(
                "chainTooLong",
                self.conntrack.chain_too_long,
                "new flow, conntrack chain too long",
            ),
            drop("unknownIdentity", packets(counted::UNKNOWN), "identity that is not served here"),
            drop("notMyFlow", packets(counted::FOREIGN_FLOW), "identity is not that of the flow"),
            drop("overShare", packets(counted::OVER_SHARE), "new flow, identity over its share"),
            drop("notForwarded", packets("forward"), "not to be forwarded"),
            drop("noEgressIp", packets("post"), "no egress IP for the flow"),
            drop("fence", packets("leaving"), "source is not the flow's egress IP"),
            drop("snatClash", self.conntrack.clashes(), "new flow, no port of the egress IP left"),
            drop("toEgressIp", packets("input"), "to an egress IP, of no known flow"),
            drop("frameToUnknown", frames("out"), "frame to an unknown place"),
            drop("answerOfNoNode", frames("back"), "answer that belongs to no node"),
        ]
    }

    /// What the tunnel guard lets in.
    pub(super) fn accepted(&self) -> u64 {
        sum(in_chain(&self.guard, "input").filter(|counter| counter.rule < ACCEPTING))
    }

    /// Frames of one node whose inner source is not its own.
    pub(super) fn refused_of(&self, node: u16) -> u64 {
        sum(in_chain(&self.frames, &format!("{NODE}{node}")))
    }

    /// Of all nodes.
    fn refused(&self) -> u64 {
        sum(self.frames.iter().filter(|counter| counter.chain.starts_with(NODE)))
    }
}

/// There is one chain for each node whose sources are checked.
const NODE: &str = "node-";

fn in_chain<'a>(table: &'a [Counter], chain: &str) -> impl Iterator<Item = &'a Counter> {
    let chain = chain.to_owned();
    table.iter().filter(move |counter| counter.chain == chain)
}

fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(|counter| counter.packets).sum()
}

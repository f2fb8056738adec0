//! What the worker side of a node drops, reason by reason.

use egret_kernel::Counter;
use serde::Serialize;

/// Packets dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drop {
    /// For programs.
    pub(super) reason: &'static str,
    pub(super) packets: u64,
    /// The same for people.
    pub(super) meaning: &'static str,
}

/// The counters of the tables that the worker side is made of.
pub(super) struct Counted {
    /// Of `netdev egret` in the egret namespace.
    pub(super) frames: Vec<Counter>,
    /// Of the tunnel guard.
    pub(super) tunnel: Vec<Counter>,
    /// Of the pod guard on the node's ends of primary links.
    pub(super) sources: Vec<Counter>,
    /// Of the pod guard where the node forwards.
    pub(super) destinations: Vec<Counter>,
}

/// Every reason, also those for which nothing was dropped.
pub(super) fn drops(counted: &Counted) -> Vec<Drop> {
    let Counted { frames, tunnel, sources, destinations } = counted;
    let count = |table: &[Counter], is: &dyn Fn(&Counter) -> bool| {
        table.iter().filter(|counter| is(counter)).map(|counter| counter.packets).sum()
    };
    let drop = |reason, packets, meaning| Drop { reason, packets, meaning };
    let forged_mac = count(frames, &|it| it.chain == "pod" && it.rule == 0);
    let forged = count(frames, &|it| it.chain == "pod" && it.rule > 0);
    vec![
        drop("forgedMAC", forged_mac, "sent by a pod with another MAC"),
        drop("forgedSource", forged, "sent by a pod with an address or identity not its own"),
        drop("notAllowed", count(frames, &is_decision), "to where its policies do not lead"),
        drop("lateAnswer", count(frames, &|it| it.chain == "worker"), "answer for no pod of today"),
        drop("tunnelFromPod", count(tunnel, &|it| it.chain == "forward"), "tunnel, sent by a pod"),
        drop(
            "tunnelFromProcess",
            count(tunnel, &|it| it.chain == "output"),
            "tunnel, sent by a process of this node",
        ),
        drop(
            "guardSource",
            count(sources, &|_| true),
            "primary link, from an address not the pod's own",
        ),
        drop(
            "guardDestination",
            count(destinations, &|it| !is_arrival(it)),
            "primary link, past the tunnel",
        ),
        drop("guardArrival", count(destinations, &is_arrival), "from outside, on another link"),
    ]
}

/// To a pod, not from it.
fn is_arrival(counter: &Counter) -> bool {
    counter.chain == "elsewhere"
}

/// Chains of decisions: `d`, the identity, a fingerprint.
fn is_decision(counter: &Counter) -> bool {
    counter.chain.strip_prefix('d').is_some_and(|rest| {
        rest.split('-').next().is_some_and(|identity| u32::from_str_radix(identity, 16).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_reason() {
        let counter =
            |chain: &str, rule, packets| Counter { chain: chain.into(), rule, packets, bytes: 0 };
        let frames = [
            counter("pod", 0, 1),
            counter("pod", 3, 2),
            counter("d01000001-c9e21573f4a9b331-4", 1, 3),
            counter("d01000001-0a4aeebb8f304ace-6", 1, 4),
            counter("worker", 2, 5),
            counter("dropped", 0, 100),
            counter("gateway", 1, 100),
        ];
        let tables = Counted {
            frames: frames.into(),
            tunnel: vec![
                counter("input", 2, 100),
                counter("forward", 0, 6),
                counter("output", 0, 7),
            ],
            sources: vec![counter("source", 3, 8), counter("source6", 0, 9)],
            destinations: vec![counter("outside", 1, 10), counter("elsewhere", 0, 11)],
        };
        let found: Vec<_> = drops(&tables).iter().map(|drop| (drop.reason, drop.packets)).collect();
        let expected = [
            ("forgedMAC", 1),
            ("forgedSource", 2),
            ("notAllowed", 7),
            ("lateAnswer", 5),
            ("tunnelFromPod", 6),
            ("tunnelFromProcess", 7),
            ("guardSource", 17),
            ("guardDestination", 10),
            ("guardArrival", 11),
        ];
        assert_eq!(found, expected);
    }
}

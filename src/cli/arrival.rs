//! Whether what the tunnel guard lets in arrives on the tunnel link. Between the two stands the rest
//! of the node's input: a firewall there closes the tunnel, and nothing of ours can undo that, but
//! it can be named where it happens.

use std::time::{Duration, Instant};

use egret_egress::kernel::unless_gone;
use egret_egress::nft::TableFamily;
use egret_egress::object::Place;
use egret_kernel::LinuxKernel;
use egret_types::ours;

use crate::error::CliError;

/// How many rules of the guard's input chain accept; the rest of them drop.
pub(crate) const ACCEPTING: usize = 2;

/// A ping a second is seen within it.
const PATIENCE: Duration = Duration::from_millis(1200);
const STEP: Duration = Duration::from_millis(100);

/// Frames since the guard and the link were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frames {
    /// That the guard accepted.
    accepted: u64,
    /// That the tunnel link received.
    received: u64,
}

/// A sentence if the guard accepts what does not arrive.
pub(crate) fn problem(kernel: &mut LinuxKernel, port: u16) -> Result<Option<String>, CliError> {
    let before = Frames { received: received(kernel)?, accepted: accepted(kernel)? };
    // Nobody has sent anything yet: there is nothing to wait for.
    let closed = before.accepted > 0
        && (before.nothing_arrived() || Frames::lost(before, watch(kernel, before)?));
    Ok(closed.then(|| {
        format!(
            "the tunnel's packets pass the guard but do not arrive: a firewall of this node drops UDP port {port} in input"
        )
    }))
}

/// Waits until the guard has accepted something more.
fn watch(kernel: &mut LinuxKernel, before: Frames) -> Result<Frames, CliError> {
    let end = Instant::now() + PATIENCE;
    let mut now = accepted(kernel)?;
    while now == before.accepted && Instant::now() < end {
        std::thread::sleep(STEP);
        now = accepted(kernel)?;
    }
    // What was counted by the guard is on its way through the rest of input.
    std::thread::sleep(STEP / 10);
    Ok(Frames { accepted: now, received: received(kernel)? })
}

impl Frames {
    /// What was accepted since the guard was made cannot all be on its way still.
    fn nothing_arrived(self) -> bool {
        self.accepted > 0 && self.received == 0
    }

    /// Most of what was accepted in between did not arrive. Differences, because the two counters
    /// begin anew at different times: the guard's when it is repaired, the link's when its namespace
    /// is made again. Most and not all, because the link also receives, past the guard, what pods of
    /// this node send to a gateway on it; and not any, because a frame of another VNI is accepted and
    /// belongs to nobody.
    fn lost(before: Self, after: Self) -> bool {
        let accepted = after.accepted.saturating_sub(before.accepted);
        let received = after.received.saturating_sub(before.received);
        received < accepted.div_ceil(2)
    }
}

fn accepted(kernel: &mut LinuxKernel) -> Result<u64, CliError> {
    let counters = kernel.counters(Place::Root, TableFamily::Inet, ours::NFT_TUNNEL_TABLE)?;
    let accepting = counters.iter().filter(|c| c.chain == "input" && c.rule < ACCEPTING);
    Ok(accepting.map(|counter| counter.packets).sum())
}

fn received(kernel: &mut LinuxKernel) -> Result<u64, CliError> {
    let traffic = unless_gone(kernel.traffic(Place::Egret, &ours::link(ours::TUNNEL_LINK)))?;
    Ok(traffic.map_or(0, |traffic| traffic.received_packets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_accepted_and_does_not_arrive_is_lost() {
        let frames = |accepted, received| Frames { accepted, received };
        let cases = [
            (frames(10, 10), frames(10, 10), false, "no traffic"),
            (frames(10, 10), frames(20, 20), false, "all arrived"),
            (frames(10, 90), frames(20, 99), false, "one frame of another VNI"),
            (frames(10, 10), frames(11, 10), true, "the only one did not arrive"),
            (frames(10, 10), frames(20, 10), true, "none arrived"),
            (frames(90, 90), frames(99, 93), true, "those of this node's own pods did"),
            (frames(90, 90), frames(0, 95), false, "the guard was made again"),
            (frames(90, 90), frames(95, 5), true, "only the link was made again"),
        ];
        for (before, after, lost, name) in cases {
            assert_eq!(Frames::lost(before, after), lost, "{name}");
        }
        assert!(frames(1, 0).nothing_arrived());
        assert!(!frames(0, 0).nothing_arrived() && !frames(9, 1).nothing_arrived());
    }
}

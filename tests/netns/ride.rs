//! Pods that send a thousand datagrams a second while something is done to the nodes, and a watch for
//! datagrams with another source: what the tests of reloads and failovers ride on.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use egret_tests::{Capture, Lab, Lost, Node, Pod, Stream, egress_ip, external};
use egret_types::{Family, ours};

/// After a command: what was sent under it has arrived.
const SETTLED: Duration = Duration::from_millis(40);

/// Streams of pods, and what was done meanwhile.
pub(crate) struct Ride {
    streams: Vec<(IpAddr, Stream)>,
    phases: Vec<(String, Vec<Range<u64>>)>,
}

/// What was lost in which phase.
pub(crate) type Losses = Vec<(String, Lost)>;

impl Ride {
    /// A stream over each family from each pod, which shall be seen with the pair at an index.
    pub(crate) fn of(lab: &Lab, pods: &[(&Pod, u8)]) -> Self {
        let streams = pods.iter().flat_map(|(pod, index)| {
            let stream = |family: &Family| {
                let server = lab.external_address(*family);
                (egress_ip(*family, *index), Stream::start(pod, lab.external(), server))
            };
            lab.families().list().iter().map(stream).collect::<Vec<_>>()
        });
        Self { streams: streams.collect(), phases: Vec::new() }
    }

    /// Does something while the streams run.
    pub(crate) fn during<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let position = || self.streams.iter().map(|(_, stream)| stream.position());
        let before: Vec<u64> = position().collect();
        let result = work();
        std::thread::sleep(SETTLED);
        let ranges: Vec<Range<u64>> =
            before.into_iter().zip(position()).map(|(a, b)| a..b).collect();
        assert!(ranges.iter().all(|range| !range.is_empty()), "{name}: nothing was sent");
        self.phases.push((name.to_owned(), ranges));
        result
    }

    /// A time without any change: what is lost in it, the test has lost.
    pub(crate) fn control(&mut self) {
        self.during(CONTROL, || std::thread::sleep(Duration::from_secs(1)));
    }

    /// Ends it; panics if a datagram came from a wrong address. Gives the phases in which something
    /// was lost.
    #[track_caller]
    pub(crate) fn end(self) -> Losses {
        let mut losses = Losses::new();
        let mut paces = Vec::new();
        self.streams.iter().for_each(|(_, stream)| stream.send_no_more());
        for (index, (egress, stream)) in self.streams.into_iter().enumerate() {
            let report = stream.stop();
            let addresses: BTreeSet<IpAddr> = report.sources().iter().map(SocketAddr::ip).collect();
            assert_eq!(addresses, [egress].into(), "sources of {} datagrams", report.sent);
            assert_eq!(report.sources().len(), 1, "one flow, one port: {:?}", report.sources());
            paces.push(format!("{} from {egress} at {:.0}/s", report.sent, report.pace));
            for (name, ranges) in &self.phases {
                let lost = report.lost(ranges[index].clone());
                if lost != Lost::NONE {
                    losses.push((format!("{name}, {egress}"), lost));
                }
            }
        }
        say(&paces.join(", "));
        let control = losses.iter().find(|(name, _)| name.starts_with(CONTROL));
        assert_eq!(control, None, "lost by the test itself: {losses:?}");
        losses
    }
}

const CONTROL: &str = "no change";

/// A line for who reads the output of the test, also when it passes.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "reload: {line}").ok();
}

/// A watch on the external network for UDP from anybody but the host outside and these addresses:
/// so little that a busy machine misses none.
pub(crate) struct Strangers<'lab> {
    lab: &'lab Lab,
    capture: Capture,
}

impl<'lab> Strangers<'lab> {
    pub(crate) fn watch(lab: &'lab Lab, known: impl IntoIterator<Item = IpAddr>) -> Self {
        let outside = lab.families().list().iter().map(|family| lab.external_address(*family));
        let known: Vec<String> =
            outside.chain(known).map(|address| format!("src host {address}")).collect();
        let filter = format!("udp and not ({})", known.join(" or "));
        Self { lab, capture: lab.external().capture("eth0", &filter) }
    }

    /// Panics unless it saw nobody. The control is an unselected pod, which has its node's address:
    /// both the watch and the counter of a stream see it.
    #[track_caller]
    pub(crate) fn saw_nobody(self, node: &str) {
        let Self { lab, capture } = self;
        let pod = lab.add_pod(node, "other", "plain");
        for family in lab.families().list() {
            let stream = Stream::start(&pod, lab.external(), lab.external_address(*family));
            std::thread::sleep(SETTLED);
            let seen: Vec<IpAddr> = stream.stop().sources().iter().map(SocketAddr::ip).collect();
            let own = external(*family, lab.node(node).host());
            assert_eq!(seen, [own]);
            capture.wait_for("a datagram of the node", |packet| packet.source == Some(own));
        }
        let own = |family: &Family| Some(external(*family, lab.node(node).host()));
        let own: Vec<Option<IpAddr>> = lab.families().list().iter().map(own).collect();
        let strange = capture.stop().into_iter().find(|packet| !own.contains(&packet.source));
        assert_eq!(strange, None);
    }
}

/// Whether a node answers for an address.
pub(crate) fn has_address(node: &Node, address: IpAddr) -> bool {
    let listed = node.egress_ns().exec(&format!("ip -o addr show dev {}", ours::UPLINK)).stdout;
    listed.contains(&format!(" {address}/"))
}

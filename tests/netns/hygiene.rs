//! What must hold beside every test: nothing of a selected pod is seen outside under any address but
//! its egress IP, and none of the product's numbers is on a packet in a node's root namespace.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};

use egret_tests::{Capture, ECHO_PORT, Lab, Node, Packet};
use nix::sys::socket::{setsockopt, sockopt};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A watch on the external network, from before the first packet of a pod.
pub(crate) struct Outside {
    capture: Capture,
}

impl Outside {
    /// Begins to watch.
    pub(crate) fn watch(lab: &Lab) -> Self {
        Self { capture: lab.external().capture("eth0", "ip or ip6") }
    }

    /// Ends the watch. Panics unless what asked somebody outside (TCP, UDP, echo requests) came from
    /// exactly these addresses: from none other, and from each of them.
    #[track_caller]
    pub(crate) fn saw_exactly(self, expected: impl IntoIterator<Item = IpAddr>) {
        let expected: BTreeSet<IpAddr> = expected.into_iter().collect();
        // The capture may lag; each of these must still come.
        for address in &expected {
            self.capture.wait_for(&format!("a packet of {address}"), |packet| {
                packet.source == Some(*address) && asks(packet)
            });
        }
        let packets = self.capture.stop();
        let asked = packets.iter().filter(|packet| asks(packet) && !from_outside(packet));
        let seen: BTreeSet<IpAddr> = asked.filter_map(|packet| packet.source).collect();
        assert_eq!(seen, expected, "sources seen outside");
    }
}

/// Errors and neighbour discovery have addresses of their own.
fn asks(packet: &Packet) -> bool {
    match packet.protocol {
        Some(TCP | UDP) => true,
        Some(ICMP) => packet.payload.first() == Some(&8),
        Some(ICMPV6) => packet.payload.first() == Some(&128),
        _ => false,
    }
}

/// From the host outside or the one behind it.
fn from_outside(packet: &Packet) -> bool {
    let outside = |family| [egret_tests::external(family, 10), egret_tests::far(family)];
    let known = egret_types::Family::BOTH.map(outside).concat();
    packet.source.is_some_and(|source| known.contains(&source))
}

/// A datagram with a mark and a priority.
fn send_numbered(destination: IpAddr) -> std::io::Result<()> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    setsockopt(&socket, sockopt::Mark, &5)?;
    setsockopt(&socket, sockopt::Priority, &5)?;
    socket.send_to(b"numbered", (destination, ECHO_PORT)).map(drop)
}

/// Counters on the links of nodes, in their root namespaces.
pub(crate) struct Numbers<'lab> {
    nodes: Vec<&'lab Node>,
}

const COUNTERS: &str = "egret-test-numbers";

impl<'lab> Numbers<'lab> {
    /// Begins to count what leaves these nodes, on the underlay and outside.
    pub(crate) fn count(lab: &'lab Lab, nodes: &[&str]) -> Self {
        // Neighbour discovery and the like have a priority of the kernel's own.
        let rules = |protocols: &str| {
            format!(
                "{protocols} counter comment \"all\"
                {protocols} meta mark != 0 counter comment \"marked\"
                {protocols} meta priority != none counter comment \"with priority\"\n"
            )
        };
        let rules = rules("meta l4proto { tcp, udp, icmp }")
            + &rules("icmpv6 type { echo-request, echo-reply }");
        let on_link = |link: &str| {
            format!(
                "chain {link} {{ type filter hook egress device \"{link}\" priority 0
                {rules} }}\n"
            )
        };
        let links = on_link("eth0") + &on_link("ext0");
        let at = |hook: &str| {
            format!("chain {hook} {{ type filter hook {hook} priority 300\n{rules} }}\n")
        };
        let hooks = at("output") + &at("forward");
        let text =
            format!("table netdev {COUNTERS} {{ {links} }}\ntable inet {COUNTERS} {{ {hooks} }}\n");
        let nodes: Vec<&Node> = nodes.iter().map(|name| lab.node(name)).collect();
        for node in &nodes {
            node.ns().program("nft").args(["-f", "-"]).input(text.as_str()).run().success();
        }
        Self { nodes }
    }

    fn counted(node: &Node, what: &str) -> u64 {
        let comment = format!("comment \"{what}\"");
        ["netdev", "inet"]
            .map(|family| node.ns().counted(&format!("table {family} {COUNTERS}"), &comment))
            .iter()
            .sum()
    }

    /// Panics unless packets left each node and none had a mark or a priority; then shows that the
    /// counters would have told.
    #[track_caller]
    pub(crate) fn stayed_inside(self, outside: IpAddr) {
        for node in self.nodes {
            assert!(Self::counted(node, "all") > 0, "nothing left {}", node.name());
            let numbered = || ["marked", "with priority"].map(|what| Self::counted(node, what));
            assert_eq!(numbered(), [0, 0], "packets with mark, with priority on {}", node.name());
            node.ns().inside(|| send_numbered(outside)).unwrap();
            let seen = numbered();
            assert!(seen[0] > 0 && seen[1] > 0, "{seen:?} of {}: not counted", node.name());
        }
    }
}

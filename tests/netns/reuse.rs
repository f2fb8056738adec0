//! A pod's address outlives the pod: it moves to another worker, or passes to another tenant, while
//! the gateway still knows the flows of the one who had it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use egret_tests::{
    Capture, Client, ECHO_PORT, Families, Frame, Lab, Ns, Packet, Pod, Question, Transport,
    egress_ip, eventually, link_mac, pod_network, send_frame,
};
use egret_types::{Family, MacAddr, ours};
use rstest::rstest;

use crate::forgery::identity;
use crate::world::{self, BILLING, SHOP};

/// Source ports, and the identifier of echo requests, of the flows in question.
const TCP_PORT: u16 = 5551;
const UDP_PORT: u16 = 5552;
const ECHO_ID: u16 = 5553;
/// Where a server outside waits that says something only when the test does.
const LATE_PORT: u16 = 7000;

/// Both workers have one pod network, and each of them one address to give: the same.
fn one_address_for_all(lab: &Lab) {
    for (place, family) in lab.families().list().iter().enumerate() {
        let network = pod_network(*family, 11);
        let only = match network.address() {
            IpAddr::V4(first) => IpAddr::V4(u32::from(first).saturating_add(9).into()),
            IpAddr::V6(first) => IpAddr::V6(u128::from(first).saturating_add(9).into()),
        };
        for worker in ["w1", "w2"] {
            lab.node(worker).edit_conflist(|list| {
                let range = &mut list["plugins"][0]["ipam"]["ranges"][place][0];
                range["subnet"] = network.to_string().into();
                range["rangeStart"] = only.to_string().into();
                range["rangeEnd"] = only.to_string().into();
            });
        }
        lab.node("w2").ns().ip(&format!("route del {network}"));
    }
}

fn any(family: Family, port: u16) -> SocketAddr {
    let any: IpAddr = match family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    (any, port).into()
}

/// Flows of a pod to a server outside, which can speak at any time.
struct Flows {
    family: Family,
    server: UdpSocket,
    peer: SocketAddr,
    /// The server's end, and the pod's.
    stream: TcpStream,
    _client: TcpStream,
}

impl Flows {
    /// TCP, UDP and echo, each answered once, as the pair at this index.
    fn open(lab: &Lab, pod: &Pod, index: u8) -> Self {
        let family = lab.families().list()[0];
        let outside = lab.external_address(family);
        let (server, listener) = lab.external().inside(|| {
            let here = any(family, LATE_PORT);
            (UdpSocket::bind(here).unwrap(), TcpListener::bind(here).unwrap())
        });
        server.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let socket = pod.inside(|| UdpSocket::bind(any(family, UDP_PORT))).unwrap();
        socket.send_to(b"first", (outside, LATE_PORT)).unwrap();
        let peer = server.recv_from(&mut [0; 9]).unwrap().1;
        let late = Client {
            server: (outside, LATE_PORT).into(),
            source_port: TCP_PORT,
            ..Client::new(outside)
        };
        let client = pod.inside(|| late.connect()).unwrap();
        let (stream, from) = listener.accept().unwrap();
        for seen in [peer, from] {
            assert_eq!(seen.ip(), egress_ip(family, index));
        }
        assert_eq!((peer.port(), from.port()), (UDP_PORT, TCP_PORT));
        let answers = pod.capture(ours::POD_LINK, "icmp or icmp6");
        send_echo(pod, family, outside, index);
        answers.wait_for("the echo reply", is_echo_reply);
        Self { family, server, peer, stream, _client: client }
    }

    /// What the server and its kernel say late, all of it to the address that the flows had.
    fn speak_late(&mut self, lab: &Lab) {
        self.server.send_to(b"late", self.peer).unwrap();
        self.stream.write_all(b"late").unwrap();
        let outside = lab.external();
        outside.inside(|| send_frame("eth0", &late_echo_reply(outside, self))).unwrap();
    }
}

/// An echo request of a pod, hand-made for the sake of its identifier.
fn send_echo(pod: &Pod, family: Family, to: IpAddr, index: u8) {
    let own = pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
    let echo = Transport::Echo { id: ECHO_ID, sequence: 1 };
    let frame = Frame::new([own, identity(index)], [pod.address(family), to], echo);
    pod.inside(|| send_frame(ours::POD_LINK, &frame.encode())).unwrap();
}

/// The answer to such a request once more: the request of the other direction with another type.
fn late_echo_reply(outside: &Ns, flows: &Flows) -> Vec<u8> {
    let to = flows.peer.ip();
    let neighbour = outside.exec(&format!("ip neigh show {to}")).success();
    let mac = neighbour.split("lladdr ").nth(1).and_then(|rest| rest.split(' ').next());
    let macs = [link_mac("eth0").unwrap(), mac.unwrap().parse::<MacAddr>().unwrap()];
    let own = egret_tests::external(flows.family, 10);
    let echo = Transport::Echo { id: ECHO_ID, sequence: 1 };
    let mut bytes = Frame::new(macs, [own, to], echo).encode();
    // Type and checksum, and what the one adds to the other in ones' complement.
    let (at, reply, change) = match flows.family {
        Family::V4 => (14 + 20, 0, 0x0800),
        Family::V6 => (14 + 40, 129, 0xfeff),
    };
    bytes[at] = reply;
    let sum = u32::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])) + change;
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    bytes[at + 2..at + 4].copy_from_slice(&folded.to_be_bytes());
    bytes
}

/// Packets of the flows in question, towards the outside or back.
fn of_flows(packet: &Packet) -> bool {
    let ports = [packet.source_port, packet.destination_port];
    let echo = packet.payload.get(4..6) == Some(&ECHO_ID.to_be_bytes())
        && matches!(packet.payload.first(), Some(0 | 8 | 128 | 129));
    ports.contains(&Some(TCP_PORT)) || ports.contains(&Some(UDP_PORT)) || echo
}

/// What [`Flows::speak_late`] says.
fn late(packet: &Packet) -> bool {
    packet.payload.ends_with(b"late") || is_echo_reply(packet)
}

fn is_echo_reply(packet: &Packet) -> bool {
    let kind = packet.payload.first();
    matches!((packet.protocol, kind), (Some(1), Some(0)) | (Some(58), Some(129)))
}

/// Packets that a chain has dropped.
fn dropped(ns: &Ns, chain: &str) -> u64 {
    ns.counted(&format!("chain {chain}"), "drop")
}

#[track_caller]
fn grows(what: &str, before: u64, by: u64, now: impl Fn() -> u64) {
    let enough = || (now() >= before + by).then_some(());
    eventually(what, Duration::from_secs(3), enough);
}

/// A ping of a pod, and then its answer: everything sent before it has been seen by then.
fn seen_until_now(capture: &Capture, pod: &Pod, outside: IpAddr) -> Vec<Packet> {
    let client = Client { source_port: 6000, ..Client::new(outside) };
    pod.ask(&client, Question::Udp).unwrap();
    let last = |packet: &Packet| {
        [packet.source_port, packet.destination_port].contains(&Some(6000))
            && packet.source_port == Some(ECHO_PORT)
    };
    capture.wait_for("the answer on another port", last);
    capture.packets()
}

#[rstest]
fn an_address_that_moves_to_another_worker_takes_nothing_along(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    one_address_for_all(&lab);
    world::open(&lab);
    let family = families.list()[0];
    let outside = lab.external_address(family);
    let old = lab.add_pod("w1", "shop", "cart");
    let mut flows = Flows::open(&lab, &old, SHOP);
    // Control: what the server says late is heard, as long as somebody is there.
    let heard = old.capture(ours::POD_LINK, "ip or ip6");
    flows.speak_late(&lab);
    for protocol in [6, 17] {
        heard.wait_for("a late packet", |p| late(p) && p.protocol == Some(protocol));
    }
    heard.wait_for("a late echo reply", is_echo_reply);
    drop(heard);
    old.del().unwrap();

    let new = lab.add_pod("w2", "shop", "cart");
    assert_eq!(new.address(family), old.address(family));
    let at_new = new.capture(ours::POD_LINK, "ip or ip6");
    let at_old = lab.node("w1").egress_ns().capture(ours::TUNNEL_LINK, "ip or ip6");
    // At once, and with the ports of the flow that the gateway knows from the other worker.
    for (question, port) in [(Question::Tcp, TCP_PORT), (Question::Udp, UDP_PORT)] {
        let client = Client { source_port: port, ..Client::new(outside) };
        let seen = new.ask(&client, question).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP), "{question:?}");
    }
    send_echo(&new, family, outside, SHOP);
    at_new.wait_for("the echo reply", is_echo_reply);
    let stray: Vec<Packet> =
        at_old.packets().into_iter().filter(|p| of_flows(p) && !late(p)).collect();
    assert_eq!(stray, [], "something of the new place was sent to the old one");

    let w1 = lab.node("w1").egress_ns();
    let before = dropped(&w1, "netdev egret worker");
    let answered = at_new.packets().len();
    flows.speak_late(&lab);
    grows("late packets dropped by w1", before, 3, || dropped(&w1, "netdev egret worker"));
    let seen = seen_until_now(&at_new, &new, outside);
    let wrong: Vec<&Packet> = seen[answered..].iter().filter(|packet| late(packet)).collect();
    assert_eq!(wrong, Vec::<&Packet>::new(), "late packets reached the new place");
}

/// The three flows of the new tenant with the ports of the old one's. Gives what answered.
fn same_ports(lab: &Lab, pod: &Pod) -> [Option<IpAddr>; 2] {
    let family = lab.families().list()[0];
    let outside = lab.external_address(family);
    send_echo(pod, family, outside, BILLING);
    [(Question::Tcp, TCP_PORT), (Question::Udp, UDP_PORT)].map(|(question, source_port)| {
        let patience = Duration::from_millis(700);
        // The very flow: the server's port is the same as well.
        let server = (outside, LATE_PORT).into();
        let client = Client { source_port, patience, server, ..Client::new(outside) };
        pod.ask(&client, question).ok().map(|seen| seen.address)
    })
}

#[rstest]
fn an_address_that_passes_to_another_tenant_never_leaves_as_the_old_one(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    one_address_for_all(&lab);
    world::open(&lab);
    let family = families.list()[0];
    let outside = lab.external_address(family);
    let old = lab.add_pod("w1", "shop", "cart");
    let mut flows = Flows::open(&lab, &old, SHOP);
    old.del().unwrap();
    let new = lab.add_pod("w1", "billing", "ledger");
    assert_eq!(new.address(family), old.address(family));
    let (w1, g1) = (lab.node("w1").egress_ns(), lab.node("g1").egress_ns());

    // With the old flow's ports: dropped by the gateway, of each protocol, and counted.
    let wire = lab.external().capture("eth0", "ip or ip6");
    let refused = dropped(&g1, "inet egret foreign-flow");
    assert_eq!(same_ports(&lab, &new), [None, None]);
    grows("foreign flows", refused, 3, || dropped(&g1, "inet egret foreign-flow"));
    let status = lab.node("g1").egretctl("gateway status -o json").json();
    let drops = status["drops"].as_array().unwrap();
    let told = drops.iter().find(|drop| drop["reason"] == "notMyFlow").unwrap();
    assert!(told["packets"].as_u64().unwrap() >= refused + 3, "{status:#}");
    assert_eq!(status["blockedFlows"], 3, "{status:#}");
    let seen = seen_until_now(&wire, &new, outside);
    let wrong: Vec<&Packet> = seen.iter().filter(|packet| of_flows(packet)).collect();
    assert_eq!(wrong, Vec::<&Packet>::new(), "the old flow's ports are seen outside");

    // A late answer to the old flow: dropped by the worker, and counted.
    let at_new = new.capture(ours::POD_LINK, "ip or ip6");
    let before = dropped(&w1, "netdev egret worker");
    flows.speak_late(&lab);
    grows("late packets dropped by w1", before, 3, || dropped(&w1, "netdev egret worker"));
    let seen = seen_until_now(&at_new, &new, outside);
    let wrong: Vec<&Packet> = seen.iter().filter(|packet| of_flows(packet)).collect();
    assert_eq!(wrong, Vec::<&Packet>::new(), "somebody else's answer");

    without_the_check_they_leave_as_the_old_tenant(&lab, &new, &wire);
    let status = lab.node("g1").egretctl("gateway status -o json").json();
    assert_eq!(status["blockedFlows"], 0, "the set still names them, but they have ended");
    // From now on the kernel outside answers for the server.
    drop(flows);
    same_ports_belong_to_the_new_tenant(&lab, &new, &wire);
}

/// Control: conntrack by itself would give the new tenant the old one's address.
fn without_the_check_they_leave_as_the_old_tenant(lab: &Lab, new: &Pod, wire: &Capture) {
    let family = lab.families().list()[0];
    let g1 = lab.node("g1");
    let unchecked = "flush chain inet egret tunnel
        add rule inet egret tunnel meta mark set ct original zone accept";
    g1.egress_ns().program("nft").args(["-f", "-"]).input(unchecked).run().success();
    same_ports(lab, new);
    for protocols in [[6, 6], [17, 17], [1, 58]] {
        let as_shop = |packet: &Packet| {
            packet.source == Some(egress_ip(family, SHOP))
                && packet.protocol.is_some_and(|protocol| protocols.contains(&protocol))
                && of_flows(packet)
        };
        wire.wait_for("a packet of the new tenant as the old one", as_shop);
    }
    let told = g1.egretctl("gateway up").success();
    assert!(told.contains("deleted 3 flows"), "{told}");
}

fn same_ports_belong_to_the_new_tenant(lab: &Lab, new: &Pod, wire: &Capture) {
    let family = lab.families().list()[0];
    let before = wire.packets().len();
    same_ports(lab, new);
    let from_pod = |packet: &Packet| packet.source == Some(egress_ip(family, BILLING));
    let port = |port| move |p: &Packet| of_flows(p) && from_pod(p) && p.source_port == Some(port);
    wire.wait_for("TCP of the new tenant", port(TCP_PORT));
    wire.wait_for("UDP of the new tenant", port(UDP_PORT));
    wire.wait_for("echo of the new tenant", |packet| {
        of_flows(packet) && from_pod(packet) && packet.source_port.is_none()
    });
    let shop = Some(egress_ip(family, SHOP));
    let later = wire.packets().split_off(before);
    let as_shop: Vec<&Packet> = later.iter().filter(|p| of_flows(p) && p.source == shop).collect();
    assert_eq!(as_shop, Vec::<&Packet>::new());
}

/// Two nodes, one pod address, one identification: nothing in the packets tells the fragments of
/// the two apart, and they come interleaved. (IPv4 is in `sharing`.)
#[test]
fn ipv6_fragments_of_one_address_on_two_workers_are_never_put_together() {
    let family = Family::V6;
    let lab = world::builder(Families::V6).start();
    one_address_for_all(&lab);
    world::open(&lab);
    let pods = [lab.add_pod("w1", "shop", "a"), lab.add_pod("w2", "billing", "b")];
    assert_eq!(pods[0].address(family), pods[1].address(family));
    let server = lab.external().inside(|| UdpSocket::bind(any(family, 9999))).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let payloads = ["a".repeat(64), "b".repeat(64)];
    let fragments = [(0, SHOP), (1, BILLING)].map(|(n, index)| {
        let own = pods[n].inside(|| link_mac(ours::POD_LINK)).unwrap();
        let addresses = [pods[n].address(family), lab.external_address(family)];
        let datagram = Transport::udp(&payloads[n]);
        Frame::new([own, identity(index)], addresses, datagram).fragments(0x7777, 32)
    });
    for (pod, part) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
        pods[pod].inside(|| send_frame(ours::POD_LINK, &fragments[pod][part])).unwrap();
    }
    let mut received = [(); 2].map(|()| {
        let mut buffer = [0; 100];
        let (length, peer) = server.recv_from(&mut buffer).expect("two datagrams");
        (peer.ip(), String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    received.sort();
    let [a, b] = payloads;
    assert_eq!(received, [(egress_ip(family, SHOP), a), (egress_ip(family, BILLING), b)]);
}

//! Forged frames out of a pod that has `NET_RAW`: what its routes would not do, a raw frame does
//! not do either. Each frame is looked for at every place it could reach, and must be counted by
//! the chain that is there to drop it. A good frame follows, so that silence means something.

use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{
    Checksum, ECHO_PORT, Families, Frame, Lab, Ns, Packet, Pod, Question, Transport, egress_ip,
    eventually, external, link_mac, resources, send_frame, underlay,
};
use egret_types::{Family, Identity, MacAddr, NodeId, PairIndex, PoolId, ours};
use rstest::rstest;

use crate::world::{self, BILLING, SHOP};

/// The MAC of the egress pair at an index of the pool `tenants`.
pub(crate) fn identity(index: u8) -> MacAddr {
    let pool = PoolId::try_from(1).unwrap();
    Identity::new(pool, PairIndex::try_from(u32::from(index)).unwrap()).mac()
}

/// The MAC of the node with this host number.
pub(crate) fn node_mac(host: u8) -> MacAddr {
    NodeId::try_from(u32::from(host)).unwrap().mac()
}

/// Packets dropped by a chain of the egret namespace, the chains whose name begins so together.
fn dropped(egress: &Ns, prefix: &str) -> u64 {
    let listing = egress.exec("nft list table netdev egret").success();
    let mut within = String::new();
    let mut sum = 0;
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ") {
            name.trim_end_matches(" {").clone_into(&mut within);
        }
        let packets = line.split("counter packets ").nth(1).filter(|_| line.contains("drop"));
        if let (true, Some(rest)) = (within.starts_with(prefix), packets) {
            sum += rest.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    sum
}

/// Two tenants on one worker, one of which may not go to `w2`'s external address, and all the
/// places that a forged frame of that tenant could reach.
struct Scene<'lab> {
    lab: &'lab Lab,
    family: Family,
    pod: Pod<'lab>,
    victim: Pod<'lab>,
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        let families = lab.families();
        let policy = |namespace: &str, index: u8, more: &str| {
            let spec = resources::egress_pair(index, families) + more;
            resources::policy(namespace, "partners", "tenants", &spec)
        };
        let family = families.list()[0];
        let except = format!("  except: [\"{}/{}\"]\n", external(family, 12), family.bits());
        let policies = policy("shop", SHOP, &except) + &policy("billing", BILLING, "");
        lab.write_resources("20-policies.yaml", &policies);
        lab.node("g1").egretctl("gateway up").success();
        let (pod, victim) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "b"));
        Self { lab, family, pod, victim }
    }

    /// The good frame of the pod; each forged one differs from it in what it is named after.
    fn good(&self) -> Frame {
        let own = self.pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
        let addresses = [self.pod.address(self.family), self.lab.external_address(self.family)];
        Frame::new([own, identity(SHOP)], addresses, Transport::udp("good"))
    }

    fn send(&self, frame: &Frame) {
        self.pod.inside(|| send_frame(ours::POD_LINK, &frame.encode())).unwrap();
    }

    /// What is seen of these frames on the tunnel, by the outside, and by the other pod.
    fn seen_of(&self, forged: &[Frame]) -> Vec<(&'static str, Packet)> {
        let tunnel = self.lab.node("w1").ns().capture("eth0", &format!("udp port {}", ours::PORT));
        let outside = self.lab.external().capture("eth0", "udp or vlan");
        let other = self.victim.capture(ours::POD_LINK, "udp or vlan");
        let good = self.good();
        for frame in forged.iter().chain([&good]) {
            self.send(frame);
        }
        outside.wait_for("the good frame", |packet| packet.payload == b"good");
        self.victim.who(Question::Udp, self.lab.external_address(self.family)).unwrap();
        let question = |packet: &Packet| packet.destination_port == Some(egret_tests::ECHO_PORT);
        let answer = |packet: &Packet| packet.source_port == Some(egret_tests::ECHO_PORT);
        outside.wait_for("the other pod's question", question);
        other.wait_for("its answer", answer);
        tunnel.wait_for("its answer", |packet| packet.inner().is_some_and(|inner| answer(&inner)));
        let inner = tunnel.packets().into_iter().filter_map(|packet| packet.inner());
        let all = inner.map(|packet| ("tunnel", packet));
        let all = all.chain(outside.packets().into_iter().map(|packet| ("outside", packet)));
        let all = all.chain(other.packets().into_iter().map(|packet| ("other pod", packet)));
        // An ICMP error about the good frame, whose port is closed, quotes it.
        let legitimate = |packet: &Packet| {
            packet.payload.ends_with(b"good") || question(packet) || answer(packet)
        };
        all.filter(|(_, packet)| !legitimate(packet)).collect()
    }
}

/// Source and destination MAC, source and destination address.
type Fields<'a> = (&'a str, Option<MacAddr>, Option<MacAddr>, Option<IpAddr>, Option<IpAddr>);

fn forge(good: &Frame, fields: &Fields<'_>) -> Frame {
    let (name, source_mac, destination_mac, source, destination) = fields;
    Frame {
        source_mac: source_mac.unwrap_or(good.source_mac),
        destination_mac: destination_mac.unwrap_or(good.destination_mac),
        source: source.unwrap_or(good.source),
        destination: destination.unwrap_or(good.destination),
        transport: Transport::udp(name),
        ..good.clone()
    }
}

fn text(family: Family, v4: &str, v6: &str) -> IpAddr {
    let text = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    text.parse().unwrap()
}

/// A frame that is no pod's, and so is dropped before any decision is looked at.
#[rstest]
fn a_forged_sender_or_identity_is_dropped_and_counted_by_the_chain_of_pods(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let theirs = Some(scene.victim.address(scene.family));
    let arbitrary = Some(text(scene.family, "192.0.2.66", "2001:db8:66::66"));
    let mac = |last| Some(MacAddr([2, 0xaa, 0, 0, 0, last]));
    let cases: [Fields<'_>; 11] = [
        ("address of another pod", None, None, theirs, None),
        ("any address", None, None, arbitrary, None),
        ("identity of another tenant", None, Some(identity(BILLING)), None, None),
        ("identity that nobody has", None, Some(identity(9)), None, None),
        ("address and identity of another", None, Some(identity(BILLING)), theirs, None),
        ("source MAC", mac(1), None, None, None),
        ("source MAC of another node", Some(node_mac(12)), None, None, None),
        ("to its own node", None, Some(node_mac(11)), None, None),
        ("to the gateway node", None, Some(node_mac(21)), None, None),
        ("broadcast", None, Some(MacAddr([0xff; 6])), None, None),
        ("to a gateway's own MAC", None, Some(ours::GATEWAY_MAC), None, None),
    ];
    let good = scene.good();
    let mut forged: Vec<Frame> = cases.iter().map(|case| forge(&good, case)).collect();
    let tagged = Transport::udp("tagged");
    forged.push(Frame { vlans: vec![7], transport: tagged.clone(), ..good.clone() });
    forged.push(Frame { vlans: vec![0, 7], transport: tagged, ..good });
    let egress = lab.node("w1").egress_ns();
    for frame in &forged {
        let before = dropped(&egress, "pod");
        scene.send(frame);
        assert_eq!(dropped(&egress, "pod"), before + 1, "counted: {frame:?}");
    }
    assert_eq!(scene.seen_of(&forged), []);
}

/// A frame with everything right but its destination: the routes in the pod are no control.
#[rstest]
fn a_destination_that_the_decision_excludes_is_dropped_and_counted_by_its_chain(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let family = scene.family;
    let of = |v4, v6| Some(text(family, v4, v6));
    let cases: [(&str, Option<IpAddr>); 8] = [
        ("excepted", Some(external(family, 12))),
        ("the gateway node", Some(underlay(family, 21))),
        ("the other pod", Some(scene.victim.address(family))),
        ("a pod elsewhere", of("10.244.77.7", "fd00:10:244:77::7")),
        ("a service", of("10.96.0.10", "fd00:10:96::a")),
        ("link-local", of("169.254.169.254", "fe80::a9fe")),
        ("multicast", of("224.0.0.251", "ff02::fb")),
        ("loopback", of("127.0.0.1", "::1")),
    ];
    let good = scene.good();
    let forged: Vec<Frame> =
        cases.iter().map(|(name, to)| forge(&good, &(name, None, None, None, *to))).collect();
    let egress = lab.node("w1").egress_ns();
    // Chains of decisions are named d, the identity, a hash.
    for frame in &forged {
        let before = (dropped(&egress, "pod"), dropped(&egress, "d"));
        scene.send(frame);
        let after = (dropped(&egress, "pod"), dropped(&egress, "d"));
        assert_eq!(after, (before.0, before.1 + 1), "counted: {frame:?}");
    }
    assert_eq!(scene.seen_of(&forged), []);
    // Through the segment of the pods' links, with the other pod's MAC: no bridge is there.
    let direct: Fields<'_> = ("direct", None, Some(node_mac(11)), None, cases[2].1);
    assert_eq!(scene.seen_of(&[forge(&good, &direct)]), []);
}

/// conntrack calls such a packet invalid, and what it does not track it does not translate.
#[rstest]
fn a_packet_that_the_gateway_cannot_track_never_leaves_with_the_pods_address(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let bad = |transport: Transport| {
        let checksum = Checksum::Wrong;
        Frame { checksum, transport, ..scene.good() }
    };
    let tcp = |flags| Transport::Tcp { source: 5000, destination: 80, flags };
    let forged = [
        bad(Transport::udp("wrong checksum")),
        bad(tcp(2)),
        Frame { transport: tcp(0x04), ..scene.good() },
        Frame { transport: tcp(0x3f), ..scene.good() },
        bad(Transport::Echo { id: 1, sequence: 1 }),
    ];
    let outside = lab.external().capture("eth0", "ip or ip6");
    for frame in &forged {
        scene.send(frame);
    }
    scene.send(&scene.good());
    outside.wait_for("the good frame", |packet| packet.payload == b"good");
    let wrong: Vec<Packet> = outside
        .packets()
        .into_iter()
        .filter(|packet| packet.source == Some(scene.pod.address(scene.family)))
        .collect();
    assert_eq!(wrong, []);
    let good = outside.wait_for("the good frame", |packet| packet.payload == b"good");
    assert_eq!(good.source, Some(egress_ip(scene.family, SHOP)));
}

/// Connection tracking takes an error for a part of the flow that it quotes, whoever sends it.
#[rstest]
fn an_error_about_another_tenants_flow_does_not_reach_it(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let server = lab.external_address(family);
    let (victim, pod) = (lab.add_pod("w1", "billing", "b"), lab.add_pod("w1", "shop", "cart"));
    let socket = victim.inside(|| {
        let any = if server.is_ipv4() { "0.0.0.0:5555" } else { "[::]:5555" };
        std::net::UdpSocket::bind(any).unwrap()
    });
    socket.connect((server, ECHO_PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let answered = || socket.send(b"S").is_ok() && socket.recv(&mut [0; 100]).is_ok();
    assert!(answered());

    // From the pod's own address and with its own identity, about an answer to the victim.
    let answer = Transport::Udp { source: ECHO_PORT, destination: 5555, payload: vec![] };
    let macs = [node_mac(11), identity(SHOP)];
    let about = Frame::new(macs, [server, victim.address(family)], answer).encode()[14..].to_vec();
    let own = pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
    let error = Transport::Unreachable { quoted: about };
    let frame = Frame::new([own, identity(SHOP)], [pod.address(family), server], error);
    let outside = lab.external().capture("eth0", "icmp or icmp6");
    let gateway = lab.node("g1").egress_ns();
    pod.inside(|| send_frame(ours::POD_LINK, &frame.encode())).unwrap();
    let dropped = || gateway.counted("chain inet egret foreign-flow", "drop");
    eventually("the error is dropped", Duration::from_secs(3), || (dropped() == 1).then_some(()));

    // Nobody takes the flow for one that must go.
    let status = lab.node("g1").egretctl("gateway status -o json").json();
    assert_eq!(status["blockedFlows"], serde_json::json!(0), "{status:#}");
    let up = lab.node("g1").egretctl("gateway up").success();
    assert!(!up.contains("deleted"), "{up}");
    assert!(answered(), "the victim's flow goes on");
    let unreachable = |packet: &Packet| matches!(packet.payload.first(), Some(3 | 1));
    let seen: Vec<Packet> = outside.stop().into_iter().filter(unreachable).collect();
    assert_eq!(seen, []);
}

//! The segment behind `egr0` is none: no neighbour can be asked, claimed or reached there, and an
//! egress IP is no way from one tenant to another.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use egret_tests::{
    Client, Families, Frame, Ns, Packet, Pod, Question, Transport, egress_ip, eventually, link_mac,
    send_frame,
};
use egret_types::{Family, MacAddr, ours};
use rstest::rstest;

use crate::forgery::{identity, node_mac};
use crate::world::{self, BILLING, SHOP};

const BROADCAST: MacAddr = MacAddr([0xff; 6]);
/// 33:33 and the end of `ff02::1`, all nodes.
const ALL_NODES: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
const REQUEST: u8 = 1;
pub(crate) const REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ROUTER_ADVERTISEMENT: u8 = 134;

/// ARP (RFC 826): `claimed` is at `own`; what is `wanted`?
pub(crate) fn arp(kind: u8, [own, to]: [MacAddr; 2], claimed: IpAddr, wanted: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(claimed), IpAddr::V4(wanted)) = (claimed, wanted) else {
        panic!("ARP is IPv4's");
    };
    let header = [8, 6, 0, 1, 8, 0, 6, 4, 0, kind];
    let sender = [own.0.as_slice(), &claimed.octets()].concat();
    let target = [[0; 6].as_slice(), &wanted.octets()].concat();
    [to.0.as_slice(), &own.0, &header, &sender, &target, &[0; 18]].concat()
}

/// Neighbour discovery (RFC 4861) about a target, with hop limit 255 and a link-layer address.
fn discovery(kind: u8, macs: [MacAddr; 2], from: IpAddr, to: Ipv6Addr, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(target)) = (from, target) else {
        panic!("neighbour discovery is IPv6's");
    };
    let option = if kind == SOLICITATION { 1 } else { 2 };
    let mut body = [&[kind, 0, 0, 0, 0x20, 0, 0, 0], target.octets().as_slice()].concat();
    body.extend([option, 1]);
    body.extend(macs[0].0);
    let pseudo = [from.octets(), to.octets()].concat();
    let ending = [0, 0, 0, u8::try_from(body.len()).unwrap(), 0, 0, 0, 58];
    let sum = checksum(&[pseudo.as_slice(), &ending, &body].concat());
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = [0x86, 0xdd, 0x60, 0, 0, 0, 0, u8::try_from(body.len()).unwrap(), 58, 255];
    [macs[1].0.as_slice(), &macs[0].0, &header, &pseudo, &body].concat()
}

/// RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
    let words = bytes.chunks(2).map(|pair| u32::from(word(pair)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// What a pod could say to find others, or to be taken for them. Most have everything right that a
/// frame of this pod must have; what they are is enough.
fn claims(pod: &Pod, victim: &Pod, family: Family) -> Vec<(&'static str, Vec<u8>)> {
    let own = pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
    let (mine, theirs) = (pod.address(family), victim.address(family));
    let to = |mac| [own, mac];
    match family {
        Family::V4 => vec![
            ("who has the other pod", arp(REQUEST, to(BROADCAST), mine, theirs)),
            ("gratuitous for the other pod", arp(REPLY, to(BROADCAST), theirs, theirs)),
            ("reply to the node", arp(REPLY, to(node_mac(11)), theirs, mine)),
            ("reply to the identity", arp(REPLY, to(identity(SHOP)), theirs, mine)),
        ],
        Family::V6 => {
            let all = "ff02::1".parse().unwrap();
            let link_local: IpAddr = "fe80::66".parse().unwrap();
            let ask = |from, mac| discovery(SOLICITATION, to(mac), from, all, theirs);
            let claim = |from, mac| discovery(ADVERTISEMENT, to(mac), from, all, theirs);
            vec![
                ("who has the other pod", ask(mine, ALL_NODES)),
                ("the same, link-local", ask(link_local, ALL_NODES)),
                ("claim of the other pod", claim(mine, ALL_NODES)),
                ("claim, from its address", claim(theirs, ALL_NODES)),
                ("claim to the node", claim(mine, node_mac(11))),
                (
                    "a router",
                    discovery(ROUTER_ADVERTISEMENT, to(ALL_NODES), link_local, all, theirs),
                ),
                // The right MAC for this pod: the decision has no such destination.
                ("claim to the identity", claim(mine, identity(SHOP))),
            ]
        }
    }
}

/// Packets dropped on the way out of the pods of a node: the table has no other drops but those of
/// the way back, which nothing of this test takes.
fn dropped(egress: &Ns) -> u64 {
    egress.counted("table netdev egret", "drop")
}

#[rstest]
fn arp_and_neighbour_discovery_of_a_pod_reach_nobody(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let (pod, victim) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "b"));
    let same = lab.add_pod("w1", "shop", "second");
    let egress = lab.node("w1").egress_ns();
    let filter = "arp or icmp6 or udp";
    let others = [&victim, &same].map(|other| other.capture(ours::POD_LINK, filter));
    let tunnel = lab.node("w1").ns().capture("eth0", &format!("udp port {}", ours::PORT));
    // On the pod's own end, so that it is certain that the frames were sent.
    let sent = pod.capture(ours::POD_LINK, filter);
    let claims = claims(&pod, &victim, family);
    for (name, frame) in &claims {
        let before = dropped(&egress);
        pod.inside(|| send_frame(ours::POD_LINK, frame)).unwrap();
        assert!(dropped(&egress) > before, "not counted: {name}");
    }
    let neighbourly = |packet: &Packet| {
        let kind = packet.payload.first();
        packet.ether_type == 0x0806
            || packet.protocol == Some(58) && matches!(kind, Some(133..=137))
    };
    // Behind them, on every way that they could have taken.
    for other in [&pod, &victim, &same] {
        other.who(Question::Udp, lab.external_address(family)).unwrap();
    }
    for other in &others {
        other.wait_for("an answer", |packet| packet.source_port == Some(egret_tests::ECHO_PORT));
        let heard: Vec<Packet> = other.packets().into_iter().filter(neighbourly).collect();
        assert_eq!(heard, [], "another pod heard");
    }
    tunnel.wait_for("a tunnelled packet", |packet| packet.inner().is_some());
    let inner = tunnel.packets().into_iter().filter_map(|packet| packet.inner());
    assert_eq!(inner.filter(neighbourly).collect::<Vec<_>>(), [], "in the tunnel");
    let made = sent.packets().into_iter().filter(|packet| neighbourly(packet)).count();
    assert!(made >= claims.len(), "control: only {made} of {} frames were sent", claims.len());
    pod.check().unwrap();
}

#[rstest]
fn an_egress_ip_is_no_way_to_another_tenant(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let (shop, billing) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w2", "billing", "b"));
    // A flow of the other tenant, whose way back somebody inside might want to take.
    let outside = lab.external_address(family);
    let client = Client { source_port: 5555, ..Client::new(outside) };
    billing.ask(&client, Question::Udp).unwrap();
    let g1 = lab.node("g1").egress_ns();
    let counted = || g1.counted("chain inet egret input", "drop");
    let wire = lab.external().capture("eth0", "ip or ip6");
    let heard = billing.capture(ours::POD_LINK, "ip or ip6");
    let own = shop.inside(|| link_mac(ours::POD_LINK)).unwrap();
    for index in [BILLING, SHOP] {
        let target = egress_ip(family, index);
        for transport in [
            Transport::Udp { source: 8001, destination: 5555, payload: b"crossing".to_vec() },
            Transport::Tcp { source: 8001, destination: 5555, flags: 2 },
            Transport::Echo { id: 5555, sequence: 1 },
        ] {
            let before = counted();
            let name = format!("{transport:?} to {target}");
            let frame =
                Frame::new([own, identity(SHOP)], [shop.address(family), target], transport);
            shop.inside(|| send_frame(ours::POD_LINK, &frame.encode())).unwrap();
            let counts = || (counted() > before).then_some(());
            eventually(&format!("counted: {name}"), Duration::from_secs(3), counts);
        }
    }
    for pod in [&shop, &billing] {
        pod.who(Question::Udp, outside).unwrap();
    }
    let answer = |packet: &Packet| packet.source_port == Some(egret_tests::ECHO_PORT);
    heard.wait_for("the answer to the other tenant", answer);
    let crossing = |packet: &Packet| {
        packet.source_port == Some(8001) && packet.destination_port == Some(5555)
            || packet.payload.ends_with(b"crossing")
    };
    let stray = [wire.packets(), heard.packets()].concat();
    assert_eq!(stray.into_iter().filter(crossing).collect::<Vec<_>>(), []);
    // Control: from outside the same address answers a ping, as the kernel of the gateway.
    assert!(lab.external().ping(egress_ip(family, BILLING)));
}

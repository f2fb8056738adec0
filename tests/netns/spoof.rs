//! What a pod with `NET_RAW`, and a process without any right, can do: nothing that its routes would
//! not. Each test sends a frame that must be seen last, so that silence before it means something.

use std::net::{IpAddr, SocketAddr};

use egret_tests::{
    Checksum, Families, Frame, Lab, Packet, Pod, Question, Transport, link_mac, send_frame,
    send_vxlan, underlay,
};
use egret_types::{Family, Identity, MacAddr, PairIndex, PoolId, ours};
use rstest::rstest;

use crate::world::{self, BILLING, SHOP};

fn identity(index: u8) -> MacAddr {
    let pool = PoolId::try_from(1).unwrap();
    Identity::new(pool, PairIndex::try_from(u32::from(index)).unwrap()).mac()
}

/// Sends forged frames out of the pod's egress link, then a good one, and gives what came outside
/// before it.
fn outside_sees(lab: &Lab, pod: &Pod, forged: &[Frame], good: &Frame) -> Vec<Packet> {
    let capture = lab.external().capture("eth0", "udp port 9999");
    for frame in forged.iter().chain([good]) {
        pod.inside(|| send_frame(ours::POD_LINK, &frame.encode())).unwrap();
    }
    capture.wait_for("the good frame", |packet| packet.payload == b"good");
    capture.packets().into_iter().filter(|packet| packet.payload != b"good").collect()
}

#[rstest]
fn a_forged_frame_is_dropped_and_counted(#[values(Families::V4, Families::V6)] families: Families) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let (pod, victim) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "b"));
    let family = families.list()[0];
    let outside = lab.external_address(family);
    let own_mac = pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
    let stranger = MacAddr([2, 0xaa, 0, 0, 0, 1]);
    let frame = |macs: [MacAddr; 2], source: IpAddr, destination: IpAddr, payload: &str| {
        Frame::new(macs, [source, destination], Transport::udp(payload))
    };
    let (mine, theirs) = (pod.address(family), victim.address(family));
    let good = frame([own_mac, identity(SHOP)], mine, outside, "good");
    let tagged =
        Frame { vlans: vec![7], ..frame([own_mac, identity(SHOP)], mine, outside, "vlan") };
    let forged = [
        frame([own_mac, identity(SHOP)], theirs, outside, "source of another pod"),
        frame([own_mac, identity(BILLING)], mine, outside, "identity of another tenant"),
        frame([own_mac, identity(BILLING)], theirs, outside, "both"),
        frame([stranger, identity(SHOP)], mine, outside, "source MAC"),
        frame([own_mac, MacAddr([0xff; 6])], mine, outside, "broadcast"),
        tagged,
    ];
    let counted = || lab.node("w1").egress_ns().counted("table netdev egret", "drop");
    let before = counted();
    assert_eq!(outside_sees(&lab, &pod, &forged, &good), []);
    assert!(counted() >= before + 6, "six drops: {} then {}", before, counted());
    let node = frame([own_mac, identity(SHOP)], mine, underlay(family, 21), "a cluster address");
    assert_eq!(outside_sees(&lab, &pod, &[node], &good), []);
    let invalid = Frame {
        checksum: Checksum::Wrong,
        ..frame([own_mac, identity(SHOP)], mine, outside, "bad sum")
    };
    let leaked = outside_sees(&lab, &pod, &[invalid], &good);
    assert!(
        leaked.iter().all(|packet| packet.source == Some(egret_tests::egress_ip(family, SHOP))),
        "{leaked:#?}"
    );
}

#[test]
fn hand_made_tunnel_frames_are_refused_from_pods_and_from_host_processes() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let (pod, victim) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "b"));
    let family = Family::V4;
    let node_mac = pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
    let frame = Frame::new(
        [node_mac, identity(BILLING)],
        [victim.address(family), lab.external_address(family)],
        Transport::udp("forged"),
    )
    .encode();
    let vtep = SocketAddr::from((underlay(family, 21), ours::PORT));
    let attempt = || {
        let capture = lab.external().capture("eth0", "udp");
        // The output rule refuses a process on the node in its own system call.
        for namespace in [pod.ns(), lab.node("w1").ns()] {
            namespace.inside(|| send_vxlan(vtep, ours::VNI, &frame)).ok();
        }
        victim.who(Question::Udp, lab.external_address(family)).unwrap();
        capture
            .wait_for("a datagram of the victim", |packet| packet.destination_port == Some(8000));
        capture.packets().iter().filter(|packet| packet.payload == b"forged").count()
    };
    assert_eq!(attempt(), 0);
    // Negative control: without the guard the same frames arrive.
    for node in ["w1", "g1"] {
        let table = format!("nft delete table inet {}", ours::NFT_TUNNEL_TABLE);
        lab.node(node).ns().exec(&table).success();
    }
    assert!(attempt() > 0);
}

//! Bad datagrams into the tunnel's port: of a host that is no node, and of root on a worker.

use egret_tests::{
    BadFrames, Families, Fate, Frame, Hostile, Lab, Ns, Packet, Sender, Transport, Tunnelled,
    link_mac, seeds, underlay, vxlan,
};
use egret_types::ours;
use rstest::rstest;

use super::{FRAMES, Scene, guarded, into_tunnel, on_link, send, some};
use crate::tunnel_guard::{delete_guard, stranger};
use crate::world;

/// The gateway, and a worker.
const TARGETS: [(&str, u8); 2] = [("g1", 21), ("w1", 11)];

#[rstest]
fn bad_datagrams_of_a_stranger_are_dropped_by_the_guard_one_and_all(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let stranger = stranger(&lab, scene.family);
    let mut frames = Tunnelled::new(BadFrames::new(scene.worker_as_sender(), 0));
    for (seed, (node, host)) in seeds().into_iter().flat_map(|s| TARGETS.map(|t| (s, t))) {
        frames.reseed(seed);
        let vtep = underlay(scene.family, host);
        let [_, before] = guarded(&lab, node);
        let sent = send(&stranger, frames.by_ref().take(FRAMES), || into_tunnel(vtep)).len();
        scene.after_all();
        assert_eq!(sent, FRAMES, "seed {seed}");
        let [_, after] = guarded(&lab, node);
        assert_eq!(after - before, sent as u64, "seed {seed}: counted by {node}");
        assert_eq!(scene.left(), [], "seed {seed}: something left");
        scene.unharmed(seed);
    }
    scene.works_as_before();
    // Control: without the guard the odd ones leave.
    delete_guard(&lab, "g1");
    let vtep = underlay(scene.family, 21);
    send(&stranger, some(&mut frames, Fate::Open), || into_tunnel(vtep));
    scene.after_all();
    assert!(scene.left().len() > FRAMES / 10);
}

/// What is well-formed is root's to send, as every tenant; see `open.rs`.
#[rstest]
fn bad_frames_of_root_on_a_worker_reach_nobody_and_odd_ones_leave_with_an_egress_ip(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    delete_guard(&lab, "w2");
    let w2 = lab.node("w2").ns();
    let mut frames = Tunnelled::new(BadFrames::new(scene.worker_as_sender(), 0));
    let mut into = |fate, seed, (node, host): (&str, u8)| {
        let before = guarded(&lab, node).iter().sum::<u64>();
        let vtep = underlay(scene.family, host);
        let sent = send(w2, some(&mut frames, fate), || into_tunnel(vtep)).len();
        scene.after_all();
        assert_eq!(sent, FRAMES, "seed {seed}");
        // The good datagram comes from another worker, and its answer goes there.
        let counted = guarded(&lab, node).iter().sum::<u64>() - before;
        assert!((sent as u64..sent as u64 + 3).contains(&counted), "seed {seed}: {counted}");
        scene.unharmed(seed);
    };
    for (seed, target) in seeds().into_iter().flat_map(|s| TARGETS.map(|t| (s, t))) {
        into(Fate::Refused, seed, target);
        assert_eq!(scene.left(), [], "seed {seed}: something left");
    }
    let [gateway, worker] = TARGETS;
    let seed = seeds()[1];
    into(Fate::Open, seed, worker);
    assert_eq!(scene.left(), [], "seed {seed}: something left");
    into(Fate::Open, seed, gateway);
    // A worker takes every identity of the pool.
    scene.left_only_as(0..10, seed);
    scene.works_as_before();
}

/// What an IP host may take, although no sender writes it, or what would disturb the underlay.
const NOT_REFUSED_BY_HOSTS: [&str; 9] = [
    "source MAC",
    "any source MAC",
    "multicast MAC",
    "priority tag",
    "no hop left",
    "bit flipped",
    // A length of 0 means over IPv6 that the packet's holds (RFC 2675).
    "UDP length below a header",
    "ARP",
    "neighbour discovery",
];

/// Root on `w2`, to the gateway, without the kernel's tunnel: a good frame in a good datagram.
fn outer(scene: &Scene<'_>, w2: &Ns) -> Sender {
    let Sender { macs, addresses, .. } = scene.worker_as_sender();
    let inner = Frame::new(macs, addresses, Transport::udp("in a bad datagram"));
    let mac = |namespace: &Ns| namespace.inside(|| link_mac("eth0")).unwrap();
    let at = |host| underlay(scene.family, host);
    Sender {
        macs: [mac(w2), mac(scene.lab.node("g1").ns())],
        addresses: [at(12), at(21)],
        port: ours::PORT,
        payload: vxlan(ours::VNI, &inner.encode()),
        foreign_macs: vec![mac(scene.lab.node("w1").ns())],
        foreign_sources: vec![at(99), at(21)],
        foreign_destinations: vec![at(98)],
        ..scene.worker_as_sender()
    }
}

/// The outer packet is bad, what it carries is not: without a fault it would leave.
#[rstest]
fn a_good_frame_in_a_bad_datagram_of_a_worker_does_not_leave(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab: Lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    delete_guard(&lab, "w2");
    let w2 = lab.node("w2").ns();
    let mut frames = BadFrames::new(outer(&scene, w2), 0);
    let refused = |frame: &Hostile| !NOT_REFUSED_BY_HOSTS.contains(&frame.kind);
    for seed in seeds() {
        frames.reseed(seed);
        let chosen = some(frames.by_ref().filter(refused), Fate::Refused);
        let sent = send(w2, chosen, || on_link("eth0")).len();
        assert!(sent > FRAMES * 9 / 10, "seed {seed}: {sent}");
        scene.after_all();
        assert_eq!(scene.left(), [], "seed {seed}: something left");
        scene.unharmed(seed);
    }
    scene.works_as_before();
    let good = |packet: &Packet| packet.payload == b"in a bad datagram";
    send(w2, some(&mut frames, Fate::Open), || on_link("eth0"));
    scene.uplink.wait_for("what was carried", good);
}

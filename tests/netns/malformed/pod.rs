//! Bad frames out of a pod that has `NET_RAW`.

use egret_tests::{BadFrames, Families, Fate, Hostile, Lab, Ns, Packet, seeds};
use egret_types::ours;
use rstest::rstest;

use super::{FRAMES, Scene, on_link, send, some};
use crate::world::{self, SHOP};

/// Packets that a link of a namespace sent.
fn transmitted(namespace: &Ns, link: &str) -> u64 {
    let json = namespace.exec(&format!("ip -j -s link show {link}")).json();
    json[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}

/// Of the worker's egret namespace: frames dropped there, and frames sent to the gateway.
fn at_worker(lab: &Lab) -> [u64; 2] {
    let namespace = lab.node("w1").egress_ns();
    [namespace.counted("table netdev egret", "drop"), transmitted(&namespace, ours::TUNNEL_LINK)]
}

/// Of the gateway's: what our rules dropped, and what the kernel did before it came to them (faults
/// of headers).
fn at_gateway(lab: &Lab) -> u64 {
    let namespace = lab.node("g1").egress_ns();
    let tables = ["table netdev egret", "table inet egret"];
    let dropped: u64 = tables.iter().map(|table| namespace.counted(table, "drop")).sum();
    let kernels = [
        "IpInHdrErrors",
        "IpExtInTruncatedPkts",
        "Ip6InHdrErrors",
        "Ip6InTruncatedPkts",
        "Ip6InDiscards",
        "Ip6InUnknownProtos",
    ];
    let statistics = namespace.exec("nstat -asz").success();
    let counts = statistics.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        kernels.contains(&name).then(|| words.next()?.parse::<u64>().ok())?
    });
    dropped + counts.sum::<u64>()
}

#[rstest]
fn bad_frames_of_a_pod_reach_nobody_and_each_is_counted(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let mut frames = BadFrames::new(scene.pod_as_sender(), 0);
    for seed in seeds() {
        frames.reseed(seed);
        let (worker, gateway) = (at_worker(&lab), at_gateway(&lab));
        let sent = send(&scene.pod, some(&mut frames, Fate::Refused), || on_link(ours::POD_LINK));
        scene.after_all();
        assert_eq!(scene.left(), [], "seed {seed}: something left");
        let [dropped, forwarded] = at_worker(&lab);
        let [dropped, forwarded] = [dropped - worker[0], forwarded - worker[1]];
        let of = |text| sent.iter().filter(|kind| kind.contains(text)).count() as u64;
        assert!(sent.len() > FRAMES * 9 / 10, "seed {seed}: {} sent", sent.len());
        // A tag without its end is dropped by the kernel before any rule.
        let received = sent.len() as u64 - of("cut VLAN tag");
        // The good datagram was forwarded, too.
        assert_eq!(dropped + forwarded, received + 1, "seed {seed}: {dropped} dropped");
        // The kernel has no counter for the fragments that wait for others until they are too old.
        let accounted = at_gateway(&lab) - gateway + of("fragment");
        assert!(accounted > forwarded * 9 / 10, "seed {seed}: {accounted} of {forwarded}");
        scene.unharmed(seed);
    }
    scene.works_as_before();
}

#[rstest]
fn odd_frames_of_a_pod_leave_with_its_own_egress_ip_or_not_at_all(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let mut frames = BadFrames::new(scene.pod_as_sender(), 0);
    for seed in seeds() {
        frames.reseed(seed);
        send(&scene.pod, some(&mut frames, Fate::Open), || on_link(ours::POD_LINK));
        scene.after_all();
        scene.left_only_as(SHOP..SHOP + 1, seed);
        scene.unharmed(seed);
    }
    scene.works_as_before();
}

/// Control of the two tests above: what they send can arrive, where nothing keeps it.
#[rstest]
fn bad_frames_of_a_pod_arrive_where_the_rules_against_them_are_gone(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let scene = Scene::new(&lab);
    let of_kind = |kind: &'static str| {
        let frames = BadFrames::new(scene.pod_as_sender(), seeds()[0]);
        let chosen = frames.filter(move |frame: &Hostile| frame.kind == kind).take(100);
        send(&scene.pod, chosen, || on_link(ours::POD_LINK));
        scene.after_all();
        scene.left()
    };
    assert_eq!(of_kind("source address"), []);
    lab.node("w1").egress_ns().exec("nft insert rule netdev egret pod fwd to egret0").success();
    let arrived = of_kind("source address").len();
    assert!(arrived > 10, "{arrived} of a wrong source");

    assert_eq!(of_kind("UDP checksum").len(), arrived);
    let g1 = lab.node("g1").egress_ns();
    for chain in ["remember", "fence"] {
        g1.exec(&format!("nft insert rule inet egret {chain} accept")).success();
    }
    let own = |packet: &Packet| packet.source == Some(scene.pod.address(scene.family));
    let bare = of_kind("UDP checksum").into_iter().filter(own).count();
    assert!(bare > 50, "{bare} with a wrong checksum, as the pod");
}

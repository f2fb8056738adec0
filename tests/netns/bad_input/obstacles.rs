//! What stands in the way on the node and in the pod, and is somebody else's.

use egret_tests::{Families, Ns};
use egret_types::ours;

use super::{Scene, refused};
use crate::world;

/// Lines of `ip` or a ruleset of nft that stand in the way, and how to take them away.
struct Obstacle {
    name: &'static str,
    place: fn(&Scene<'_>) -> Ns,
    make: &'static [&'static str],
    clear: &'static [&'static str],
    code: u64,
    words: &'static [&'static str],
}

fn in_node(scene: &Scene<'_>) -> Ns {
    scene.lab.node("w1").ns().clone()
}

fn in_pod(scene: &Scene<'_>) -> Ns {
    scene.pod.ns().clone()
}

/// At our path, but not made by us.
fn in_egress(scene: &Scene<'_>) -> Ns {
    let namespace = scene.lab.node("w1").egress_ns();
    if !namespace.exists() {
        scene.lab.namespace("w1-egret");
    }
    namespace
}

const OBSTACLES: [Obstacle; 11] = [
    Obstacle {
        name: "VNI",
        place: in_node,
        make: &["ip link add vx type vxlan id 230 dstport 7790 local 172.18.0.11"],
        clear: &["ip link del vx"],
        code: 5,
        words: &["VNI 230", "7790"],
    },
    Obstacle {
        name: "underlay MTU",
        place: in_node,
        make: &["ip link set eth0 mtu 1290"],
        clear: &["ip link set eth0 mtu 1500"],
        code: 7,
        words: &["1290", "1240", "1280"],
    },
    Obstacle {
        name: "a link of our name in the pod",
        place: in_pod,
        make: &["ip link add egr0 type bridge"],
        clear: &["ip link del egr0"],
        code: 105,
        words: &["egr0", "bridge"],
    },
    Obstacle {
        name: "a veth of our name in the pod",
        place: in_pod,
        make: &["ip link add egr0 type veth peer name other"],
        clear: &["ip link del egr0"],
        code: 105,
        words: &["egr0", "veth"],
    },
    Obstacle {
        name: "a table of our name in the pod",
        place: in_pod,
        make: &["nft add table inet egret { comment \"theirs\" ; }"],
        clear: &["nft delete table inet egret"],
        code: 105,
        words: &["inet egret"],
    },
    Obstacle {
        name: "a guard that is not ours",
        place: in_node,
        make: &["nft add table inet egret-tunnel { comment \"theirs\" ; }"],
        clear: &["nft delete table inet egret-tunnel"],
        code: 105,
        words: &["egret-tunnel"],
    },
    Obstacle {
        name: "a guard of pods that is not ours",
        place: in_node,
        make: &["nft add table inet egret-guard { comment \"theirs\" ; }"],
        clear: &["nft delete table inet egret-guard"],
        code: 105,
        words: &["inet egret-guard"],
    },
    Obstacle {
        name: "a tunnel of another kind",
        place: in_egress,
        make: &["ip link add egret0 type bridge"],
        clear: &["ip link del egret0"],
        code: 105,
        words: &["egret0", "bridge"],
    },
    Obstacle {
        name: "a tunnel of another number",
        place: in_egress,
        make: &["ip link add egret0 type vxlan id 77 dstport 7790 local 172.18.0.11"],
        clear: &["ip link del egret0"],
        code: 5,
        words: &["egret0", "vni 77", "egretctl gc"],
    },
    Obstacle {
        name: "IPv6 disabled for new links",
        place: in_pod,
        make: &["sysctl -qw net.ipv6.conf.default.disable_ipv6=1"],
        clear: &["sysctl -qw net.ipv6.conf.default.disable_ipv6=0"],
        code: 5,
        words: &["IPv6 is disabled", "disable_ipv6"],
    },
    Obstacle {
        name: "IPv6 disabled",
        place: in_pod,
        make: &["sysctl -qw net.ipv6.conf.all.disable_ipv6=1"],
        // The address does not come back by itself: this is the last one.
        clear: &[],
        code: 7,
        words: &["IPv6 is disabled", "net.ipv6.conf.all.disable_ipv6"],
    },
];

#[test]
fn what_belongs_to_somebody_else_is_left_alone_and_named() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    for obstacle in &OBSTACLES {
        let before = scene.reading();
        let namespace = (obstacle.place)(&scene);
        for line in obstacle.make {
            namespace.exec(line).success();
        }
        refused(obstacle.name, scene.add().run(), obstacle.code, obstacle.words);
        // It can be removed, so it is still there.
        for line in obstacle.clear {
            namespace.exec(line).success();
        }
        // What is shared may have come into being before the error.
        lab.node("w1").egretctl("gc").success();
        let after = scene.reading();
        let changes = match obstacle.clear {
            // The addresses of the pod do not come back.
            [] => before.without(scene.pod.name()).changes_to(&after.without(scene.pod.name())),
            _ => before.changes_to(&after),
        };
        assert!(changes.is_empty(), "{}: left behind:\n{changes}", obstacle.name);
    }
}

#[test]
fn a_port_that_a_program_has_taken_is_named() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1").ns();
    let taken = node.inside(|| std::net::UdpSocket::bind(("0.0.0.0", ours::PORT))).unwrap();
    scene.refused("port", scene.add(), 5, &["UDP port 7790"]);
    drop(taken);
    scene.add().run().result();
}

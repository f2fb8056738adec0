//! Under a thousand datagrams a second in each direction: whatever is changed in the resources and
//! run again loses none and sends none with another source.

use std::time::Duration;

use egret_tests::{
    Families, Lab, Lost, Node, Stream, egress_ip, eventually, external, pod_network, resources,
    underlay,
};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::ride::{Ride, Strangers, has_address};
use crate::world::{self, SHOP};

const DEFAULTS: &str = "10-defaults.yaml";
/// How often each change is made.
const ROUNDS: usize = 4;

/// The resources of a laboratory and what may be changed in them.
#[derive(Clone, Copy)]
struct Cluster<'lab> {
    lab: &'lab Lab,
    /// w2 is a node.
    second_worker: bool,
    /// The pool `tenants` has two pairs more at its end.
    longer_pool: bool,
    /// There is a second pool.
    second_pool: bool,
    /// Networks that w1 says its pods are in; none: not checked.
    pod_networks: u8,
}

/// A host of the range that [`Cluster::longer_pool`] appends.
const APPENDED: u8 = 81;
/// A host of the second pool.
const SECOND: u8 = 65;

impl<'lab> Cluster<'lab> {
    fn least(lab: &'lab Lab) -> Self {
        let (second_worker, longer_pool, second_pool) = (false, false, false);
        Self { lab, second_worker, longer_pool, second_pool, pod_networks: 0 }
    }

    fn write(self) {
        let families = self.lab.families();
        let nodes: Vec<Node> = self.lab.nodes().to_vec();
        let nodes: Vec<Node> =
            nodes.into_iter().filter(|n| self.second_worker || n.name() != "w2").collect();
        let mut text = resources::defaults(&nodes, families);
        for family in families.list() {
            let end = format!("{}\"]", external(*family, 59));
            let (first, last) = (external(*family, 80), external(*family, APPENDED));
            let longer = text.replace(&end, &end.replace(']', &format!(", \"{first}-{last}\"]")));
            assert_ne!(longer, text);
            if self.longer_pool {
                text = longer;
            }
        }
        if self.pod_networks > 0 {
            let family = |host: u8| move |family: &Family| pod_network(*family, host).to_string();
            let hosts = 11..11 + self.pod_networks;
            let all: Vec<String> =
                hosts.flat_map(|host| families.list().iter().map(family(host))).collect();
            let id = "  id: 11\n";
            text = text.replace(id, &format!("{id}  podCIDRs: {all:?}\n"));
        }
        if self.second_pool {
            text += &resources::pool("second", 2, families, "  node: w1\n");
        }
        self.lab.write_resources(DEFAULTS, &text);
    }
}

fn gateway_nodes(gateway: &Node) -> String {
    gateway.egress_ns().exec("nft list map netdev egret nodes").success()
}

fn guard_nodes(node: &Node) -> String {
    let line = format!("nft list set inet {} nodes", ours::NFT_TUNNEL_TABLE);
    node.ns().exec(&line).success()
}

/// Makes each change, from nothing to everything and back, and looks whether it was made.
fn change_everything(ride: &mut Ride, lab: &Lab) {
    let (w1, g1) = (lab.node("w1"), lab.node("g1"));
    let up = || drop(g1.egretctl("gateway up").success());
    let repair = |node: &Node| drop(node.egretctl("repair").success());
    let family = lab.families().list()[0];
    let mut now = Cluster::least(lab);
    let (mac, vtep) = ("06:e6:00:00:00:0c", underlay(family, 12).to_string());
    let knows_w2 = || [gateway_nodes(g1).contains(mac), guard_nodes(w1).contains(&vtep)];
    let has = |host| has_address(g1, external(family, host));

    ride.during("gateway up again", up);
    ride.during("repair on the worker", || repair(w1));
    ride.during("repair on the gateway", || repair(g1));
    assert_eq!(knows_w2(), [false, false]);
    now.second_worker = true;
    now.write();
    ride.during("a node added, gateway up", up);
    ride.during("a node added, repair on the worker", || repair(w1));
    assert_eq!(knows_w2(), [true, true]);
    for networks in 1..=2 {
        now.pod_networks = networks;
        now.write();
        ride.during("pod networks of the worker listed, gateway up", up);
        let of = if family == Family::V4 { "node-11-4" } else { "node-11-6" };
        let listed = g1.egress_ns().exec(&format!("nft list set netdev egret {of}")).success();
        let last = pod_network(family, 10 + networks);
        assert!(listed.contains(&last.address().to_string()), "{last}: {listed}");
    }
    assert_eq!([has(APPENDED), has(SECOND)], [false, false]);
    now.longer_pool = true;
    now.write();
    ride.during("a range appended to the pool, gateway up", up);
    assert_eq!([has(APPENDED), has(SECOND)], [true, false]);
    now.second_pool = true;
    now.write();
    ride.during("a pool added, gateway up", up);
    ride.during("a pool added, repair on the worker", || repair(w1));
    assert_eq!([has(APPENDED), has(SECOND)], [true, true]);
    Cluster::least(lab).write();
    ride.during("repair on the gateway, before gateway up", || repair(g1));
    ride.during("all taken back, gateway up", up);
    ride.during("all taken back, repair on the worker", || repair(w1));
    assert_eq!([has(APPENDED), has(SECOND)], [false, false]);
    assert_eq!(knows_w2(), [false, false]);
}

/// Both ways of losing, by hand.
fn interrupt(ride: &mut Ride, lab: &Lab) {
    let g1 = lab.node("g1");
    ride.during("gateway down for a moment", || {
        g1.egretctl("gateway down").success();
        std::thread::sleep(Duration::from_millis(100));
        g1.egretctl("gateway up").success();
    });
    let drop = "table inet gone { chain o { type filter hook output priority 0;
        udp dport != 8000 meta l4proto udp drop; }; }";
    ride.during("answers dropped for a moment", || {
        lab.external().program("nft").args(["-f", "-"]).input(drop).run().success();
        std::thread::sleep(Duration::from_millis(100));
        lab.external().exec("nft delete table inet gone").success();
    });
}

#[rstest]
fn changed_resources_and_commands_again_cost_no_packet(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    Cluster::least(&lab).write();
    lab.node("g1").egretctl("gateway up").success();
    lab.node("w1").egretctl("repair").success();
    let egress = families.list().iter().map(|family| egress_ip(*family, SHOP));
    let strangers = Strangers::watch(&lab, egress);
    let mut ride = Ride::of(&lab, &[(&pod, SHOP)]);
    ride.control();
    for _ in 0..ROUNDS {
        change_everything(&mut ride, &lab);
    }
    ride.control();
    assert_eq!(ride.end(), []);
    strangers.saw_nobody("w1");
    pod.check().unwrap();
    // Control: the counter sees loss, each way for itself.
    let mut ride = Ride::of(&lab, &[(&pod, SHOP)]);
    interrupt(&mut ride, &lab);
    let losses = ride.end();
    let lost = |name: &str| -> Vec<Lost> {
        losses.iter().filter(|(phase, _)| phase.starts_with(name)).map(|(_, lost)| *lost).collect()
    };
    let (down, dropped) = (lost("gateway down"), lost("answers dropped"));
    assert_eq!([down.len(), dropped.len()], [families.list().len(); 2], "{losses:?}");
    assert!(down.iter().all(|lost| lost.outward > 0), "{losses:?}");
    assert!(dropped.iter().all(|lost| lost.outward == 0 && lost.inward > 0), "{losses:?}");
}

/// Waits until what is sent from now on is answered: less long than IPv6 waits until it asks for a
/// neighbour again.
#[track_caller]
fn answered_again(stream: &Stream) {
    let from = stream.position();
    let answered = || stream.newest_answer().filter(|newest| *newest >= from);
    eventually("answers to what is sent now", Duration::from_millis(700), answered);
}

#[rstest]
fn a_gateway_that_comes_up_under_traffic_is_used_at_once(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let g1 = lab.node("g1");
    let server = lab.external_address(families.list()[0]);
    let stream = Stream::start(&pod, lab.external(), server);
    for _ in 0..6 {
        g1.egretctl("gateway down").success();
        std::thread::sleep(Duration::from_millis(50));
        g1.egretctl("gateway up").success();
        answered_again(&stream);
    }
    let lost = stream.stop().lost_in_all();
    assert!(lost.outward > 0, "control: nothing was lost while it was down: {lost:?}");
}

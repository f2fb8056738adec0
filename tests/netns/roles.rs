//! Which node does what: a worker that is a gateway as well, the change from one gateway node to
//! another, nodes that come, nodes that may send less than others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use egret_tests::{Client, Families, Lab, Node, Ns, Question, egress_ip, pod_network, resources};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::hygiene::{Numbers, Outside};
use crate::world::{self, BILLING, SHOP};

const DEFAULTS: &str = "10-defaults.yaml";

/// Asserts that TCP, UDP and a fragmented datagram of a pod leave as the pair at an index.
#[track_caller]
fn assert_leaves_as(lab: &Lab, pod: &Ns, index: u8) {
    for family in lab.families().list() {
        for question in Question::ALL {
            let seen = pod.who(question, lab.external_address(*family));
            let seen = seen.unwrap_or_else(|e| panic!("{question:?} over {family}: {e}"));
            assert_eq!(seen.address, egress_ip(*family, index), "{question:?} over {family}");
        }
    }
}

/// Asserts that a pod gets no answer from outside.
#[track_caller]
fn assert_cut_off(lab: &Lab, pod: &Ns) {
    for family in lab.families().list() {
        let patience = Duration::from_millis(400);
        let client = Client { patience, ..Client::new(lab.external_address(*family)) };
        for question in [Question::Tcp, Question::Udp] {
            let answer = pod.ask(&client, question);
            assert!(answer.is_err(), "{question:?} over {family}: {answer:?}");
        }
    }
}

/// The laboratory's resources with two gateways of one member each: `edge` on g1 has the pool
/// `tenants`, `other` on g2 the pool `second`.
fn two_gateways(lab: &Lab) -> String {
    let families = lab.families();
    let nodes: String = lab.nodes().iter().map(resources::node).collect();
    let second = resources::pool("second", 2, families, "  node: w1\n");
    resources::cluster(families, "  guard: required\n")
        + &nodes
        + &resources::gateway("edge", &["g1"])
        + &resources::gateway("other", &["g2"])
        + &resources::pool("tenants", 1, families, "  node: w1\n")
        + &second.replace("gateway: edge", "gateway: other")
}

#[rstest]
fn a_node_is_worker_and_gateway_at_once_and_stays_a_worker_after_gateway_down(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    // The pair at index 0 of the second pool: its addresses follow those of the first.
    const SECOND: u8 = 10;
    let lab = Lab::builder(families).worker("w1").gateway("g1").gateway("g2").start();
    let pair = |index| resources::egress_pair(index, families);
    lab.write_resources(DEFAULTS, &two_gateways(&lab));
    let policies = resources::policy("shop", "p", "tenants", &pair(SHOP))
        + &resources::policy("billing", "p", "second", &pair(SECOND));
    lab.write_resources("20-policies.yaml", &policies);
    for gateway in ["g1", "g2"] {
        lab.node(gateway).egretctl("gateway up").success();
    }
    let numbers = Numbers::count(&lab, &["g1", "g2"]);
    let wire = lab.node("g1").ns().capture("eth0", "udp port 7790");
    let local = lab.add_pod("g1", "shop", "local");
    assert_leaves_as(&lab, &local, SHOP);
    assert_eq!(wire.packets(), [], "what a gateway sends itself is on the wire");
    let remote = lab.add_pod("w1", "shop", "remote");
    let elsewhere = lab.add_pod("g1", "billing", "elsewhere");
    assert_leaves_as(&lab, &remote, SHOP);
    assert_leaves_as(&lab, &elsewhere, SECOND);
    wire.wait_for("a frame from w1", |packet| packet.inner().is_some());
    local.check().unwrap();
    numbers.stayed_inside(lab.external_address(families.list()[0]));

    lab.node("g1").egretctl("gateway down").success();
    let outside = Outside::watch(&lab);
    assert_cut_off(&lab, &local);
    assert_cut_off(&lab, &remote);
    assert_leaves_as(&lab, &elsewhere, SECOND);
    let late = lab.add_pod("g1", "billing", "late");
    assert_leaves_as(&lab, &late, SECOND);
    outside.saw_exactly(families.list().iter().map(|family| egress_ip(*family, SECOND)));
    elsewhere.check().unwrap();

    lab.node("g1").egretctl("gateway up").success();
    assert_leaves_as(&lab, &local, SHOP);
    assert_leaves_as(&lab, &remote, SHOP);
}

#[rstest]
fn failover_by_hand_keeps_the_egress_ip(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = Lab::builder(families).worker("w1").gateway("g1").gateway("g2").start();
    let pair = resources::egress_pair(SHOP, families);
    lab.write_resources("20-policies.yaml", &resources::policy("shop", "p", "tenants", &pair));
    let (g1, g2, w1) = (lab.node("g1"), lab.node("g2"), lab.node("w1"));
    let refused = g2.egretctl("gateway up");
    assert!(!refused.succeeded() && refused.stderr.contains("g1"), "{refused}");
    assert!(!g2.egress_ns().exists(), "a refused gateway up made something");
    g1.egretctl("gateway up").success();
    let pod = lab.add_pod("w1", "shop", "cart");
    let outside = Outside::watch(&lab);
    assert_leaves_as(&lab, &pod, SHOP);

    // Taken while the files say otherwise: workers follow the files, so nobody is served by it.
    g1.egretctl("gateway down").success();
    g2.egretctl("gateway up --take").success();
    assert_cut_off(&lab, &pod);
    w1.egretctl("repair").success();
    assert_cut_off(&lab, &pod);
    g2.egretctl("gateway down").success();
    g1.egretctl("gateway up").success();
    assert_leaves_as(&lab, &pod, SHOP);

    // As design.md 2.3 has it.
    let defaults = resources::defaults(lab.nodes(), families);
    let reordered = defaults.replace("members: [\"g1\", \"g2\"]", "members: [\"g2\", \"g1\"]");
    assert_ne!(reordered, defaults);
    lab.write_resources(DEFAULTS, &reordered);
    g2.egretctl("gateway up").success();
    w1.egretctl("repair").success();
    g1.egretctl("gateway down").success();
    assert_leaves_as(&lab, &pod, SHOP);
    outside.saw_exactly(families.list().iter().map(|family| egress_ip(*family, SHOP)));
    pod.check().unwrap();
    let refused = g1.egretctl("gateway up");
    assert!(!refused.succeeded() && refused.stderr.contains("g2"), "{refused}");
}

/// Pings over both families all the while, and gives how many answers are missing.
fn lost_during(lab: &Lab, pod: &Ns, work: impl Fn()) -> u32 {
    let running = AtomicBool::new(true);
    let ping = |family| {
        let mut lost = 0;
        while running.load(Ordering::Relaxed) {
            let line = format!("ping -n -q -i 0.02 -c 25 -W 2 {}", lab.external_address(family));
            let said = pod.exec(&line).stdout;
            let received = said
                .split(" transmitted, ")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
            lost += 25 - received.unwrap_or_else(|| panic!("{line}: {said}"));
        }
        lost
    };
    std::thread::scope(|scope| {
        let pings = Family::BOTH.map(|family| scope.spawn(move || ping(family)));
        work();
        running.store(false, Ordering::Relaxed);
        pings.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn gateway_up_again_loses_no_packet() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let g1 = lab.node("g1");
    let before = g1.egress_ns().snapshot();
    let again = || {
        for _ in 0..20 {
            g1.egretctl("gateway up").success();
        }
    };
    assert_eq!(lost_during(&lab, &pod, again), 0);
    assert_eq!(before.changes_to(&g1.egress_ns().snapshot()), "");
    // Control: an interruption would have been noticed.
    let interrupted = || {
        g1.egretctl("gateway down").success();
        std::thread::sleep(Duration::from_millis(100));
        g1.egretctl("gateway up").success();
    };
    assert!(lost_during(&lab, &pod, interrupted) > 0);
    assert_leaves_as(&lab, &pod, SHOP);
}

#[test]
fn a_node_that_is_added_is_served_after_gateway_up() {
    let lab = world::builder(Families::Dual).start();
    let known: Vec<Node> = lab.nodes().iter().filter(|n| n.name() != "w2").cloned().collect();
    lab.write_resources(DEFAULTS, &resources::defaults(&known, Families::Dual));
    world_without_warm_up(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let refused = lab.pod("w2", "billing", "early").add().err().expect("w2 is no EgressNode");
    assert!(refused.message.contains("w2"), "{refused}");
    lab.write_resources(DEFAULTS, &resources::defaults(lab.nodes(), Families::Dual));
    let added = lab.add_pod("w2", "billing", "b");
    // The gateway has not been told: it refuses a stranger.
    assert_cut_off(&lab, &added);
    let lost = lost_during(&lab, &pod, || drop(lab.node("g1").egretctl("gateway up").success()));
    assert_eq!(lost, 0);
    assert_leaves_as(&lab, &added, BILLING);
    assert_leaves_as(&lab, &pod, SHOP);
}

/// [`world::open`] where not every node may run pods yet.
fn world_without_warm_up(lab: &Lab) {
    let pair = |index| resources::egress_pair(index, lab.families());
    let text = resources::policy("shop", "p", "tenants", &pair(SHOP))
        + &resources::policy("billing", "p", "tenants", &pair(BILLING));
    lab.write_resources("20-policies.yaml", &text);
    lab.node("g1").egretctl("gateway up").success();
}

#[test]
fn both_families_cross_an_underlay_of_ipv6_alone() {
    let lab = world::builder(Families::Dual).start();
    let mut text = resources::defaults(lab.nodes(), Families::Dual);
    for node in lab.nodes() {
        let with_v4 = text.clone();
        text = text.replace(&format!("\"172.18.0.{}\", ", node.host()), "");
        assert_ne!(text, with_v4);
    }
    lab.write_resources(DEFAULTS, &text);
    world::open(&lab);
    let numbers = Numbers::count(&lab, &["w1", "g1"]);
    let wire = lab.node("g1").ns().capture("eth0", "udp port 7790");
    let outside = Outside::watch(&lab);
    let pods = [lab.add_pod("w1", "shop", "cart"), lab.add_pod("g1", "shop", "local")];
    for pod in &pods {
        assert_leaves_as(&lab, pod, SHOP);
        let link = pod.exec(&format!("ip link show {}", ours::POD_LINK)).success();
        assert!(link.contains("mtu 1430 "), "{link}");
        for family in Family::BOTH {
            let client = Client {
                patience: Duration::from_secs(20),
                ..Client::new(lab.external_address(family))
            };
            pod.inside(|| client.upload(1_000_000).and_then(|()| client.download(1_000_000)))
                .unwrap();
        }
    }
    let outer = wire.stop();
    assert!(!outer.is_empty() && outer.iter().all(|p| p.ether_type == 0x86dd), "{outer:#?}");
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    numbers.stayed_inside(lab.external_address(Family::V6));
}

#[test]
fn a_node_sends_only_inner_sources_of_its_pod_cidrs() {
    let lab = world::builder(Families::Dual).start();
    let networks = |host: u8| Family::BOTH.map(|family| pod_network(family, host).to_string());
    let listing = |host: u8, network: u8| {
        let line = format!("  podCIDRs: {:?}\n", networks(network));
        (format!("  id: {host}\n"), format!("  id: {host}\n{line}"))
    };
    // w1 may send what its pods have, w2 what no pod has.
    let mut text = resources::defaults(lab.nodes(), Families::Dual);
    for (from, to) in [listing(11, 11), listing(12, 99)] {
        assert!(text.contains(&from), "{text}");
        text = text.replace(&from, &to);
    }
    lab.write_resources(DEFAULTS, &text);
    world::open(&lab);
    let gateway = lab.node("g1").egress_ns();
    let outside = Outside::watch(&lab);
    let inside = lab.add_pod("w1", "shop", "cart");
    let foreign = lab.add_pod("w2", "billing", "b");
    assert_leaves_as(&lab, &inside, SHOP);
    assert_eq!(gateway.counted("chain netdev egret node-11", "drop"), 0);
    assert_cut_off(&lab, &foreign);
    assert!(gateway.counted("chain netdev egret node-12", "drop") > 0);
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    // A node that lists nothing may send anything.
    let unchecked = lab.add_pod("g1", "billing", "b");
    assert_leaves_as(&lab, &unchecked, BILLING);
}

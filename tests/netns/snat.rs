//! Whose address the outside sees, for every family, protocol and plugin set.

use egret_tests::{
    Client, Families, Packet, PluginSet, Question, egress_ip, external, far, resources, underlay,
};
use egret_types::Family;
use rstest::rstest;

use crate::world::{self, BILLING, SHOP};

#[rstest]
fn a_selected_pod_leaves_with_its_egress_ip_and_an_unselected_one_with_its_nodes(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(PluginSet::Debian, PluginSet::Newest)] plugins: PluginSet,
) {
    let lab = world::builder(families).plugins(plugins).start();
    world::open(&lab);
    let shop = lab.add_pod("w1", "shop", "cart");
    let billing = lab.add_pod("w1", "billing", "ledger");
    let other = lab.add_pod("w1", "other", "plain");
    for family in families.list() {
        let outside = lab.external_address(*family);
        for question in Question::ALL {
            for (pod, address) in [
                (&shop, egress_ip(*family, SHOP)),
                (&billing, egress_ip(*family, BILLING)),
                (&other, external(*family, 11)),
            ] {
                assert_eq!(pod.who(question, outside).unwrap().address, address, "{question:?}");
            }
        }
    }
}

#[rstest]
fn ping_leaves_with_the_egress_ip(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in families.list() {
        let capture = lab.external().capture("eth0", "icmp or icmp6");
        assert!(pod.ping(lab.external_address(*family)));
        let request = |packet: &Packet| matches!(packet.payload.first(), Some(8 | 128));
        let seen = capture.wait_for("the echo request", request);
        assert_eq!(seen.source, Some(egress_ip(*family, SHOP)));
    }
}

#[rstest]
fn the_same_namespace_on_another_worker_has_the_same_egress_ip(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    for node in ["w1", "w2", "g1"] {
        let pod = lab.add_pod(node, "shop", "cart");
        for family in families.list() {
            let seen = pod.who(Question::Tcp, lab.external_address(*family)).unwrap();
            assert_eq!(seen.address, egress_ip(*family, SHOP), "{node}");
        }
    }
}

#[test]
fn a_pod_started_again_has_the_same_egress_ip() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    // No explicit pair: the lease is what makes it stable.
    lab.write_resources("30-more.yaml", &resources::policy("stable", "p", "tenants", ""));
    let ask = |family| {
        let pod = lab.add_pod("w1", "stable", "s");
        let seen = pod.who(Question::Tcp, lab.external_address(family)).unwrap().address;
        pod.del().unwrap();
        seen
    };
    for family in Family::BOTH {
        assert_eq!(ask(family), ask(family));
    }
}

#[test]
fn traffic_in_the_cluster_keeps_the_pods_own_address() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let server = lab.add_pod("w1", "billing", "ledger");
    lab.serve(server.ns());
    lab.serve(lab.node("g1").ns());
    for family in Family::BOTH {
        let seen = pod.who(Question::Tcp, server.address(family)).unwrap();
        assert_eq!(seen.address, pod.address(family));
        // A node is cluster traffic: bridge masquerades it, the tunnel never sees it.
        let seen = pod.who(Question::Tcp, underlay(family, 21)).unwrap();
        assert_eq!(seen.address, underlay(family, 11));
    }
}

#[rstest]
fn ten_megabytes_go_both_ways(#[values(Families::V4, Families::V6)] families: Families) {
    let lab = world::builder(families).far_host().start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in families.list() {
        // The far host stands behind a link with an MTU of 1300: path MTU discovery must work.
        for server in [lab.external_address(*family), far(*family)] {
            let mut client = Client::new(server);
            client.patience = std::time::Duration::from_secs(10);
            pod.inside(|| client.upload(10_000_000)).unwrap();
            pod.inside(|| client.download(10_000_000)).unwrap();
        }
    }
}

#[rstest]
fn a_reply_larger_than_the_tunnel_arrives(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in families.list() {
        for length in [1440, 1460, 8000] {
            let seen = pod.who(Question::Big(length), lab.external_address(*family)).unwrap();
            assert_eq!(seen.answer, length);
        }
    }
}

#[test]
fn pods_need_no_action_on_the_gateway() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    for number in 0..50 {
        let node = if number % 2 == 0 { "w1" } else { "w2" };
        let pod = lab.add_pod(node, "shop", &format!("cart-{number}"));
        let family = Family::BOTH[number / 2 % 2];
        let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
}

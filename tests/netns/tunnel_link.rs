//! The tunnel link and its guard: which underlay link they go by, and what a change of the tunnel's
//! port does while pods are attached.

use egret_tests::{Families, Lab, Ns, PluginRun, Question, egress_ip, resources, underlay};
use egret_types::ours;
use rstest::rstest;
use serde_json::json;

use crate::world::{self, SHOP};

#[track_caller]
fn assert_mtu(namespace: &Ns, link: &str, bytes: u32) {
    let text = namespace.exec(&format!("ip -o link show {link}")).success();
    assert!(text.contains(&format!(" mtu {bytes} ")), "{link}, not {bytes}: {text}");
}

/// `w1` has two ways: to the gateway over a link of 1400 bytes, to other workers, one of which is the
/// first of all nodes by name, over `eth0`, which has its VTEP.
#[rstest]
#[case(Families::V4, 50)]
#[case(Families::V6, 70)]
fn the_underlay_link_is_the_one_toward_the_gateway_unless_another_is_configured(
    #[case] families: Families,
    #[case] overhead: u32,
) {
    let lab = world::builder(families).worker("a1").start();
    world::open(&lab);
    let node = lab.node("w1");
    let gateway = underlay(families.list()[0], 21);
    node.ns().ip(&format!(
        "link add link eth0 name eth1 mtu 1400 type macvlan mode bridge
        link set eth1 up
        route add {gateway} dev eth1"
    ));
    let pod = lab.add_pod("w1", "shop", "cart");
    assert_mtu(&node.egress_ns(), "egret0", 1400 - overhead);
    assert_mtu(&pod, ours::POD_LINK, 1400 - overhead);
    // Every command agrees with ADD.
    node.egretctl("repair").success();
    pod.del().unwrap();
    node.egretctl("gc").success();
    node.set_key("underlay", json!({ "interface": "eth0" }));
    let pod = lab.add_pod("w1", "shop", "cart");
    assert_mtu(&node.egress_ns(), "egret0", 1500 - overhead);
    assert_mtu(&pod, ours::POD_LINK, 1500 - overhead);
}

fn guard(lab: &Lab, node: &str) -> String {
    let line = format!("nft -s list table inet {}", ours::NFT_TUNNEL_TABLE);
    lab.node(node).ns().exec(&line).success()
}

#[test]
fn a_changed_port_is_refused_and_the_guard_stays_on_the_port_that_is_open() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let mut next = lab.pod("w1", "shop", "next").prepare();
    let previous = next.add_before_ours().unwrap().clone();
    let before = [guard(&lab, "w1"), guard(&lab, "g1")];
    assert!(before.iter().all(|text| text.contains("7790")), "{before:?}");
    let text = resources::defaults(lab.nodes(), lab.families());
    let changed = text.replace("guard: required\n", "guard: required\n  tunnel: { port: 7791 }\n");
    assert_ne!(text, changed);
    lab.write_resources("10-defaults.yaml", &changed);
    let (code, sentence) = PluginRun::for_pod(&next, "ADD", Some(&previous)).run().error();
    assert_eq!(code, 5, "{sentence}");
    for (node, line) in [("w1", "repair"), ("g1", "gateway up"), ("g1", "repair")] {
        let refused = lab.node(node).egretctl(line).exits(2);
        assert!(refused.stderr.contains("egret0") && refused.stderr.contains("779"), "{refused}");
    }
    assert_eq!([guard(&lab, "w1"), guard(&lab, "g1")], before);
    for family in lab.families().list() {
        let seen = pod.who(Question::Udp, lab.external_address(*family)).unwrap();
        assert_eq!(seen.address, egress_ip(*family, SHOP));
    }
    // Control: without a tunnel the guard goes by the files.
    lab.node("w2").egretctl("repair").success();
    assert!(guard(&lab, "w2").contains("7791"));
}

/// The kernel lets VXLAN links of several numbers share a port; the guard would close it for theirs.
#[rstest]
#[case("id 77 dstport 7790 local 172.18.0.11")]
#[case("external dstport 7790")]
fn another_vxlan_link_on_our_port_is_named_before_the_guard_would_cut_it_off(#[case] theirs: &str) {
    let lab = world::builder(Families::Dual).start();
    let pair = resources::egress_pair(SHOP, lab.families());
    let policy = resources::policy("shop", "partners", "tenants", &pair);
    lab.write_resources("20-policies.yaml", &policy);
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let add = || PluginRun::for_pod(&pod, "ADD", Some(&previous)).run();
    for node in ["w1", "g1"] {
        let line = format!("ip link add theirs type vxlan {theirs}");
        lab.node(node).ns().exec(&line).success();
    }
    let (code, sentence) = add().error();
    assert_eq!(code, 105, "{sentence}");
    let refused = |node: &str, line: &str| lab.node(node).egretctl(line).exits(2).stderr;
    let sentences = [sentence, refused("w1", "repair"), refused("g1", "gateway up")];
    for sentence in sentences {
        assert!(sentence.contains("theirs") && sentence.contains("7790"), "{sentence}");
    }
    for node in ["w1", "g1"] {
        let root = lab.node(node).ns();
        assert!(!root.snapshot().mentions(ours::NFT_TUNNEL_TABLE), "{node}");
        root.exec("ip link del theirs").success();
    }
    lab.node("g1").egretctl("gateway up").success();
    add().result();
    lab.node("w1").egretctl("repair").success();
}

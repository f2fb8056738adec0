//! Items 56 and 61: STATUS, and ADD in spite of it.

use std::time::{Duration, Instant};

use egret_tests::resources;
use rstest::rstest;
use serde_json::json;

use super::call::{POLICIES, Plugin, Scene, lab};

const DEFAULTS: &str = "10-defaults.yaml";

#[rstest]
fn item_56_a_healthy_node_is_told_silently_and_quickly(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let before = scene.reading();
    let time = || {
        let begin = Instant::now();
        scene.call("STATUS").succeeds_silently();
        begin.elapsed()
    };
    // Its own time: a machine with other work to do only adds to it.
    let best = (0..20).map(|_| time()).min().unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
    assert_eq!(before.changes_to(&scene.reading()), "");
    // Also with pods, and without a single variable but the path.
    scene.add();
    scene.call("STATUS").succeeds_silently();
    let path = lab.node("w1").cni_path();
    scene.call("STATUS").alone().with("CNI_PATH", &path).succeeds_silently();
}

/// A change of the defaults with which no pod can be attached, and what STATUS names.
#[rstest]
#[case::resources_that_are_wrong("  id: 1\n", "  id: 0\n", &["10-defaults.yaml"])]
#[case::a_node_that_is_not_listed("name: w1 }", "name: w9 }", &["EgressNode", "w1"])]
#[case::no_underlay("172.18.0.11\"", "172.18.0.111\"", &["172.18.0.111"])]
#[case::a_tunnel_that_is_too_wide("  guard:", "  tunnel: { mtu: 1451 }\n  guard:", &["1451"])]
fn item_56_what_add_would_refuse_is_told_before(
    #[case] from: &str,
    #[case] to: &str,
    #[case] words: &[&str],
) {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let text = resources::defaults(lab.nodes(), lab.families());
    assert!(text.contains(from), "{from} is not in {text}");
    let broken = text.replace(from, to).replace("node: w1\n", "node: w9\n");
    let broken = if to.contains("w9") { broken } else { text.replacen(from, to, 1) };
    lab.write_resources(DEFAULTS, &broken);
    scene.call("STATUS").refused(50, words);
    let (code, _) = scene.call("ADD").run().error();
    assert!(code < 100, "ADD is refused for the same reason");
    // Without a policy every pod passes through, and that is all that ADD has to do.
    lab.write_resources(DEFAULTS, &text);
    lab.write_resources(POLICIES, "");
    lab.node("w1").ns().ip("link set eth0 mtu 1290");
    scene.call("STATUS").succeeds_silently();
}

#[test]
fn item_56_pods_whose_tunnel_is_broken_have_limited_connectivity() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    scene.add();
    scene.call("STATUS").succeeds_silently();
    let egress = lab.node("w1").egress_ns();
    for (damage, word) in [("ip link set egret0 down", "down"), ("ip link del egret0", "missing")] {
        egress.exec(damage).success();
        scene.call("STATUS").refused(51, &["egret0", word]);
        scene.add();
        scene.call("STATUS").succeeds_silently();
    }
}

#[test]
fn item_56_a_missing_ipam_plugin_is_told() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    scene
        .call("STATUS")
        .key("ipam", json!({ "type": "egret-nothing" }))
        .refused(50, &["egret-nothing"]);
}

/// The pool has one pair, and the policies name two namespaces.
#[rstest]
fn item_61_add_does_what_it_can_while_status_fails(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let text = resources::defaults(lab.nodes(), lab.families());
    let text = text.replace("203.0.113.50-203.0.113.59", "203.0.113.50");
    lab.write_resources(DEFAULTS, &text.replace("ff::50-2001:db8:ff::59", "ff::50"));
    scene.add();
    // Every namespace that is named has its pair: a full pool that is as large as needed.
    scene.call("STATUS").succeeds_silently();
    let other = resources::policy("billing", "partners", "tenants", "");
    lab.write_resources(POLICIES, &(resources::policy("shop", "partners", "tenants", "") + &other));
    scene.call("STATUS").refused(50, &["tenants", "exhausted"]);
    let again = Scene::new(&lab, plugin);
    again.add();
    if plugin == Plugin::Egret {
        let billing = Scene::of(&lab, plugin, "billing", "eth0");
        billing.call("ADD").refused(100, &["tenants"]);
        let unselected = Scene::of(&lab, plugin, "other", "eth0");
        assert_eq!(unselected.add(), unselected.previous);
    }
}

//! Commands that cannot work: without privileges, or for a gateway that cannot be.

use egret_tests::{Families, product};
use egret_types::Family;
use serde_json::json;

use super::{DEFAULTS, Scene, defaults};
use crate::world;

#[test]
fn without_privileges_the_sentence_says_what_is_needed() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1");
    let run = |line: &str| {
        let node = lab.node("g1");
        let program = node.ns().unprivileged(product("egretctl"));
        let config = node.conflist_path();
        program.args(["--config".as_ref(), config.as_os_str()]).args(line.split(' ')).run()
    };
    let before = scene.reading();
    for line in ["gateway up", "gateway down", "gc", "repair"] {
        let refused = run(line).exits(2);
        assert!(refused.stderr.to_lowercase().contains("permi"), "{line}: {refused}");
    }
    let mut list = node.conflist();
    let mut config = list["plugins"][1].take();
    config["name"] = json!(lab.network());
    config["cniVersion"] = json!("1.0.0");
    config["prevResult"] = scene.previous.clone();
    let plugin = node.ns().unprivileged(product("egret")).clean_environment();
    let plugin = plugin
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", scene.pod.container_id())
        .env("CNI_NETNS", scene.pod.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", scene.pod.cni_args())
        .env("CNI_PATH", node.cni_path());
    let error = plugin.input(config.to_string()).run().exits(1).json();
    assert!(error["msg"].as_str().unwrap().contains("ermi"), "{error}");
    assert_eq!(error["code"], 5, "{error}");
    assert_eq!(before.changes_to(&scene.reading()), "");
}

#[test]
fn a_gateway_that_cannot_be_brought_up_says_why_and_leaves_nothing() {
    let lab = world::builder(Families::Dual).gateway("g2").start();
    let change = |from: &str, to: &str| {
        let text = defaults(&lab);
        assert!(text.contains(from), "{from} is not in {text}");
        lab.write_resources(DEFAULTS, &text.replacen(from, to, 1));
    };
    let reading = |node: &str| {
        let node = lab.node(node);
        node.ns().snapshot().and(node.egress_ns().snapshot())
    };
    let uplink = "uplink: { interface: ext0, mode: macvlan }";
    let cases = [
        ("w1", uplink, uplink, "no member"),
        ("g2", uplink, uplink, "--take"),
        ("g1", uplink, "uplink: { interface: ext7 }", "ext7"),
        ("g1", "gateway: edge", "gateway: edgy", "edgy"),
        ("g1", "  id: 21\n", "  id: 11\n", "11"),
    ];
    for (node, from, to, word) in cases {
        change(from, to);
        let before = reading(node);
        let refused = lab.node(node).egretctl("gateway up");
        assert!(!refused.succeeded() && refused.stderr.contains(word), "{word}: {refused}");
        assert_eq!(before.changes_to(&reading(node)), "", "{word}");
    }
    lab.write_resources(DEFAULTS, &defaults(&lab));
    for family in Family::BOTH {
        // An uplink without any route of a family that the pools have.
        let flag = if family == Family::V4 { "-4" } else { "-6" };
        let node = lab.node("g1").ns();
        let routes = node.exec(&format!("ip {flag} route show dev ext0")).success();
        node.exec(&format!("ip {flag} addr flush dev ext0")).success();
        node.exec(&format!("ip {flag} route flush dev ext0")).success();
        let before = reading("g1");
        let refused = lab.node("g1").egretctl("gateway up").exits(2);
        let named = refused.stderr.contains("ext0") && refused.stderr.contains("uplink.addresses");
        assert!(named, "{refused} ({routes})");
        assert_eq!(before.changes_to(&reading("g1")), "");
    }
}

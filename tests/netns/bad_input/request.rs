//! What a runtime and a network configuration list give to ADD.

use std::time::{Duration, Instant};

use egret_tests::{Families, PluginRun, Snapshot};
use serde_json::{Value, json};

use super::{Scene, refused};
use crate::world;

/// A change of the plugin's own configuration.
type Configured<'a> = (&'a str, &'a str, Value, u64, &'a [&'a str]);

#[test]
fn keys_that_cannot_work_are_refused_by_name_and_value() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let missing = lab.node("w1").directory().join("nowhere").display().to_string();
    let file = lab.node("w1").conflist_path().display().to_string();
    let cases: [Configured<'_>; 10] = [
        ("no directory", "resourcesDir", json!(missing), 7, &["nowhere", "No such file"]),
        ("no node", "nodeName", json!("w7"), 7, &["w7", "EgressNode"]),
        ("wrong type", "nodeName", json!(7), 7, &["nodeName"]),
        ("no interface", "underlay", json!({ "interface": "eth7" }), 7, &["eth7"]),
        ("wrong type", "gcWithoutList", json!("no"), 7, &["gcWithoutList"]),
        ("log level", "logLevel", json!("loud"), 2, &["logLevel", "loud"]),
        ("state is a file", "stateDir", json!(file), 5, &[&file]),
        ("locks in a file", "runDir", json!(file), 5, &[&file]),
        ("namespace is a file", "netns", json!(file), 105, &[&file]),
        ("no IPAM plugin", "ipam", json!({ "type": "egret-nothing" }), 7, &["egret-nothing"]),
    ];
    for (name, key, value, code, words) in cases {
        lab.node("w1").set_key(key, value);
        scene.refused(name, scene.add(), code, words);
    }
    lab.node("w1").set_key("stateDirr", "x");
    let finished = scene.add().run().finished;
    assert!(finished.stderr.contains("stateDirr") && finished.stderr.contains("stateDir"));
    finished.success();
}

#[test]
fn what_the_runtime_must_give_is_asked_for() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1");
    let own = node.ns().path().display().to_string();
    let missing = format!("{own}-missing");
    let file = node.conflist_path().display().to_string();
    let at = |path: &str| scene.add().variable("CNI_NETNS", path);
    scene.refused("own namespace", at(&own), 8, &["CNI_NETNS", &own]);
    scene.refused("missing namespace", at(&missing), 3, &[&missing]);
    assert!(!std::path::Path::new(&missing).exists(), "the path was created");
    scene.refused("a file", at(&file), 3, &[&file]);
    let without = PluginRun::for_pod(&scene.pod, "ADD", None);
    scene.refused("no previous result", without, 7, &["prevResult"]);
    let mut other = scene.previous.clone();
    other["ips"][0]["address"] = "10.244.11.99/24".into();
    let wrong = PluginRun::for_pod(&scene.pod, "ADD", Some(&other));
    scene.refused("an address that is not there", wrong, 7, &["10.244.11.99", "eth0"]);
    let other = scene.add().variable("CNI_IFNAME", "eth7");
    scene.refused("another interface", other, 7, &["eth7"]);
}

/// An IPAM plugin that prints without end: what it does with the node's memory is not ours to suffer.
#[test]
fn an_ipam_plugin_that_never_stops_printing_is_ended_and_named() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1");
    let plugin = node.script("chatty", "[ \"$CNI_COMMAND\" = ADD ] && exec yes\nexit 0\n");
    node.set_key("ipam", json!({ "type": "chatty" }));
    let path = plugin.parent().unwrap().display().to_string();
    let begin = Instant::now();
    let add = scene.add().variable("CNI_PATH", &path);
    scene.refused("endless output", add, 6, &["chatty", "1 MiB"]);
    assert!(begin.elapsed() < Duration::from_secs(5), "it was ended at its deadline");
}

/// Item 25 of the conformance list: what is not ours passes, unknown keys and order kept.
#[test]
fn a_pod_that_nothing_selects_passes_through_untouched() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let mut previous = scene.previous.clone();
    previous["vendor.example/x"] = json!({ "z": 1, "a": [null, 1.50, "\u{fc}"] });
    previous["interfaces"][0]["later"] = json!(true);
    let before = scene.reading().and(Snapshot::of_files(lab.node("w1").directory()));
    // Nobody knows its namespace, so nothing selects it.
    let add = PluginRun::for_pod(&scene.pod, "ADD", Some(&previous)).variable("CNI_ARGS", "");
    assert_eq!(add.run().finished.success().trim_end(), previous.to_string());
    let after = scene.reading().and(Snapshot::of_files(lab.node("w1").directory()));
    assert_eq!(before.changes_to(&after), "");
}

#[test]
fn a_second_attachment_of_one_pod_is_refused_and_the_first_goes_on() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    lab.node("g1").egretctl("gateway up").success();
    let result = scene.add().run().result();
    // As a second network would do it: another interface with an address of its own.
    scene.pod.ip("link add eth1 type bridge\nlink set eth1 up\naddr add 10.244.11.77/24 dev eth1");
    let second = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "eth1", "sandbox": scene.pod.path() }],
        "ips": [{ "address": "10.244.11.77/24", "interface": 0 }]
    });
    let run = |operation, previous: &Value| {
        PluginRun::for_pod(&scene.pod, operation, Some(previous)).variable("CNI_IFNAME", "eth1")
    };
    let first = format!("{}/eth0", scene.pod.container_id());
    refused("second", run("ADD", &second).run(), 103, &[&first, "one"]);
    run("DEL", &second).run().finished.success();
    let check = PluginRun::for_pod(&scene.pod, "CHECK", Some(&result)).run();
    assert_eq!(check.finished.success(), "");
}

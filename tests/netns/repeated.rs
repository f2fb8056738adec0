//! The same operation again, late, without what it would like to have, or for a pod that has come
//! back: ADD converges, DEL always succeeds, and nobody takes what has become another's.

use egret_tests::{Families, Lab, PluginRun, Pod, Question, Snapshot, egress_ip};
use egret_types::Family;
use serde_json::{Value, json};

use crate::world::{self, SHOP};

/// Leases, directories and locks stay by design.
fn kept(snapshot: Snapshot) -> Snapshot {
    snapshot.without("/state/leases/").without("directory ").without("/run/")
}

/// A pod to which all plugins before ours have been applied.
fn prepared<'lab>(lab: &'lab Lab, name: &str) -> (Pod<'lab>, Value) {
    let mut pod = lab.pod("w1", "shop", name).prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    (pod, previous)
}

fn add(pod: &Pod<'_>, previous: &Value) -> Value {
    PluginRun::for_pod(pod, "ADD", Some(previous)).run().result()
}

#[track_caller]
fn silent(run: PluginRun) {
    assert_eq!(run.run().finished.success(), "");
}

#[track_caller]
fn leaves_with_its_egress_ip(lab: &Lab, pod: &Pod<'_>) {
    for family in Family::BOTH {
        let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
}

/// Everything on the node and in the pod.
fn reading(lab: &Lab, pod: &Pod<'_>) -> Snapshot {
    kept(lab.snapshot().and(pod.snapshot()))
}

#[test]
fn del_takes_away_what_add_made_whatever_it_is_given() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab, "cart");
    let file = lab.node("w1").conflist_path().display().to_string();
    let own = lab.node("w1").ns().path().display().to_string();
    // The first pod of a node brings shared objects, which stay.
    let result = add(&pod, &previous);
    silent(PluginRun::for_pod(&pod, "DEL", Some(&result)));
    let before = reading(&lab, &pod);
    let del = |given: Option<&Value>| PluginRun::for_pod(&pod, "DEL", given);
    // What is in the pod's namespace can be removed only if DEL is told where that is.
    let told: [(&str, PluginRun); 4] = [
        ("everything", del(Some(&result))),
        ("no previous result", del(None)),
        ("an empty previous result", del(Some(&json!({})))),
        ("garbage", del(Some(&json!({ "cniVersion": "7", "ips": 5 })))),
    ];
    for (name, run) in told {
        assert_eq!(add(&pod, &previous), result);
        silent(run);
        assert_eq!(before.changes_to(&reading(&lab, &pod)), "", "{name}");
    }
    let untold: [(&str, PluginRun); 5] = [
        ("no namespace", del(None).without("CNI_NETNS")),
        ("an empty namespace", del(None).variable("CNI_NETNS", "")),
        ("a missing path", del(None).variable("CNI_NETNS", "/run/netns/egt-nowhere")),
        ("a file", del(None).variable("CNI_NETNS", &file)),
        ("the node's own", del(None).variable("CNI_NETNS", &own)),
    ];
    for (name, run) in untold {
        assert_eq!(add(&pod, &previous), result);
        silent(run);
        let node = kept(lab.snapshot());
        let changes = kept(before.clone()).without(pod.name()).changes_to(&node);
        assert_eq!(changes, "", "{name}");
        assert!(!std::path::Path::new("/run/netns/egt-nowhere").exists());
    }
}

#[test]
fn del_again_and_del_without_add_succeed_and_change_nothing() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab, "cart");
    let bare = reading(&lab, &pod);
    silent(PluginRun::for_pod(&pod, "DEL", Some(&previous)));
    assert_eq!(bare.changes_to(&reading(&lab, &pod)), "");
    let result = add(&pod, &previous);
    for _ in 0..3 {
        silent(PluginRun::for_pod(&pod, "DEL", Some(&result)));
    }
    // Everything by hand that DEL would remove, before it.
    add(&pod, &previous);
    pod.ip("rule del pref 1000\nlink del egr0");
    silent(PluginRun::for_pod(&pod, "DEL", Some(&result)));
    add(&pod, &previous);
    lab.node("w1").egress_ns().exec("nft flush ruleset").success();
    silent(PluginRun::for_pod(&pod, "DEL", Some(&result)));
    add(&pod, &previous);
    pod.destroy_namespace();
    silent(PluginRun::for_pod(&pod, "DEL", None));
    lab.node("w1").egretctl("gc").success();
    // The pod's link of the main plugin has gone with its namespace.
    let promised = ["/state/leases/", "directory ", "/run/", "veth"];
    lab.assert_as_before(&bare.without(pod.name()), &promised);
}

#[test]
fn del_needs_no_resources() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab, "cart");
    let before = reading(&lab, &pod);
    add(&pod, &previous);
    lab.write_resources("30-typo.yaml", "kind: [");
    silent(PluginRun::for_pod(&pod, "DEL", None));
    lab.node("w1").egretctl("gc").success();
    for node in lab.nodes() {
        node.remove_resources("30-typo.yaml");
    }
    assert_eq!(before.changes_to(&reading(&lab, &pod)), "");
}

#[test]
fn add_again_gives_the_same_result_and_nothing_twice() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab, "cart");
    let result = add(&pod, &previous);
    let rules = || pod.exec("ip rule").success() + &pod.exec("ip -6 rule").success();
    let (once, listed) = (reading(&lab, &pod), rules());
    for _ in 0..3 {
        assert_eq!(add(&pod, &previous), result);
    }
    // A snapshot is a set of lines: a rule twice would not show in it.
    assert_eq!(rules(), listed);
    assert_eq!(once.changes_to(&reading(&lab, &pod)), "");
    leaves_with_its_egress_ip(&lab, &pod);
    silent(PluginRun::for_pod(&pod, "DEL", Some(&result)));
}

#[test]
fn add_with_the_id_of_a_dead_pod_replaces_it() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (mut pod, previous) = prepared(&lab, "cart");
    add(&pod, &previous);
    pod.renew_namespace();
    // The main plugin is told first that the old one is gone.
    pod.cnitool("del").env("NETCONFPATH", lab.node("w1").conf_dir()).run();
    let previous = pod.add_before_ours().unwrap().clone();
    let result = add(&pod, &previous);
    silent(PluginRun::for_pod(&pod, "CHECK", Some(&result)));
    leaves_with_its_egress_ip(&lab, &pod);
}

/// Without a DEL between them: the new namespace has another address.
#[test]
fn add_replaces_a_dead_pod_also_when_nobody_called_del() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab, "cart");
    let (next, other) = prepared(&lab, "next");
    add(&pod, &previous);
    let path = next.path().display().to_string();
    let moved = || {
        let add = PluginRun::for_pod(&pod, "ADD", Some(&other));
        add.variable("CNI_NETNS", &path).run().result()
    };
    let result = moved();
    assert_eq!(moved(), result);
    leaves_with_its_egress_ip(&lab, &next);
    let check = PluginRun::for_pod(&pod, "CHECK", Some(&result)).variable("CNI_NETNS", &path);
    silent(check);
    let links = lab.node("w1").egress_ns().exec("ip -o link show type veth").success();
    assert_eq!(links.lines().count(), 1, "{links}");
}

/// containerd may send DEL for a sandbox when its path, or its address, has a new owner.
#[test]
fn a_late_del_leaves_the_next_owner_of_the_path_and_the_address_alone() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (old, previous) = prepared(&lab, "old");
    add(&old, &previous);
    old.destroy_namespace();
    // The next pod, with the addresses of the old one.
    let next = lab.pod("w1", "shop", "next").prepare();
    let mut lines = vec![
        format!("link add eth0 type veth peer name next0 netns {}", lab.node("w1").ns().name()),
        "link set eth0 up".to_owned(),
    ];
    lines.extend(previous["ips"].as_array().unwrap().iter().map(|ip| {
        let address = ip["address"].as_str().unwrap();
        let option = if address.contains(':') { " nodad" } else { "" };
        format!("addr add {address} dev eth0{option}")
    }));
    next.ip(&lines.join("\n"));
    let mut given = previous.clone();
    given["interfaces"][2]["sandbox"] = next.path().display().to_string().into();
    let result = PluginRun::for_pod(&next, "ADD", Some(&given)).run().result();
    leaves_with_its_egress_ip(&lab, &next);
    let path = next.path().display().to_string();
    silent(PluginRun::for_pod(&old, "DEL", Some(&previous)).variable("CNI_NETNS", &path));
    silent(PluginRun::for_pod(&next, "CHECK", Some(&result)));
    leaves_with_its_egress_ip(&lab, &next);
}

/// Records name links by number and addresses: after a reboot both are given anew.
#[test]
fn after_a_reboot_add_works_an_old_del_touches_nothing_and_gc_cleans() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let node = lab.node("w1");
    let bare = kept(lab.snapshot());
    let (old, previous) = prepared(&lab, "old");
    let (lost, other) = prepared(&lab, "lost");
    add(&old, &previous);
    add(&lost, &other);
    let before = kept(lab.snapshot());
    node.reboot();
    let (next, third) = prepared(&lab, "next");
    add(&next, &third);
    leaves_with_its_egress_ip(&lab, &next);
    assert!(before.mentions("attachments"));
    silent(PluginRun::for_pod(&old, "DEL", None));
    leaves_with_its_egress_ip(&lab, &next);
    silent(PluginRun::for_pod(&next, "DEL", None));
    // Nobody calls DEL for the other one any more.
    node.egretctl("gc").success();
    // The main plugin has not been told of any end.
    lab.assert_as_before(&bare, &["/state/leases/", "directory ", "/run/", "veth", "nat"]);
}

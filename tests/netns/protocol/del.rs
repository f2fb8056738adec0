//! Items 39 to 48: DEL.

use std::path::Path;

use egret_tests::Snapshot;
use rstest::rstest;
use serde_json::{Value, json};

use super::call::{Call, POLICIES, Plugin, Scene, bare, lab};

const DEFAULTS: &str = "10-defaults.yaml";

#[rstest]
fn item_39_after_del_nothing_of_the_attachment_is_left(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let before = scene.reading();
    scene.add();
    assert!(scene.is_held() && !before.changes_to(&scene.reading()).is_empty());
    scene.del();
    assert!(!scene.is_held());
    scene.is_as(&before);
}

#[rstest]
fn item_40_del_can_be_repeated(#[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    scene.add();
    for _ in 0..3 {
        scene.del();
    }
}

#[rstest]
fn item_41_del_does_without_a_namespace_and_makes_none(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let missing = format!("{}-missing", scene.pod.path().display());
    let file = lab.node("w1").conflist_path().display().to_string();
    let ways: [fn(Call, &str, &str) -> Call; 4] = [
        |call, _, _| call.without("CNI_NETNS"),
        |call, _, _| call.with("CNI_NETNS", ""),
        |call, missing, _| call.with("CNI_NETNS", missing),
        |call, _, file| call.with("CNI_NETNS", file),
    ];
    let content = std::fs::read(&file).unwrap();
    for way in ways {
        scene.add();
        way(scene.call("DEL"), &missing, &file).succeeds_silently();
        assert!(!scene.is_held());
        if plugin == Plugin::Egret {
            assert_eq!(lab.node("w1").egress_ns().exec("ip -br link show type veth").stdout, "");
        }
    }
    assert!(!Path::new(&missing).exists());
    assert_eq!(std::fs::read(&file).unwrap(), content);
}

#[rstest]
fn item_42_del_gets_along_with_any_previous_result(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    for previous in [
        Value::Null,
        json!({}),
        json!(5),
        json!([[]]),
        json!({ "cniVersion": "0.2.0", "ips": 7 }),
        json!({ "cniVersion": "9.9.9", "interfaces": [{}] }),
    ] {
        scene.add();
        scene.call("DEL").key("prevResult", previous).succeeds_silently();
        assert!(!scene.is_held());
    }
    scene.add();
    scene.call("DEL").lacking("prevResult").succeeds_silently();
    assert!(!scene.is_held());
}

#[rstest]
fn item_43_del_of_what_was_never_added_succeeds(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let before = scene.reading();
    scene.del();
    assert_eq!(before.changes_to(&scene.reading()), "");
    bare(plugin, "DEL").succeeds_silently();
}

#[rstest]
#[case::link("ip link del egr0", None)]
#[case::rule("ip rule del pref 1000", None)]
#[case::rule_of_answers("ip -6 rule del pref 990", None)]
#[case::routes("ip route flush table 230", None)]
#[case::neighbour("ip neigh del 169.254.230.1 dev egr0", None)]
#[case::table_in_the_pod("nft delete table inet egret", None)]
#[case::table_on_the_node("ip -br link", Some("nft delete table netdev egret"))]
#[case::tunnel("ip -br link", Some("ip link del egret0"))]
fn item_44_what_is_gone_already_is_no_error(#[case] inside: &str, #[case] egress: Option<&str>) {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let before = scene.reading();
    scene.add();
    scene.pod.exec(inside).success();
    if let Some(line) = egress {
        lab.node("w1").egress_ns().exec(line).success();
    }
    scene.del();
    assert!(!scene.is_held());
    // In the namespace of a pod that has taken its link away itself nothing is changed any more: it
    // may be another pod's by now.
    let node = |reading: Snapshot| reading.without(scene.pod.name());
    lab.node("w1").egretctl("gc").success();
    assert_eq!(node(before).changes_to(&node(scene.reading())), "");
}

#[test]
fn item_45_del_succeeds_without_the_ipam_plugin_and_the_next_call_tells_it_once() {
    let lab = lab();
    let (scene, other) = (Scene::new(&lab, Plugin::Egret), Scene::new(&lab, Plugin::Egret));
    let before = scene.reading();
    scene.add();
    scene.call("DEL").with("CNI_PATH", "/nonexistent-egret").succeeds_silently();
    // All but the lease is gone, and that is written down.
    assert!(scene.is_held());
    assert_eq!(scene.pod.exec("ip rule show pref 1000").stdout, "");
    let owed = lab.node("w1").state_dir().join("tombstones");
    assert_eq!(std::fs::read_dir(&owed).unwrap().count(), 1);
    other.add();
    assert!(!scene.is_held() && other.is_held());
    assert_eq!(std::fs::read_dir(&owed).unwrap().count(), 0);
    other.del();
    scene.is_as(&before);
}

#[test]
fn item_45_what_is_owed_is_not_paid_with_a_later_add() {
    let lab = lab();
    let (scene, other) = (Scene::new(&lab, Plugin::Egret), Scene::new(&lab, Plugin::Egret));
    scene.add();
    scene.call("DEL").with("CNI_PATH", "/nonexistent-egret").succeeds_silently();
    let result = scene.add();
    other.add();
    scene.check(&result).succeeds_silently();
}

#[rstest]
fn item_45_del_that_cannot_even_write_that_down_is_to_be_repeated(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    scene.add();
    let state = lab.node("w1").state_dir();
    scene.call("DEL").read_only(&state).refused(11, &["Read-only"]);
    assert!(scene.is_held());
    scene.del();
    assert!(!scene.is_held());
}

#[rstest]
fn item_46_a_pool_that_is_gone_or_changed_keeps_no_lease_alive(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("  id: 1\n", "kind: EgressPool", "apiVersion")] broken: &str,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    scene.add();
    let file = lab.node("w1").resources_dir().join(DEFAULTS);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(broken));
    lab.write_resources(DEFAULTS, &text.replace(broken, "  id: 7\n"));
    scene.del();
    assert!(!scene.is_held());
}

#[rstest]
fn item_47_a_late_del_leaves_the_same_pods_next_sandbox_alone(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let (old, new) = (Scene::new(&lab, plugin), Scene::new(&lab, plugin));
    old.add();
    let result = new.add();
    // Runtimes come with the path of today.
    let path = new.pod.path().display().to_string();
    old.call("DEL").with("CNI_NETNS", &path).succeeds_silently();
    assert!(!old.is_held() && new.is_held());
    new.check(&result).succeeds_silently();
}

#[rstest]
fn item_48_a_configuration_that_cannot_be_decoded_stops_del(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("", "{", "[]", "no")] text: &str,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    scene.add();
    scene.call("DEL").stdin(text).refused(6, &[]);
    assert!(scene.is_held());
    lab.write_resources(POLICIES, "");
}

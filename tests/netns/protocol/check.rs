//! Items 49 to 55: CHECK. Item 50, each damage, is in `../check.rs`.

use rstest::rstest;
use serde_json::json;

use super::call::{Plugin, Scene, bare, lab};

#[rstest]
fn item_49_check_right_after_add_is_silent_a_thousand_times(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let result = scene.add();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| scene.check(&result).succeeds_silently()));
        }
    });
}

#[test]
fn item_51_check_needs_the_previous_result() {
    bare(Plugin::Egret, "CHECK").lacking("prevResult").refused(7, &["prevResult"]);
}

#[test]
fn item_52_what_a_later_plugin_changed_is_no_difference() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let mut result = scene.add();
    scene.pod.ip("link set eth0 address 02:00:00:00:12:34\nlink set eth0 mtu 1400");
    scene.pod.ip("route add 198.18.0.0/24 via 10.244.11.1");
    result["interfaces"][2]["mac"] = json!("02:00:00:00:12:34");
    result["interfaces"][2]["mtu"] = json!(1400);
    result["interfaces"].as_array_mut().unwrap().push(json!({ "name": "later" }));
    let routes = json!([{ "dst": "198.18.0.0/24", "gw": "10.244.11.1" }]);
    result["routes"] = routes;
    scene.check(&result).succeeds_silently();
    // Control: what is ours is looked at.
    scene.pod.ip("link set egr0 mtu 1300");
    scene.check(&result).refused(110, &["egr0"]);
}

#[test]
fn item_53_an_unselected_pod_has_nothing_to_check() {
    let lab = lab();
    let scene = Scene::of(&lab, Plugin::Egret, "other", "eth0");
    let result = scene.add();
    scene.check(&result).succeeds_silently();
}

#[test]
fn item_54_the_ipam_plugin_wants_a_lease_that_is_the_attachments() {
    let lab = lab();
    let (scene, other) = (Scene::new(&lab, Plugin::EgretIpam), Scene::new(&lab, Plugin::EgretIpam));
    let result = scene.add();
    scene.check(&result).succeeds_silently();
    other.check(&result).refused(111, &[&other.pod.container_id()]);
    // The record names one namespace, the lease another.
    let state = lab.node("w1").state_dir();
    let directory = state.join("leases/001/pairs");
    let mut pairs = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let pair = pairs.find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
    std::fs::remove_file(pair).unwrap();
    scene.check(&result).refused(111, &["its lease is missing"]);
}

#[test]
fn item_55_an_error_of_the_delegate_keeps_its_code_and_sentence() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let result = scene.add();
    for entry in std::fs::read_dir(lab.node("w1").state_dir().join("holders")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let told = scene.check(&result).refused(111, &[&scene.pod.container_id()]);
    let delegate = Scene { plugin: Plugin::EgretIpam, ..scene };
    assert_eq!(delegate.check(&result).refused(111, &[]), told);
}

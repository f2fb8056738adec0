//! Main plugins that a laboratory cannot have, Calico and Flannel: links named, addressed and told of
//! in the previous result as they do it. The pod guard stands on the right link, wherever the
//! previous result says it is.

use std::collections::BTreeSet;

use egret_tests::{Families, Lab, MainPlugin, PluginRun, Pod, Question, egress_ip, external, root};
use egret_types::Family;
use rstest::rstest;
use serde_json::{Value, json};

use crate::pod_guard::{assert_guarded, seen_outside, try_everything, world};
use crate::world::SHOP;

#[rstest]
fn a_pod_of_calico_or_flannel_has_its_egress_ip_and_no_way_around(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(MainPlugin::Calico, MainPlugin::Flannel)] main: MainPlugin,
    #[values("required", "off")] mode: &str,
) {
    assert_guarded(&world(families, main, mode), mode);
}

/// The links are what they are named after.
#[test]
fn the_stand_ins_make_what_calico_and_flannel_make() {
    let lab = world(Families::Dual, MainPlugin::Calico, "required");
    let pod = lab.add_pod("w1", "shop", "cart");
    let node = lab.node("w1").ns();
    let link = pod.result()["interfaces"][0]["name"].as_str().unwrap();
    assert!(link.starts_with("cali") && link.len() == 15, "{link}");
    let route = node.exec(&format!("ip route get {}", pod.address(Family::V4))).success();
    assert!(route.contains(&format!("dev {link}")), "{route}");
    let listed = node.exec(&format!("ip -6 addr show dev {link}")).success();
    assert!(listed.contains("fe80::ecee:eeff:feee:eeee/64"), "{listed}");
    for (option, hop) in [("-4", "169.254.1.1"), ("-6", "fe80::ecee:eeff:feee:eeee")] {
        let routes = pod.exec(&format!("ip {option} route show default")).success();
        assert!(routes.contains(&format!("via {hop} dev eth0")), "{routes}");
    }
    let lab = world(Families::V4, MainPlugin::Flannel, "required");
    let pod = lab.add_pod("w1", "shop", "cart");
    let ports = lab.node("w1").ns().exec("ip link show master cni0").success();
    let port = pod.result()["interfaces"][1]["name"].as_str().unwrap();
    assert!(ports.contains(port) && ports.contains("mtu 1450"), "{port} in {ports}");
}

/// A value with its texts and numbers taken out: what keys there are.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!(0),
        other => other.clone(),
    }
}

#[rstest]
fn the_previous_result_has_the_keys_of_one_that_was_captured(
    #[values(MainPlugin::Calico, MainPlugin::Flannel)] main: MainPlugin,
) {
    let file = if main == MainPlugin::Calico { "calico.json" } else { "flannel.json" };
    let text = std::fs::read_to_string(root().join("testdata/cni").join(file)).unwrap();
    let captured: Value = serde_json::from_str(&text).unwrap();
    let lab = world(Families::V4, main, "required");
    lab.node("w1").edit_conflist(|list| list["cniVersion"] = captured["cniVersion"].clone());
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    assert_eq!(shape(&previous), shape(&captured));
    let result = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
    // Theirs is handed on as it was, with our links behind.
    let theirs = captured["interfaces"].as_array().unwrap().len();
    let interfaces = result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces[..theirs], previous["interfaces"].as_array().unwrap()[..]);
    assert_eq!((&result["ips"], interfaces.len()), (&previous["ips"], theirs + 2));
    assert_guards(&lab, &pod, &lab.add_pod("w1", "other", "plain"));
}

/// Out through the gateway, and not past it.
#[track_caller]
fn assert_guards(lab: &Lab, pod: &Pod, other: &Pod) {
    for family in lab.families().list() {
        let server = lab.external_address(*family);
        assert_eq!(pod.who(Question::Udp, server).unwrap().address, egress_ip(*family, SHOP));
        let outside = lab.external().capture("eth0", "ip or ip6");
        try_everything(lab, pod, *family);
        assert_eq!(seen_outside(lab, outside, other, *family), BTreeSet::new());
    }
}

/// Nothing that the previous result says of the node's links is needed or believed: the other end of
/// the pod's link is asked for.
#[rstest]
#[case::none(json!([]))]
#[case::only_in_the_pod(json!([{ "name": "eth0", "sandbox": "/run/netns/somewhere" }]))]
#[case::one_that_does_not_exist(json!([{ "name": "cali00000000000" }]))]
#[case::another_pods(json!([{ "name": "ANOTHER" }, { "name": "eth0", "sandbox": "/x" }]))]
fn the_nodes_end_is_the_peer_of_the_pods_link_whatever_the_result_names(
    #[case] mut interfaces: Value,
) {
    let lab = world(Families::Dual, MainPlugin::Calico, "required");
    let other = lab.add_pod("w1", "other", "plain");
    for interface in interfaces.as_array_mut().unwrap() {
        if interface["name"] == "ANOTHER" {
            interface["name"] = other.result()["interfaces"][0]["name"].clone();
        }
    }
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let mut previous = pod.add_before_ours().unwrap().clone();
    previous["interfaces"] = interfaces;
    for ip in previous["ips"].as_array_mut().unwrap() {
        ip.as_object_mut().unwrap().remove("interface");
    }
    let result = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
    PluginRun::for_pod(&pod, "CHECK", Some(&result)).run().finished.success();
    assert_guards(&lab, &pod, &other);
    for family in Family::BOTH {
        let seen = other.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, external(family, 11), "of the other pod");
    }
}

/// Twice, and with the pod's namespace gone as well; what the main plugin keeps standing stays.
#[rstest]
fn del_is_total(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(MainPlugin::Calico, MainPlugin::Flannel)] main: MainPlugin,
) {
    let lab = world(families, main, "required");
    let before = lab.snapshot();
    let alive = lab.add_pod("w1", "shop", "alive");
    let dead = lab.add_pod("w1", "shop", "dead");
    for pod in [&alive, &dead] {
        PluginRun::for_pod(pod, "CHECK", Some(pod.result())).run().finished.success();
    }
    dead.destroy_namespace();
    for pod in [&alive, &dead, &alive, &dead] {
        pod.del().unwrap();
    }
    alive.destroy_namespace();
    lab.node("w1").egretctl("gc").success();
    lab.assert_as_before(&before, &["/state/"]);
}

//! Items 1 to 15: environment and standard input.

use egret_tests::resources;
use rstest::rstest;
use serde_json::json;

use super::call::{OPERATIONS, POLICIES, Plugin, Scene, bare, lab};

const ALL: [&str; 4] = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];

const MEBIBYTE: usize = 1 << 20;

/// What an operation cannot do without. DEL must work with as little as possible.
fn needed(operation: &str) -> &'static [&'static str] {
    match operation {
        "ADD" | "CHECK" => &ALL,
        "DEL" => &["CNI_CONTAINERID", "CNI_IFNAME"],
        "GC" => &["CNI_PATH"],
        _ => &[],
    }
}

#[rstest]
fn item_01_without_an_operation_a_plugin_tells_what_it_is(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    for call in [bare(plugin, "").without("CNI_COMMAND"), bare(plugin, "")] {
        let told = call.run().finished;
        assert_eq!((told.code(), told.stdout.as_str()), (Some(0), ""), "{told}");
        let versions = "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0";
        assert!(told.stderr.starts_with(plugin.name()) && told.stderr.contains(versions), "{told}");
    }
}

#[rstest]
fn item_02_an_unknown_operation_is_refused(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("FOO", "add", "ADD ")] operation: &str,
) {
    bare(plugin, operation).refused(4, &["CNI_COMMAND", operation]);
}

#[rstest]
fn item_03_all_missing_variables_are_named_at_once(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("ADD", "DEL", "CHECK", "GC")] operation: &str,
) {
    bare(plugin, operation).alone().refused(4, needed(operation));
    for name in needed(operation) {
        let sentence = bare(plugin, operation).without(name).refused(4, &[name]);
        let others = needed(operation).iter().filter(|other| *other != name);
        assert!(others.into_iter().all(|other| !sentence.contains(other)), "{sentence}");
    }
}

#[rstest]
fn item_04_an_empty_variable_is_a_missing_one(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("ADD", "DEL", "CHECK", "GC")] operation: &str,
) {
    let empty = ALL.iter().fold(bare(plugin, operation), |call, name| call.with(name, ""));
    empty.refused(4, needed(operation));
}

#[rstest]
fn item_05_a_wrong_container_id_is_refused_and_shown(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("-bad", "a/b", "a b")] id: &str,
) {
    for operation in ["ADD", "DEL", "CHECK"] {
        let call = bare(plugin, operation).with("CNI_CONTAINERID", id);
        call.refused(4, &["CNI_CONTAINERID", id]);
    }
}

#[rstest]
fn item_06_every_legal_container_id_is_accepted(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let hex = "0123456789abcdef".repeat(4);
    for id in [hex.as_str(), "ABC_d.e-f", "cnitool-77383ca0d0d0d0d0d0d0"] {
        scene.call("ADD").with("CNI_CONTAINERID", id).result();
        scene.call("DEL").with("CNI_CONTAINERID", id).succeeds_silently();
    }
}

#[rstest]
fn item_07_a_wrong_interface_name_is_refused(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("a234567890123456", ".", "..", "a/b", "a:b", "a b")] name: &str,
) {
    for operation in ["ADD", "DEL", "CHECK"] {
        let call = bare(plugin, operation).with("CNI_IFNAME", name);
        call.refused(4, &["CNI_IFNAME", name]);
    }
}

#[rstest]
fn item_07_fifteen_letters_are_an_interface_name(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::of(&lab, plugin, "shop", "a23456789012345");
    scene.add();
    scene.del();
}

#[rstest]
fn item_08_what_is_no_json_object_cannot_be_decoded(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("", "{", "[]", "no", "\u{0}")] text: &str,
) {
    for operation in OPERATIONS {
        bare(plugin, operation).stdin(text).refused(6, &[]);
    }
}

#[rstest]
fn item_09_the_name_of_the_network_is_needed_and_checked(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    for operation in OPERATIONS {
        bare(plugin, operation).lacking("name").refused(7, &["name"]);
        bare(plugin, operation).key("name", json!("a/b")).refused(7, &["name", "a/b"]);
    }
}

#[rstest]
fn item_10_unknown_keys_and_large_configurations_are_accepted(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    // As large as may be where the delegate gets more: the requests, and a list under both its names.
    let large = |operation| {
        let call = scene
            .call(operation)
            .key("capabilities", json!({ "io.kubernetes.cri.pod-annotations": true }))
            .key("args", json!({ "cni": { "labels": [] } }))
            .key("cni.dev/x", json!([1, null]))
            .key("cni.dev/valid-attachments", json!([]))
            .own("resourceDir", json!(""));
        let room = MEBIBYTE - 4096 - call.text().len();
        let call = call.own("resourceDir", json!("x".repeat(room)));
        let text = format!("{}\n\n", call.text());
        call.stdin(&text)
    };
    let added = large("ADD").run().finished;
    let named = ["resourceDir", "resourcesDir"].iter().all(|key| added.stderr.contains(key));
    assert!(added.succeeded() && named, "{}", added.stderr);
    large("DEL").succeeds_silently();
    large("GC").succeeds_silently();
    large("STATUS").succeeds_silently();
}

#[rstest]
fn item_10_no_more_than_a_mebibyte_is_read(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    for operation in OPERATIONS {
        let padded = |length: usize| {
            let text = bare(plugin, operation).text();
            format!("{text}{}", " ".repeat(length - text.len()))
        };
        let whole = bare(plugin, operation).stdin(&padded(MEBIBYTE)).run().finished;
        assert!(!whole.stdout.contains("1 MiB"), "{operation}: {whole}");
        for length in [MEBIBYTE + 1, 64 * MEBIBYTE] {
            bare(plugin, operation).stdin(&padded(length)).refused(6, &["longer than 1 MiB"]);
        }
    }
}

#[rstest]
fn item_11_an_own_key_that_is_wrong_or_missing_is_named(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    bare(plugin, "ADD").own("resourcesDir", json!(7)).refused(7, &["resourcesDir"]);
    bare(plugin, "GC").own("gcWithoutList", json!("yes")).refused(7, &["gcWithoutList"]);
    match plugin {
        Plugin::Egret => {
            let lab = lab();
            let scene = Scene::new(&lab, plugin);
            scene.call("ADD").key("ipam", json!(7)).refused(7, &["ipam"]);
            let wrong = scene.call("ADD").key("underlay", json!({ "interface": 7 }));
            wrong.refused(7, &["underlay.interface"]);
        }
        Plugin::EgretIpam => drop(bare(plugin, "ADD").refused(7, &["ipam.requests"])),
    }
}

#[rstest]
#[case::egret(Plugin::Egret, "logLevel", json!("loud"))]
#[case::egret_ipam_scope(Plugin::EgretIpam, "scope", json!("Pod"))]
fn item_12_an_unsupported_value_is_refused_with_its_key(
    #[case] plugin: Plugin,
    #[case] key: &str,
    #[case] value: serde_json::Value,
) {
    let text = value.as_str().or_else(|| value[0].as_str()).unwrap().to_owned();
    bare(plugin, "ADD").own(key, value).refused(2, &[key, &text]);
}

#[rstest]
fn item_13_unknown_arguments_are_ignored_when_the_runtime_says_so(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    for ignore in ["IgnoreUnknown=1;", "IgnoreUnknown=true;"] {
        let args = format!("{ignore}FOO=bar;K8S_POD_NAMESPACE=shop");
        scene.call("ADD").with("CNI_ARGS", &args).result();
    }
    scene.call("ADD").with("CNI_ARGS", "FOO=bar").refused(4, &["FOO"]);
    scene.call("DEL").with("CNI_ARGS", "FOO=bar").succeeds_silently();
}

#[rstest]
fn item_14_a_malformed_argument_is_refused_but_not_by_del(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("A", "A=b=c")] args: &str,
) {
    bare(plugin, "ADD").with("CNI_ARGS", args).refused(4, &["CNI_ARGS"]);
    bare(plugin, "DEL").with("CNI_ARGS", args).succeeds_silently();
}

#[test]
fn item_15_without_arguments_only_a_cluster_policy_for_everybody_applies() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let nameless = || scene.call("ADD").with("CNI_ARGS", "");
    let before = scene.reading();
    assert_eq!(nameless().result(), scene.previous);
    assert_eq!(before.changes_to(&scene.reading()), "");
    // It applies: and since it would give each namespace its own pair, it needs one.
    let everybody = resources::cluster_policy("everybody", &[], "tenants", "");
    let everybody = everybody.replace("{ namespaces: { names: [] } }", "{}");
    lab.write_resources(POLICIES, &everybody);
    let before = scene.reading();
    nameless().refused(103, &["everybody", "K8S_POD_NAMESPACE"]);
    assert_eq!(before.changes_to(&scene.reading()), "");
}

#[test]
fn item_15_without_arguments_the_ipam_plugin_gives_what_is_requested() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::EgretIpam);
    let given = scene.call("ADD").with("CNI_ARGS", "").result();
    assert_eq!(given["egret.dev/leases"][0]["pool"], "tenants");
}

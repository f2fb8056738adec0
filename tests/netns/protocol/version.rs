//! Items 16 to 23: versions of the specification.

use std::time::{Duration, Instant};

use egret_tests::{Program, product};
use rstest::rstest;
use serde_json::{Value, json};

use super::call::{OPERATIONS, Plugin, Scene, VERSIONS, bare, in_version, lab};

#[rstest]
fn item_16_version_lists_what_the_plugin_speaks(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let libcni = bare(plugin, "VERSION").with("CNI_NETNS", "dummy").with("CNI_IFNAME", "dummy");
    let told = libcni.stdin("{\"cniVersion\":\"1.1.0\"}").result();
    assert_eq!(told, json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }));
}

/// The program alone, its standard input open and empty.
fn version_alone(plugin: Plugin) -> (Duration, String) {
    let program = Program::new(product(plugin.name())).clean_environment();
    let begin = Instant::now();
    let mut running = program.env("CNI_COMMAND", "VERSION").start();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut running.output(), &mut text).unwrap();
    (begin.elapsed(), text)
}

#[rstest]
fn item_17_version_needs_nothing_and_waits_for_nothing(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let runs: Vec<_> = (0..100).map(|_| version_alone(plugin)).collect();
    for (_, text) in &runs {
        let told: Value = serde_json::from_str(text).unwrap();
        assert_eq!(told["supportedVersions"], json!(VERSIONS));
    }
    let best = runs.iter().map(|(time, _)| *time).min().unwrap();
    // Its own time: a machine with other work to do only adds to it.
    assert!(best < Duration::from_millis(2), "{best:?}");
    let traced = Program::new("strace")
        .args(["-f", "-e", "trace=%network,read,pread64"])
        .args([product(plugin.name())])
        .clean_environment()
        .env("CNI_COMMAND", "VERSION")
        .run();
    assert!(traced.stderr.contains("exited with 0"), "{traced}");
    for call in ["read(0,", "socket(", "connect("] {
        assert!(!traced.stderr.contains(call), "{call} in {traced}");
    }
}

#[rstest]
fn item_18_a_version_from_the_future_is_incompatible_and_the_known_ones_are_told(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    for operation in OPERATIONS {
        let call = bare(plugin, operation).key("cniVersion", json!("9.9.9"));
        call.refused(1, &["9.9.9", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    }
}

#[rstest]
fn item_19_no_version_is_an_old_one(#[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin) {
    for operation in OPERATIONS {
        bare(plugin, operation).lacking("cniVersion").refused(1, &["0.1.0"]);
    }
}

#[rstest]
fn item_20_every_listed_version_is_served_and_answered_in_itself(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    for version in VERSIONS {
        let result = scene.call("ADD").version(version).result();
        assert_eq!(result["cniVersion"], version);
        if version != "0.3.1" {
            scene.check(&result).version(version).succeeds_silently();
        }
        scene.call("DEL").version(version).succeeds_silently();
        assert!(!scene.is_held());
        let error = scene.check(&result).version(version).without("CNI_NETNS").run();
        assert_eq!(error.finished.json()["cniVersion"], "1.1.0", "no version was read yet");
        let error = scene.call("ADD").version(version).with("CNI_IFNAME", "eth7/").run();
        assert_eq!(error.finished.json()["cniVersion"], version);
    }
}

#[rstest]
fn item_21_a_result_has_the_layout_of_its_version(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("0.3.1", "0.4.0", "1.0.0", "1.1.0")] version: &str,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let result = scene.call("ADD").version(version).result();
    let legacy = version.starts_with('0');
    let ips = result["ips"].as_array().unwrap();
    assert!(!ips.is_empty());
    for ip in ips {
        assert_eq!(ip.get("version").is_some(), legacy, "{ip}");
    }
    if plugin == Plugin::Egret {
        let links = result["interfaces"].as_array().unwrap();
        let known = scene.previous["interfaces"].as_array().unwrap().len();
        for link in &links[known..] {
            assert_eq!(link.get("mtu").is_some(), !legacy, "{link}");
        }
        assert_eq!(result["ips"], in_version(scene.previous.clone(), version)["ips"]);
    } else if legacy {
        assert_eq!(result["dns"], json!({}));
    }
}

#[rstest]
#[case::check("CHECK", &["0.3.1"])]
#[case::gc("GC", &["0.3.1", "0.4.0", "1.0.0"])]
#[case::status("STATUS", &["0.3.1", "0.4.0", "1.0.0"])]
fn item_22_an_operation_younger_than_the_version_is_refused(
    #[case] operation: &str,
    #[case] versions: &[&str],
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let sentence = format!("config version does not allow {operation}");
    for version in versions {
        bare(plugin, operation).version(version).refused(1, &[&sentence, version]);
    }
}

#[rstest]
fn item_23_what_is_no_version_is_an_error_object(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values("abc", "1.0", "1..0", "v1.0.0", "99999999999999999999.0.0.0")] version: &str,
) {
    for operation in OPERATIONS {
        bare(plugin, operation).key("cniVersion", json!(version)).refused(6, &[version]);
    }
    bare(plugin, "ADD").key("cniVersion", json!(1)).refused(6, &["cniVersion"]);
}

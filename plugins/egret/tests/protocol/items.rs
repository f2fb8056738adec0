//! Items of the conformance list, in the order of their numbers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::{ACCEPTED, Answer, Call, call, config, directory};

const OPERATIONS: [&str; 3] = ["ADD", "DEL", "CHECK"];

#[test]
fn item_1_without_an_operation_it_tells_what_it_is() {
    for call in [call("").without("CNI_COMMAND"), call("")] {
        let answer = call.run();
        assert_eq!((answer.status, answer.stdout.as_str()), (Some(0), ""), "{answer:?}");
        let told = "CNI protocol versions supported: ";
        assert!(answer.stderr.contains("egret") && answer.stderr.contains(told), "{answer:?}");
    }
}

#[test]
fn item_2_an_unknown_operation_is_an_invalid_variable() {
    for operation in ["FOO", "add", "ADD "] {
        call(operation).refused(4, &["CNI_COMMAND"]);
    }
}

#[test]
fn items_3_and_4_all_missing_and_empty_variables_are_named_at_once() {
    let names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    for operation in OPERATIONS {
        // DEL does without the namespace, and without a delegate where nothing was begun.
        let spared = |name: &str| operation == "DEL" && matches!(name, "CNI_NETNS" | "CNI_PATH");
        let needed: Vec<&str> = names.into_iter().filter(|name| !spared(name)).collect();
        let bare = names.iter().fold(call(operation), |call, name| call.without(name));
        let empty = names.iter().fold(call(operation), |call, name| call.with(name, ""));
        bare.refused(4, &needed);
        empty.refused(4, &needed);
        for name in needed {
            call(operation).without(name).refused(4, &[name]);
        }
    }
}

#[test]
fn items_5_and_7_wrong_names_are_refused_and_shown() {
    let cases = [
        ("CNI_CONTAINERID", "-bad"),
        ("CNI_CONTAINERID", "a/b"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_IFNAME", "a234567890123456"),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "a b"),
    ];
    for operation in OPERATIONS {
        for (name, value) in cases {
            call(operation).with(name, value).refused(4, &[name, value]);
        }
    }
}

#[test]
fn items_6_and_7_right_names_are_accepted() {
    let hex = "0123456789abcdef".repeat(4);
    for id in [hex.as_str(), "ABC_d.e-f", "cnitool-77383ca0d0d0d0d0d0d0"] {
        call("ADD").with("CNI_CONTAINERID", id).refused(ACCEPTED, &["CNI_NETNS"]);
    }
    call("ADD").with("CNI_IFNAME", "a23456789012345").refused(ACCEPTED, &["CNI_NETNS"]);
}

#[test]
fn items_8_and_48_a_configuration_that_is_no_json_object_cannot_be_decoded() {
    for operation in OPERATIONS {
        for text in ["", "{", "[]", "no", "\u{0}"] {
            call(operation).stdin(text).refused(6, &[]);
        }
    }
}

#[test]
fn item_9_the_name_of_the_network_is_needed_and_checked() {
    for operation in OPERATIONS {
        call(operation).lacking("name").refused(7, &["name"]);
        call(operation).key("name", json!("a/b")).refused(7, &["name", "a/b"]);
    }
}

#[test]
fn item_10_unknown_keys_and_large_configurations_are_accepted() {
    let add = call("ADD")
        .key("capabilities", json!({ "io.kubernetes.cri.pod-annotations": true }))
        .key("args", json!({ "cni": { "labels": [] } }))
        .key("cni.dev/x", json!([1, null]))
        .key("Unknown", json!("x".repeat(1 << 20)));
    let trailing = format!("{}\n\n", add.stdin);
    add.stdin(&trailing).refused(ACCEPTED, &["CNI_NETNS"]);
    let misspelt = call("ADD").key("resourceDir", json!("/x")).run();
    assert!(misspelt.stderr.contains("resourceDir") && misspelt.stderr.contains("resourcesDir"));
}

#[test]
fn items_11_and_12_own_keys_are_refused_by_name_and_value() {
    call("ADD").key("resourcesDir", json!(7)).refused(7, &["resourcesDir"]);
    call("ADD").key("underlay", json!({ "interface": 7 })).refused(7, &["interface"]);
    call("ADD").key("logLevel", json!("loud")).refused(2, &["logLevel", "loud"]);
    call("ADD").key("gcWithoutList", json!("true")).refused(7, &["gcWithoutList"]);
}

#[test]
fn items_13_and_14_unknown_and_malformed_arguments() {
    for args in ["IgnoreUnknown=1;FOO=bar", "IgnoreUnknown=true;FOO=bar", "K8S_POD_NAME=p"] {
        call("ADD").with("CNI_ARGS", args).refused(ACCEPTED, &["CNI_NETNS"]);
    }
    call("ADD").with("CNI_ARGS", "FOO=bar").refused(4, &["FOO"]);
    for args in ["A", "A=b=c"] {
        call("ADD").with("CNI_ARGS", args).refused(4, &["CNI_ARGS"]);
        call("DEL").with("CNI_ARGS", args).succeeds_silently();
    }
}

#[test]
fn items_16_and_17_version_needs_neither_stdin_nor_variables() {
    let bare =
        Call { variables: vec![("CNI_COMMAND", "VERSION".to_owned())], stdin: String::new() };
    let begin = Instant::now();
    let mut child = bare.start();
    // Nobody closes it before the answer is there.
    let open = child.stdin.take();
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(5), "VERSION waits for standard input");
        std::thread::sleep(Duration::from_millis(1));
    }
    let answer = Answer::of(child);
    drop(open);
    assert_eq!(answer.status, Some(0));
    let versions: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(versions["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    let given = call("VERSION").stdin("{\"cniVersion\":\"1.1.0\"}").run();
    assert_eq!((given.status, given.stdout), (Some(0), answer.stdout));
}

#[test]
fn items_18_19_and_23_other_versions_are_incompatible() {
    for operation in OPERATIONS {
        let wrong = call(operation).key("cniVersion", json!("9.9.9"));
        wrong.refused(1, &["9.9.9", "0.4.0", "1.0.0"]);
        call(operation).lacking("cniVersion").refused(1, &["0.1.0"]);
        let (code, sentence) = call(operation).key("cniVersion", json!("abc")).error();
        assert!(code == 1 || code == 6, "{code} {sentence}");
    }
}

#[test]
fn item_20_every_version_is_served_and_answered_in_itself() {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut previous = config()["prevResult"].take();
        previous["cniVersion"] = json!(version);
        if version.starts_with('0') {
            previous["ips"][0]["version"] = json!("4");
        }
        let add = call("ADD").key("cniVersion", json!(version)).key("prevResult", previous).run();
        let error: Value = serde_json::from_str(&add.stdout).unwrap();
        assert_eq!((&error["cniVersion"], &error["code"]), (&json!(version), &json!(ACCEPTED)));
    }
}

#[test]
fn item_22_operations_that_a_version_does_not_have_are_refused() {
    call("CHECK").key("cniVersion", json!("0.3.1")).refused(1, &["CHECK"]);
    for operation in ["GC", "STATUS"] {
        call(operation).refused(1, &[operation]);
    }
}

#[test]
fn items_24_and_51_a_chained_plugin_needs_the_previous_result() {
    for operation in ["ADD", "CHECK"] {
        call(operation).lacking("prevResult").refused(7, &["prevResult"]);
    }
}

#[test]
fn item_29_a_namespace_that_is_not_there_is_not_made() {
    let missing = directory().join("no-namespace");
    let file = directory().join("a-file");
    drop(std::fs::File::create(&file).unwrap());
    for path in [&missing, &file] {
        let path = path.display().to_string();
        for operation in ["ADD", "CHECK"] {
            call(operation).with("CNI_NETNS", &path).refused(3, &[&path]);
        }
        call("DEL").with("CNI_NETNS", &path).succeeds_silently();
    }
    assert!(!missing.exists());
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
}

#[test]
fn items_40_to_43_del_succeeds_whatever_it_lacks() {
    for _ in 0..3 {
        call("DEL").succeeds_silently();
    }
    call("DEL").without("CNI_NETNS").succeeds_silently();
    call("DEL").with("CNI_NETNS", "").lacking("prevResult").succeeds_silently();
    for previous in [json!({}), json!(5), json!({ "cniVersion": "0.2.0", "ips": 7 })] {
        call("DEL").key("prevResult", previous).succeeds_silently();
    }
}

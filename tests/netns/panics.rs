//! A panic in a plugin is an error that the runtime can show, whatever thread it happens in; and so is
//! an operation that does not end.

use std::time::{Duration, Instant};

use egret_tests::PluginRun;
use rstest::rstest;
use serde_json::json;

#[rstest]
#[case::in_the_main_thread(false)]
#[case::in_another_thread_whose_end_nobody_looks_at(true)]
fn a_panic_is_one_error_object_in_the_version_of_the_configuration(#[case] thread: bool) {
    let config = json!({
        "cniVersion": "0.4.0", "name": "podnet", "type": "egret-panics", "thread": thread,
        "prevResult": { "cniVersion": "0.4.0", "ips": [] },
    });
    let run = PluginRun::new(env!("CARGO_BIN_EXE_egret-panics"), "ADD")
        .variable("CNI_CONTAINERID", "c1")
        .variable("CNI_NETNS", "/run/netns/none")
        .variable("CNI_IFNAME", "eth0")
        .variable("CNI_PATH", "/nowhere")
        .config(&config)
        .run();
    assert_eq!(run.clone().finished.json()["cniVersion"], json!("0.4.0"));
    let (code, sentence) = run.error();
    assert_eq!(code, 120);
    assert!(sentence.contains("out of ideas at ") && sentence.contains("panics.rs:"), "{sentence}");
}

#[test]
fn an_operation_that_does_not_end_is_one_error_object_at_its_deadline() {
    let config = json!({ "cniVersion": "1.1.0", "name": "podnet", "thread": false });
    let begin = Instant::now();
    let run = PluginRun::new(env!("CARGO_BIN_EXE_egret-panics"), "STATUS").config(&config).run();
    let lasted = begin.elapsed();
    let (code, sentence) = run.error();
    assert_eq!(code, 11);
    assert!(sentence.contains("STATUS") && sentence.contains("5 s"), "{sentence}");
    assert!((Duration::from_secs(5)..Duration::from_secs(8)).contains(&lasted), "{lasted:?}");
}

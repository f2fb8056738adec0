//! A panic in a plugin is an error that the runtime can show, whatever thread it happens in.

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

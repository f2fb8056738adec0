//! The IPAM plugin is another program: it can hang, outlive the plugin that called it, or be gone.

use std::path::Path;
use std::time::{Duration, Instant};

use egret_tests::{
    Families, Lab, PluginRun, Pod, Question, Snapshot, egress_ip, eventually, product,
};
use egret_types::Family;
use rstest::rstest;
use serde_json::Value;

use crate::world::{self, SHOP};

fn prepared(lab: &Lab) -> (Pod<'_>, Value) {
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    (pod, previous)
}

/// Adds, after a round of ADD and DEL whose remains are what a DEL must come back to.
fn added(lab: &Lab, pod: &Pod<'_>, previous: &Value) -> Snapshot {
    let run = |operation| PluginRun::for_pod(pod, operation, Some(previous)).run();
    run("ADD").result();
    run("DEL").finished.success();
    let bare = kernel(lab, pod);
    run("ADD").result();
    bare
}

/// What an attachment leaves in the kernel, but for what all pods of the node share outside.
fn kernel(lab: &Lab, pod: &Pod<'_>) -> Snapshot {
    lab.node("w1").egress_ns().snapshot().and(pod.snapshot())
}

/// A call that finds this script in the place of `egret-ipam`; `REAL` in it is the real one.
fn with_script(pod: &Pod<'_>, operation: &str, previous: &Value, text: &str) -> PluginRun {
    let node = pod.node();
    let text = text.replace("REAL", &product("egret-ipam").display().to_string());
    let script = node.script("egret-ipam", &text);
    let path = format!("{}:{}", script.parent().unwrap().display(), node.cni_path());
    PluginRun::for_pod(pod, operation, Some(previous)).variable("CNI_PATH", &path)
}

/// Whole ones: a temporary file is none yet.
fn files(directory: &Path) -> usize {
    let whole = |entry: &std::fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    std::fs::read_dir(directory).map_or(0, |entries| entries.flatten().filter(whole).count())
}

/// Before its input is read; with its output open, and closed; and with a child that has it.
#[rstest]
#[case("exec sleep 50")]
#[case("cat >/dev/null; exec sleep 50")]
#[case("exec >&-; exec sleep 50")]
#[case("exec 2>/dev/null; sleep 12 & wait")]
fn an_ipam_plugin_that_hangs_is_ended_and_add_fails_and_leaves_nothing(#[case] hang: &str) {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab);
    let process = lab.node("w1").directory().join("../hanging");
    let process = process.display();
    let script = format!("[ $CNI_COMMAND = ADD ] || exec REAL\necho $$ > {process}\n{hang}\n");
    let reading = || lab.snapshot().without("/run/").without("directory ").and(pod.snapshot());
    let (before, begin) = (reading(), Instant::now());
    let (code, sentence) = with_script(&pod, "ADD", &previous, &script).run().error();
    let took = begin.elapsed();
    assert_eq!(code, 11, "{sentence}");
    assert!(sentence.contains("egret-ipam") && sentence.contains("timed out"), "{sentence}");
    assert!((8..14).contains(&took.as_secs()), "{took:?}");
    let hanging = std::fs::read_to_string(process.to_string()).unwrap();
    assert!(!Path::new("/proc").join(hanging.trim()).exists(), "it still runs");
    assert_eq!(before.changes_to(&reading()), "");
    // Control: with one that answers it works.
    PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
}

#[test]
fn a_holder_of_an_attachment_that_does_not_exist_is_dropped_by_gc() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let other = lab.add_pod("w1", "shop", "other");
    let (pod, previous) = prepared(&lab);
    let node = lab.node("w1");
    let holders = node.state_dir().join("holders");
    let gate = node.directory().join("../gate");
    // The plugin is killed while the IPAM plugin is at work, which goes on after DEL.
    let script = format!(
        "exec 2>/dev/null\ninput=$(cat)\nkill -9 $PPID\nuntil [ -e {} ]; do sleep 0.02; done\n\
         printf %s \"$input\" | REAL\n",
        gate.display()
    );
    let killed = with_script(&pod, "ADD", &previous, &script).run();
    assert_eq!(killed.finished.code(), None, "{}", killed.finished);
    PluginRun::for_pod(&pod, "DEL", Some(&previous)).run().finished.success();
    assert_eq!(files(&holders), 1);
    node.ns().exec(&format!("touch {}", gate.display())).success();
    let both = || (files(&holders) == 2).then_some(());
    eventually("the IPAM plugin writes its holder", Duration::from_secs(5), both);
    let said = node.egretctl("gc").success();
    let named = format!("{}/eth0", pod.container_id());
    assert!(said.contains(&named) && said.contains("released"), "{said}");
    assert_eq!(files(&holders), 1);
    other.check().unwrap();
    assert!(!node.egretctl("gc").success().contains("released"));
}

#[test]
fn del_without_the_ipam_plugin_removes_all_of_the_kernels_and_writes_down_what_stays() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab);
    let node = lab.node("w1");
    let del = || PluginRun::for_pod(&pod, "DEL", Some(&previous));
    let bare = added(&lab, &pod, &previous);
    let missing = node.directory().display().to_string();
    let told = del().variable("CNI_PATH", &missing).run().finished;
    for word in ["egret-ipam", "CNI_PATH", "next call"] {
        assert!(told.stderr.contains(word), "no {word:?} in: {told}");
    }
    assert_eq!(told.success(), "");
    assert_eq!(bare.changes_to(&kernel(&lab, &pod)), "");
    let count = |name: &str| files(&node.state_dir().join(name));
    assert_eq!([count("holders"), count("attachments"), count("tombstones")], [1, 0, 1]);
    // The next one finishes, and there is nothing that it would miss.
    del().run().finished.success();
    assert_eq!([count("holders"), count("attachments"), count("tombstones")], [0, 0, 0]);
    PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
    for family in Family::BOTH {
        let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
}

/// However many DELs before have not been told to it.
#[test]
fn an_ipam_plugin_that_hangs_keeps_no_pod_from_ending() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let pods = ["one", "two", "three", "four"].map(|name| {
        let mut pod = lab.pod("w1", "shop", name).prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
        (pod, previous)
    });
    for (pod, previous) in &pods {
        let begin = Instant::now();
        let del = with_script(pod, "DEL", previous, "exec sleep 20\n").run();
        assert_eq!(del.finished.success(), "");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
    let count = |name: &str| files(&lab.node("w1").state_dir().join(name));
    assert_eq!([count("holders"), count("attachments"), count("tombstones")], [4, 0, 4]);
    // The first that it answers pays for all.
    let (pod, previous) = &pods[0];
    PluginRun::for_pod(pod, "DEL", Some(previous)).run().finished.success();
    assert_eq!([count("holders"), count("tombstones")], [0, 0]);
}

#[test]
fn del_with_a_read_only_state_directory_removes_all_of_the_kernels_and_says_what_stays() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = prepared(&lab);
    let node = lab.node("w1");
    let del = || PluginRun::for_pod(&pod, "DEL", Some(&previous));
    let bare = added(&lab, &pod, &previous);
    let (code, sentence) = del().read_only(&node.state_dir()).run().error();
    assert_eq!(code, 11, "{sentence}");
    for word in ["Read-only", "/state/", "removed", "lease", "next DEL"] {
        assert!(sentence.contains(word), "no {word:?} in: {sentence}");
    }
    assert_eq!(bare.changes_to(&kernel(&lab, &pod)), "");
    // A pod without a record does not need the directory.
    let plain = lab.add_pod("w1", "other", "plain");
    let run = PluginRun::for_pod(&plain, "DEL", None).read_only(&node.state_dir());
    run.run().finished.success();
    del().run().finished.success();
    for directory in ["holders", "attachments"] {
        assert_eq!(files(&node.state_dir().join(directory)), 0, "{directory}");
    }
}

#[test]
fn gc_forgets_an_attachment_of_which_only_the_record_and_the_lease_are_left() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let other = lab.add_pod("w1", "shop", "other");
    let (pod, previous) = prepared(&lab);
    let node = lab.node("w1");
    let left = || ["attachments", "holders"].map(|name| files(&node.state_dir().join(name)));
    PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
    // A pod without its link is not forgotten.
    pod.ip("link del egr0");
    let said = node.egretctl("gc").success();
    assert!(said.contains("2 attachments") && !said.contains("released"), "{said}");
    let result = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
    assert_eq!(left(), [2, 2]);
    let link = result["interfaces"].as_array().unwrap().last().unwrap()["name"].clone();
    pod.destroy_namespace();
    let links = || node.egress_ns().exec("ip -br link").success();
    let gone = || (!links().contains(link.as_str().unwrap())).then_some(());
    eventually("the link goes with the namespace", Duration::from_secs(5), gone);
    let said = node.egretctl("gc").success();
    let named = format!("{}/eth0", pod.container_id());
    assert!(said.contains(&named) && said.contains("1 attachments"), "{said}");
    assert_eq!(left(), [1, 1]);
    other.check().unwrap();
    PluginRun::for_pod(&pod, "DEL", Some(&previous)).run().finished.success();
}

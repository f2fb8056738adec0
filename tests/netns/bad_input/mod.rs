//! What cannot work is refused with a sentence that an operator can act on, with the right code,
//! and leaves nothing behind: no object in the kernel, no record, no lease.

mod commands;
mod files;
mod obstacles;
mod request;

use egret_tests::{Lab, PluginOutcome, PluginRun, Pod, Snapshot, resources};
use serde_json::Value;

/// A pod to which everything but ours has been done, and the resources that would select it.
struct Scene<'lab> {
    lab: &'lab Lab,
    pod: Pod<'lab>,
    previous: Value,
    conflist: Value,
}

const DEFAULTS: &str = "10-defaults.yaml";
const POLICIES: &str = "20-policies.yaml";

fn defaults(lab: &Lab) -> String {
    resources::defaults(lab.nodes(), lab.families())
}

fn policy(more: &str) -> String {
    resources::policy("shop", "partners", "tenants", more)
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        lab.write_resources(POLICIES, &policy(""));
        let mut pod = lab.pod("w1", "shop", "cart").prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        Self { lab, pod, previous, conflist: lab.node("w1").conflist() }
    }

    fn add(&self) -> PluginRun {
        PluginRun::for_pod(&self.pod, "ADD", Some(&self.previous))
    }

    /// Everything that a refused ADD must leave as it was. Directories and locks are no state, and a
    /// lease is its namespace's, whatever becomes of the pod for which it was made.
    fn reading(&self) -> Snapshot {
        let node = self.lab.node("w1");
        let files = Snapshot::of_files(node.directory()).without("directory ").without("/run/");
        let kernel = node.ns().snapshot().and(node.egress_ns().snapshot());
        let files = files.without("/resources.d/").without("/net.d/").without("/state/leases/");
        files.and(kernel).and(self.pod.snapshot())
    }

    /// Undoes a change of files.
    fn restore(&self) {
        self.lab.write_resources(DEFAULTS, &defaults(self.lab));
        self.lab.write_resources(POLICIES, &policy(""));
        self.lab.node("w1").edit_conflist(|list| *list = self.conflist.clone());
    }

    #[track_caller]
    fn refused(&self, name: &str, add: PluginRun, code: u64, words: &[&str]) {
        let before = self.reading();
        refused(name, add.run(), code, words);
        self.restore();
        // What is shared may have come into being before the error.
        self.lab.node("w1").egretctl("gc");
        let changes = before.changes_to(&self.reading());
        assert!(changes.is_empty(), "{name}: left behind:\n{changes}");
    }
}

#[track_caller]
fn refused(name: &str, outcome: PluginOutcome, code: u64, words: &[&str]) {
    assert_eq!(outcome.finished.code(), Some(1), "{name}: {}", outcome.finished);
    let (found, sentence) = outcome.error();
    assert_eq!(found, code, "{name}: {sentence}");
    for word in words {
        assert!(sentence.contains(word), "{name}: no {word:?} in: {sentence}");
    }
}

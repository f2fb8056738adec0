//! An operation that ends in the middle: killed, or refused by the system, at each call by which it
//! changes anything. Whatever happened, the next operation finds its way, and nothing stays behind.

use std::collections::BTreeSet;

use egret_tests::{Families, Fault, Lab, PluginRun, Pod, Snapshot, at_each_changing_call, product};
use serde_json::Value;

use crate::world;

/// Leases stay with their namespace; directories, locks and half-written files are no state.
fn kept(snapshot: Snapshot) -> Snapshot {
    snapshot.without("/state/leases/").without("directory ").without("/run/").without("/.tmp-")
}

/// Between the steps of ADD on a bare node, by what it has done last.
const FAIL_POINTS: [&str; 12] = [
    "nothing done",
    "after the record",
    "after the pod guard",
    "after the lease",
    "after the tunnel guard",
    "after the namespace",
    "after the tunnel",
    "after the way to the gateway",
    "after the link",
    "after the filter",
    "after steering",
    "after the commit",
];

struct Scene<'lab> {
    lab: &'lab Lab,
    pod: Pod<'lab>,
    previous: Value,
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        world::open(lab);
        let mut pod = lab.pod("w1", "shop", "cart").prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        Self { lab, pod, previous }
    }

    fn run(&self, operation: &str) -> PluginRun {
        PluginRun::for_pod(&self.pod, operation, Some(&self.previous))
    }

    fn del(&self) {
        assert_eq!(self.run("DEL").run().finished.success(), "");
    }

    fn gc(&self) {
        self.lab.node("w1").egretctl("gc").success();
    }

    /// The worker, its files and the pod; the kernel may take a namespace away a little later.
    fn reading(&self) -> Snapshot {
        let node = self.lab.node("w1");
        let kernel = node.ns().snapshot().and(node.egress_ns().snapshot());
        kept(kernel.and(Snapshot::of_files(node.directory())).and(self.pod.snapshot()))
    }

    #[track_caller]
    fn is(&self, before: &Snapshot, when: &str) {
        let mut changes = before.changes_to(&self.reading());
        for _ in 0..20 {
            if changes.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            changes = before.changes_to(&self.reading());
        }
        panic!("{when}:\n{changes}");
    }

    /// Its file is there a moment before the namespace is.
    fn egress_is_there(&self) -> bool {
        let node = self.lab.node("w1");
        let look = format!("ip -n {} link", node.egress_ns().name());
        node.egress_ns().exists() && node.ns().exec(&look).succeeded()
    }

    /// How far an ADD on a bare node has come: the last of [`FAIL_POINTS`] that it has passed, as one
    /// sees it from outside.
    fn fail_point(&self) -> &'static str {
        let node = self.lab.node("w1");
        let (state, egress) = (node.state_dir(), node.egress_ns());
        let open = self.egress_is_there();
        let in_egress = |line: &str, word: &str| open && egress.exec(line).stdout.contains(word);
        let attachments = Snapshot::of_files(&state.join("attachments")).without("/.tmp-");
        let committed = || {
            let files = std::fs::read_dir(state.join("attachments")).unwrap();
            files.flatten().any(|file| {
                let text = std::fs::read_to_string(file.path()).unwrap();
                text.contains("\"stage\":\"committed\"")
            })
        };
        let passed = [
            attachments.lines().next().is_some(),
            node.ns().exec("nft list tables").stdout.contains("egret-guard"),
            Snapshot::of_files(&state.join("holders")).without("/.tmp-").lines().next().is_some(),
            node.ns().exec("nft list tables").stdout.contains("egret-tunnel"),
            open,
            in_egress("ip -o link", " egret0"),
            in_egress("bridge fdb show", " dst "),
            self.pod.exec("ip -o link").stdout.contains("egr0"),
            in_egress("nft list table netdev egret", "10.244.11."),
            self.pod.exec("ip rule").stdout.contains("1000:"),
            attachments.lines().next().is_some() && committed(),
        ];
        let count = passed.iter().take_while(|passed| **passed).count();
        assert!(passed[count..].iter().all(|passed| !passed), "out of order: {passed:?}");
        FAIL_POINTS[count]
    }

    /// The attachment's own part of a reading.
    fn own(&self, when: &str) -> Snapshot {
        let node = self.lab.node("w1");
        let holders = Snapshot::of_files(&node.state_dir().join("holders"));
        let records = Snapshot::of_files(&node.state_dir().join("attachments"));
        if self.egress_is_there() {
            let links = node.egress_ns().exec("ip -o link show type veth").stdout;
            let table = node.egress_ns().exec("nft list table netdev egret").stdout;
            assert!(
                !links.contains("egr") && !table.contains("10.244.11."),
                "{when}: {links}{table}"
            );
        }
        kept(holders.and(records).and(self.pod.snapshot()))
    }
}

#[test]
fn item_34_add_killed_at_each_call_leaves_nothing_after_del_and_gc() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let bare = scene.reading();
    let clean = scene.own("before");
    let mut reached = BTreeSet::new();
    let mut on_bare_node = true;
    let faults = at_each_changing_call(|call, number| {
        let outcome = scene.run("ADD").fault(Fault::Kill, call, number).run();
        if on_bare_node && outcome.interrupted {
            reached.insert(scene.fail_point());
        }
        scene.del();
        let when = format!("killed at {call} {number}");
        assert_eq!(clean.changes_to(&scene.own(&when)), "", "{when}");
        // Mostly on a bare node, sometimes on one that has everything shared.
        on_bare_node = number % 4 != 0;
        if on_bare_node {
            scene.gc();
            scene.is(&bare, &when);
        }
        outcome.interrupted
    });
    scene.gc();
    scene.is(&bare, "after all");
    assert!(faults > 30, "{faults} faults");
    assert_eq!(reached, BTreeSet::from(FAIL_POINTS), "no kill came there");
}

/// A runtime may try again without DEL.
#[test]
fn add_after_a_killed_add_or_del_works() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let bare = scene.reading();
    let mut turn = 0;
    for operation in ["ADD", "DEL"] {
        let faults = at_each_changing_call(|call, number| {
            // Every third is enough: what a kill leaves differs little from call to call.
            turn += 1;
            let third = turn % 3 == 0 || number == 1;
            if operation == "DEL" {
                scene.run("ADD").run().result();
            }
            let outcome = scene.run(operation).fault(Fault::Kill, call, number).run();
            if third {
                let result = scene.run("ADD").run().result();
                let check = PluginRun::for_pod(&scene.pod, "CHECK", Some(&result)).run();
                assert_eq!(check.finished.success(), "", "{operation} killed at {call} {number}");
            }
            scene.del();
            outcome.interrupted
        });
        assert!(faults > 5, "{operation}: {faults} faults");
    }
    scene.gc();
    scene.is(&bare, "after all");
}

#[test]
fn del_killed_at_each_call_is_finished_by_the_next() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let bare = scene.own("before");
    let faults = at_each_changing_call(|call, number| {
        scene.run("ADD").run().result();
        let outcome = scene.run("DEL").fault(Fault::Kill, call, number).run();
        scene.del();
        let when = format!("killed at {call} {number}");
        assert_eq!(bare.changes_to(&scene.own(&when)), "", "{when}");
        outcome.interrupted
    });
    assert!(faults > 5, "{faults} faults");
}

/// Whichever call the system refuses: a result, or an error as JSON that left nothing of the
/// attachment, without any DEL.
#[test]
fn item_33_add_refused_at_each_call_succeeds_or_takes_back_all_it_did() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let bare = scene.reading();
    let clean = scene.own("before");
    let mut failed = 0;
    let faults = at_each_changing_call(|call, number| {
        let errno = if matches!(call, "unshare" | "mount" | "sendto") { "EPERM" } else { "ENOSPC" };
        let outcome = scene.run("ADD").fault(Fault::Error(errno), call, number).run();
        let when = format!("{errno} at {call} {number}");
        if outcome.finished.succeeded() {
            outcome.clone().result();
            scene.del();
        } else if outcome.finished.stdout.is_empty() {
            // The answer itself could not be written; the runtime calls DEL.
            assert_eq!(call, "write", "{when}: {}", outcome.finished);
            scene.del();
        } else {
            let (code, sentence) = outcome.clone().error();
            assert!(code != 120 && !sentence.is_empty(), "{when}: {code} {sentence}");
            failed += 1;
        }
        let when = format!("{when}: {}", outcome.finished);
        assert_eq!(clean.changes_to(&scene.own(&when)), "", "{when}");
        if number % 4 == 1 && outcome.finished.code() == Some(1) {
            scene.gc();
            scene.is(&bare, &when);
        }
        outcome.interrupted
    });
    assert!(faults > 30 && failed > 10, "{faults} faults, {failed} failures");
    scene.gc();
    scene.is(&bare, "after all");
}

#[test]
fn a_gateway_killed_while_it_comes_up_goes_down_without_a_trace() {
    let lab = world::builder(Families::Dual).start();
    let node = lab.node("g1");
    let reading = || {
        let kernel = node.ns().snapshot().and(node.egress_ns().snapshot());
        kept(kernel.and(Snapshot::of_files(node.directory())))
    };
    let bare = reading();
    let config = node.conflist_path();
    let up = |call, number| {
        PluginRun::new(product("egretctl"), "NONE")
            .within(node.ns())
            .arguments(["--config", &config.display().to_string(), "gateway", "up"])
            .fault(Fault::Kill, call, number)
            .run()
    };
    let faults = at_each_changing_call(|call, number| {
        let outcome = up(call, number);
        if number % 3 != 1 && outcome.interrupted {
            return true;
        }
        node.egretctl("gateway down").success();
        node.egretctl("gc").success();
        let changes = bare.changes_to(&reading());
        assert_eq!(changes, "", "killed at {call} {number}");
        outcome.interrupted
    });
    assert!(faults > 30, "{faults} faults");
    // And one that was killed is finished by the next.
    up("sendto", 20);
    node.egretctl("gateway up").success();
    let pod = lab.add_pod("g1", "other", "plain");
    pod.del().unwrap();
    node.egretctl("gateway status").success();
}

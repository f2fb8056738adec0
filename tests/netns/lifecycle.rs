//! ADD, DEL, CHECK and the end of everything: once, twice, late, never, in parallel, interrupted.

use egret_tests::{Families, Fault, PluginRun, at_each_changing_call};

use crate::world;

/// What a node keeps that has ever served a selected pod: the lease of its namespace, which is the
/// promise, the directories it stands in, and lock files, which must never be removed while somebody
/// may wait for them.
const KEPT: [&str; 4] = ["/state/", "w1/run/", "w2/run/", "g1/run/"];

#[test]
fn after_del_gateway_down_and_gc_the_machine_is_as_before() {
    let lab = world::builder(Families::Dual).start();
    lab.warm_up();
    let before = lab.snapshot();
    world::open(&lab);
    let pods = ["w1", "w2", "g1"].map(|node| lab.add_pod(node, "shop", "cart"));
    for pod in &pods {
        pod.check().unwrap();
        pod.del().unwrap();
    }
    lab.node("g1").egretctl("gateway down").success();
    for node in lab.nodes() {
        node.egretctl("gc").success();
        node.remove_resources("20-policies.yaml");
    }
    lab.assert_as_before(&before, &KEPT);
}

#[test]
fn del_twice_late_and_without_namespace_succeeds() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let before = lab.snapshot();
    let pod = lab.add_pod("w1", "shop", "cart");
    pod.destroy_namespace();
    pod.del().unwrap();
    pod.del().unwrap();
    PluginRun::for_pod(&pod, "DEL", None).run().finished.success();
    PluginRun::for_pod(&pod, "DEL", None).without("CNI_NETNS").run().finished.success();
    lab.node("w1").egretctl("gc").success();
    // Debian's bridge leaves its masquerading rules when the namespace is gone before DEL.
    lab.assert_as_before(&before, &[&KEPT[..], &["nat"]].concat());
}

#[test]
fn a_hundred_pods_at_once_share_one_namespace_and_table() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let before = lab.snapshot();
    let mut pods: Vec<_> =
        (0..100).map(|n| lab.pod("w1", "shop", &format!("cart-{n}")).prepare()).collect();
    std::thread::scope(|scope| {
        for pod in &mut pods {
            scope.spawn(|| pod.add().map(drop).unwrap());
        }
    });
    std::thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| pod.del().unwrap());
        }
    });
    lab.node("w1").egretctl("gc").success();
    lab.assert_as_before(&before, &KEPT);
}

#[test]
fn add_killed_at_any_step_leaves_nothing_after_del_and_gc() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let reading =
        || KEPT.iter().fold(lab.snapshot().and(pod.snapshot()), |s, text| s.without(text));
    let before = reading();
    let faults = at_each_changing_call(|call, number| {
        let add = PluginRun::for_pod(&pod, "ADD", Some(&previous));
        let outcome = add.fault(Fault::Kill, call, number).run();
        PluginRun::for_pod(&pod, "DEL", Some(&previous)).run().finished.success();
        lab.node("w1").egretctl("gc").success();
        let changes = before.changes_to(&reading());
        assert!(changes.is_empty(), "killed at {call} {number}:\n{changes}");
        outcome.interrupted
    });
    assert!(faults > 10, "{faults} faults");
}

//! From the first ADD to the last `egretctl gc`, through the whole chain of plugins: the machine is
//! as before.

use egret_tests::{Families, PluginRun};

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

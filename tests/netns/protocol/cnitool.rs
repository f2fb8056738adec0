//! GC and STATUS as libcni sends them, through a whole chain of plugins that have them.

use egret_tests::{Families, Lab, PluginSet, Pod, Question, egress_ip};
use egret_types::Family;
use serde_json::json;

use crate::world::{self, SHOP};

/// Version 1.1.0 is what has these operations; the conflists that we ship stay at 1.0.0.
fn open() -> Lab {
    let lab = world::builder(Families::Dual).plugins(PluginSet::Newest).start();
    world::open(&lab);
    lab.node("w1").edit_conflist(|list| list["cniVersion"] = json!("1.1.0"));
    lab
}

fn leaves(lab: &Lab, pod: &Pod<'_>) {
    for family in Family::BOTH {
        let seen = pod.who(Question::Tcp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
}

#[test]
fn status_of_a_chain_tells_what_is_wrong_with_ours() {
    let lab = open();
    let pod = lab.add_pod("w1", "shop", "cart");
    leaves(&lab, &pod);
    assert_eq!(pod.cnitool("status").run().success(), "");
    lab.write_resources("30-wrong.yaml", "kind: Nonsense\n");
    let refused = pod.cnitool("status").run();
    assert!(!refused.succeeded() && refused.stderr.contains("30-wrong.yaml"), "{refused}");
    for node in lab.nodes() {
        node.remove_resources("30-wrong.yaml");
    }
    assert_eq!(pod.cnitool("status").run().success(), "");
    pod.del().unwrap();
}

/// cnitool gives no list. libcni calls DEL for what it has cached, so the pod that a plugin's own GC
/// is for is one whose cache is lost.
#[test]
fn gc_of_a_chain_removes_a_pod_of_which_the_runtime_knows_nothing() {
    let lab = open();
    let node = lab.node("w1");
    let (pod, lost) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "shop", "lost"));
    leaves(&lab, &lost);
    let cached = format!("/var/lib/cni/results/{}-{}-eth0", lab.network(), lost.container_id());
    std::fs::remove_file(cached).unwrap();
    lost.destroy_namespace();
    let links = || node.egress_ns().exec("ip -br link show type veth").success();
    let one = || (links().lines().count() == 1).then_some(());
    egret_tests::eventually("its link is gone", std::time::Duration::from_secs(5), one);
    let refused = pod.cnitool("gc").run();
    assert!(!refused.succeeded() && refused.stderr.contains("gcWithoutList"), "{refused}");
    let held = || std::fs::read_dir(node.state_dir().join("holders")).unwrap().count();
    assert_eq!(held(), 1, "the cached one is deleted, the other stays");
    node.set_key("gcWithoutList", true);
    pod.cnitool("gc").run().success();
    assert_eq!(held(), 0);
    let said = node.egretctl("gc").success();
    assert!(said.contains("no attachment is left"), "{said}");
}

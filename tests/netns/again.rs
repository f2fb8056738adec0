//! What runs already must survive a later attempt that fails, and follow one that succeeds; what
//! never ran must leave nothing of an attempt that fails.

use egret_tests::{Families, Lab, PluginRun, Pod, Question, egress_ip, external, resources};
use egret_types::{Family, ours};
use serde_json::{Value, json};

use crate::world::{self, SHOP};

fn attached(lab: &Lab) -> (Pod<'_>, Value) {
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    again(&pod, &previous).run().result();
    (pod, previous)
}

fn again(pod: &Pod<'_>, previous: &Value) -> PluginRun {
    PluginRun::for_pod(pod, "ADD", Some(previous))
}

#[track_caller]
fn leaves_as(lab: &Lab, pod: &Pod<'_>, expected: impl Fn(Family) -> std::net::IpAddr) {
    for family in Family::BOTH {
        let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, expected(family));
    }
}

#[test]
fn a_pod_stays_attached_when_adding_it_again_fails() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = attached(&lab);
    let node = lab.node("w1");
    let result = again(&pod, &previous).run().result();
    let ipam = node.conflist();
    node.set_key("ipam", json!({ "type": "egret-absent" }));
    let (code, sentence) = again(&pod, &previous).run().error();
    assert_eq!(code, 7, "{sentence}");
    node.edit_conflist(|list| *list = ipam);
    leaves_as(&lab, &pod, |family| egress_ip(family, SHOP));
    PluginRun::for_pod(&pod, "CHECK", Some(&result)).run().finished.success();
}

#[test]
fn a_pod_that_is_added_again_follows_the_policies_of_today() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = attached(&lab);
    leaves_as(&lab, &pod, |family| egress_ip(family, SHOP));
    let except = "  except: [\"203.0.113.10/32\", \"2001:db8:ff::10/128\"]\n";
    let policy = resources::policy("shop", "again", "tenants", except);
    lab.write_resources("20-policies.yaml", &policy);
    let result = again(&pod, &previous).run().result();
    leaves_as(&lab, &pod, |family| external(family, 11));
    PluginRun::for_pod(&pod, "CHECK", Some(&result)).run().finished.success();
    let before = pod.snapshot();
    again(&pod, &previous).run().result();
    egret_tests::assert_no_leftovers(&before, &pod.snapshot());
}

#[test]
fn a_first_gateway_up_that_fails_leaves_no_gateway() {
    let lab = world::builder(Families::Dual).start();
    let node = lab.node("g1");
    node.ns().exec("ip link add taken type vxlan id 230 dstport 7790").success();
    let refused = node.egretctl("gateway up").exits(2);
    assert!(refused.stderr.contains("230"), "{refused}");
    assert!(!node.state_dir().join("gateway.json").exists());
    // Control: without the other link it comes up.
    node.ns().exec("ip link del taken").success();
    node.egretctl("gateway up").success();
    assert!(node.state_dir().join("gateway.json").exists());
}

/// The kernel gives the number of a dead namespace out again, and a runtime the path.
#[test]
fn a_dead_pod_whose_namespace_had_the_same_number_is_not_in_the_way() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, previous) = attached(&lab);
    // A second one while the first lives is refused.
    let other = || again(&pod, &previous).variable("CNI_CONTAINERID", "the-next");
    let (code, sentence) = other().run().error();
    assert!(code == 103 && sentence.contains(&pod.container_id()), "{code}: {sentence}");
    // What the end of its namespace takes along.
    pod.ns().ip(&format!("link del {}", ours::POD_LINK));
    other().run().result();
    other().run().result();
    leaves_as(&lab, &pod, |family| egress_ip(family, SHOP));
    // A late DEL of the dead one takes nothing of the other's.
    PluginRun::for_pod(&pod, "DEL", Some(&previous)).run().finished.success();
    leaves_as(&lab, &pod, |family| egress_ip(family, SHOP));
}

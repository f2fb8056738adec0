//! `egretctl pools` and `egretctl leases`: what they tell of pods that come and go, and what
//! `leases release` takes away and what it does not.

use egret_tests::{Families, Finished, Lab, PluginRun, egress_ip, resources};
use egret_types::Family;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world;

fn open(families: Families) -> Lab {
    let lab = world::builder(families).start();
    lab.write_resources("20-policies.yaml", &resources::policy("shop", "all", "tenants", ""));
    lab.node("g1").egretctl("gateway up").success();
    lab.warm_up();
    lab
}

fn ask(lab: &Lab, command: &str, code: i32) -> Finished {
    lab.node("w1").egretctl(command).exits(code)
}

fn listed(lab: &Lab, what: &str) -> Vec<Value> {
    ask(lab, &format!("{what} -o json"), 0).json().as_array().unwrap().clone()
}

fn ip(families: Families, family: Family, index: u8) -> Value {
    families.has(family).then(|| egress_ip(family, index).to_string()).into()
}

#[rstest]
fn a_lease_is_held_by_its_pods_then_retained_then_released(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = open(families);
    assert_eq!(listed(&lab, "leases"), [] as [Value; 0]);
    let (cart, till) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "shop", "till"));
    let lease = &listed(&lab, "leases")[0];
    for (key, value) in [
        ("pool", json!("tenants")),
        ("index", json!(0)),
        ("ipv4", ip(families, Family::V4, 0)),
        ("ipv6", ip(families, Family::V6, 0)),
        ("scope", json!("Namespace")),
        ("key", json!("shop")),
        ("state", json!("held")),
    ] {
        assert_eq!(lease[key], value, "{key}");
    }
    let mut ids: Vec<_> = lease["holders"].as_array().unwrap().iter().collect();
    ids.sort_by_key(|holder| holder["containerID"].as_str());
    let mut pods = [cart.container_id(), till.container_id()];
    pods.sort();
    for (holder, id) in ids.iter().zip(&pods) {
        assert_eq!((&holder["containerID"], &holder["ifname"]), (&json!(id), &json!("eth0")));
        assert!(holder["since"].as_str().unwrap().ends_with('Z'), "{holder}");
    }
    assert_eq!(ids.len(), 2);
    let pool = &listed(&lab, "pools")[0];
    for (key, number) in [("pairs", 10), ("held", 1), ("retained", 0), ("free", 9), ("unpaired", 0)]
    {
        assert_eq!(pool[key], json!(number), "{key}");
    }
    cart.del().unwrap();
    assert_eq!(listed(&lab, "leases")[0]["state"], json!("held"), "the other pod has it");
    till.del().unwrap();
    assert_eq!(listed(&lab, "leases")[0]["state"], json!("retained"));
    assert_eq!(listed(&lab, "pools")[0]["retained"], json!(1));
    ask(&lab, "leases release tenants 0", 0);
    assert_eq!(listed(&lab, "leases"), [] as [Value; 0]);
    assert_eq!(listed(&lab, "pools")[0]["free"], json!(10));
    let again = ask(&lab, "leases release tenants 0", 1);
    assert!(again.stderr.contains("there is no lease on pair 0 of pool tenants"), "{again}");
}

#[test]
fn a_lease_that_a_living_pod_holds_is_not_released_and_the_pod_is_named() {
    let lab = open(Families::Dual);
    let pod = lab.add_pod("w1", "shop", "cart");
    let index = listed(&lab, "leases")[0]["index"].clone();
    let refused = ask(&lab, &format!("leases release tenants {}", egress_ip(Family::V6, 0)), 1);
    assert!(refused.stderr.contains(&pod.container_id()), "{refused}");
    let lease = &listed(&lab, "leases")[0];
    assert_eq!((&lease["state"], &lease["index"]), (&json!("held"), &index));
    pod.check().unwrap();
    // The sandbox died and no DEL came: nobody lives who holds it.
    pod.destroy_namespace();
    let released = ask(&lab, &format!("leases release tenants {}", egress_ip(Family::V6, 0)), 0);
    assert!(released.stdout.contains("does not exist: it holds nothing any more"), "{released}");
    assert_eq!(listed(&lab, "leases"), [] as [Value; 0]);
    // Its DEL comes late, and succeeds; the pair is the next namespace's, whole.
    pod.del().unwrap();
    assert_eq!(listed(&lab, "pools")[0]["free"], json!(10));
}

#[test]
fn a_damaged_record_is_named_and_keeps_its_pair() {
    let lab = open(Families::Dual);
    let pod = lab.add_pod("w1", "shop", "cart");
    pod.del().unwrap();
    let record = lab.node("w1").state_dir().join("leases/001/pairs/00000000.json");
    #[expect(clippy::disallowed_methods, reason = "the damage that the test is about")]
    std::fs::write(&record, "{").unwrap();
    let told = ask(&lab, "leases -o json", 1);
    assert!(told.stderr.contains("00000000.json.corrupt"), "{told}");
    assert_eq!(told.json(), json!([]));
    let pools = ask(&lab, "pools -o json", 1).json();
    assert_eq!((&pools[0]["free"], &pools[0]["closed"]), (&json!(9), &json!(1)));
}

#[test]
fn leases_of_a_pool_that_is_no_longer_in_the_resources_are_named() {
    let lab = open(Families::Dual);
    let node = lab.node("w1");
    let pod = lab.add_pod("w1", "shop", "cart");
    for file in ["20-policies.yaml", "10-defaults.yaml"] {
        node.remove_resources(file);
    }
    let told = ask(&lab, "pools -o json", 1);
    assert!(told.stderr.contains("pool tenants (id 1) has 1 leases"), "{told}");
    assert_eq!(told.json(), json!([]));
    node.write_resources("30-wrong.yaml", "kind: Nonsense\n");
    let told = ask(&lab, "pools", 2);
    assert!(told.stderr.contains("30-wrong.yaml"), "{told}");
    // Whom the pairs belong to can be told without resources.
    let told = ask(&lab, "leases -o json", 1);
    assert!(told.stderr.contains("30-wrong.yaml"), "{told}");
    assert_eq!(told.json()[0]["state"], json!("held"));
    PluginRun::for_pod(&pod, "DEL", None).run().finished.success();
}

//! Resource files that cannot work: what ADD says, with the key and the place.

use egret_tests::{Families, resources};

use super::{DEFAULTS, POLICIES, Scene, defaults, policy, refused};
use crate::world;

/// A change of the defaults, and of the policy; the code; what the sentence must have.
type Resource<'a> = (&'a str, &'a dyn Fn(&str) -> String, String, u64, &'a [&'a str]);

fn replaced<'a>(from: &'a str, to: &'a str) -> impl Fn(&str) -> String + 'a {
    move |text| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1)
    }
}

fn appended(more: String) -> impl Fn(&str) -> String {
    move |text| format!("{text}{more}")
}

/// Each in turn: a change of the files, and what ADD says.
fn all_refused(scene: &Scene<'_>, cases: &[Resource<'_>]) {
    for (name, change, policies, code, words) in cases {
        scene.lab.write_resources(DEFAULTS, &change(&defaults(scene.lab)));
        scene.lab.write_resources(POLICIES, policies);
        scene.refused(name, scene.add(), *code, words);
    }
}

fn same(text: &str) -> String {
    text.to_owned()
}

#[test]
fn nodes_and_networks_that_cannot_work_are_refused_with_the_key_and_the_place() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let guard = replaced("guard: required", "guard: perhaps");
    let mtu = replaced("guard: required\n", "guard: required\n  tunnel: { mtu: 1451 }\n");
    let id = replaced("  id: 12\n", "  id: 11\n");
    let vtep = replaced("172.18.0.12\"", "172.18.0.11\"");
    let v6_only = replaced("vtep: [\"172.18.0.12\", ", "vtep: [");
    let v4_only = replaced(", \"fd00:172:18::11\"]", "]");
    let no_family = |text: &str| v4_only(&v6_only(text));
    let elsewhere = replaced("172.18.0.11\"", "172.18.0.111\"");
    let networks = replaced("\"10.244.0.0/16\", ", "");
    let host_bits = replaced("10.244.0.0/16", "10.244.1.0/16");
    let services = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("serviceCIDRs"));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    all_refused(
        &scene,
        &[
            ("guard", &guard, policy(""), 7, &["guard", "\"perhaps\"", "\"best-effort\""]),
            ("MTU too large", &mtu, policy(""), 7, &["tunnel.mtu 1451", "1500", "1450"]),
            ("one id", &id, policy(""), 7, &["node id 11", "w1", "10-defaults.yaml:"]),
            ("one VTEP", &vtep, policy(""), 7, &["172.18.0.11", "w1"]),
            ("no family", &no_family, policy(""), 7, &["VTEP", "w1", "w2"]),
            ("VTEP elsewhere", &elsewhere, policy(""), 7, &["172.18.0.111", "w1"]),
            ("no way back", &networks, policy(""), 7, &["10.244.11.", "clusterCIDRs"]),
            ("host bits", &host_bits, policy(""), 7, &["10.244.1.0/16", "clusterCIDRs"]),
            ("services", &services, policy(""), 7, &["serviceCIDRs", "partners"]),
        ],
    );
    // With destinations that cannot contain them the services need not be known.
    lab.write_resources(DEFAULTS, &services(&defaults(&lab)));
    lab.write_resources(POLICIES, &policy("  destinations: [\"192.0.2.0/24\"]\n"));
    scene.add().run().result();
}

#[test]
fn pools_gateways_and_policies_that_cannot_work_are_refused_with_the_key_and_the_place() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let members = replaced("members: [\"g1\"]", "members: []");
    let member = replaced("members: [\"g1\"]", "members: [\"g9\"]");
    let pool = |id| resources::pool("second", id, Families::Dual, "");
    let overlapping = appended(pool(2).replace("203.0.113.60", "203.0.113.59"));
    let one_id = appended(pool(1).replace("113.5", "113.7"));
    let twice = appended(resources::gateway("edge", &["g1"]));
    let no_pair = policy("  egressIP: { ipv4: 203.0.113.50, ipv6: \"2001:db8:ff::51\" }\n");
    let no_pool = policy("").replace("tenants", "nobody");
    let wrong_type = policy("  destinations: high\n");
    all_refused(
        &scene,
        &[
            ("typo", &same, policy("  colour: red\n"), 7, &["20-policies.yaml:8", "spec.colour"]),
            ("no YAML", &same, "kind: [\n".to_owned(), 7, &["20-policies.yaml:"]),
            ("wrong type", &same, wrong_type, 7, &["20-policies.yaml:8", "high"]),
            ("no members", &members, policy(""), 7, &["members", "10-defaults.yaml:"]),
            ("unknown member", &member, policy(""), 7, &["g9", "10-defaults.yaml:"]),
            ("overlap", &overlapping, policy(""), 7, &["203.0.113.59", "tenants", "second"]),
            ("pool id", &one_id, policy(""), 7, &["id", "tenants"]),
            ("named twice", &twice, policy(""), 7, &["edge"]),
            ("no pool", &same, no_pool, 7, &["nobody", "spec.pool"]),
            ("later key", &same, policy("  onGatewayLoss: Node\n"), 103, &["spec.onGatewayLoss"]),
            ("later action", &same, policy("  action: Deny\n"), 103, &["spec.action"]),
            ("no pair", &same, no_pair, 101, &["203.0.113.50"]),
        ],
    );
}

#[test]
fn a_pool_without_an_address_left_is_refused_and_the_next_pod_of_its_owner_is_not() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let one = |text: &str| {
        let v4 = text.replace("203.0.113.50-203.0.113.59", "203.0.113.50");
        v4.replace("2001:db8:ff::50-2001:db8:ff::59", "2001:db8:ff::50")
    };
    lab.write_resources(DEFAULTS, &one(&defaults(&lab)));
    let other = resources::policy("billing", "partners", "tenants", "");
    lab.write_resources(POLICIES, &(policy("") + &other));
    lab.add_pod("w1", "billing", "first");
    let before = scene.reading();
    refused("exhausted", scene.add().run(), 100, &["tenants"]);
    assert_eq!(before.changes_to(&scene.reading()), "");
    lab.add_pod("w1", "billing", "second");
    // Only the worker of spec.node hands out addresses.
    let failure = lab.pod("w2", "billing", "third").add().err().unwrap();
    assert!(failure.message.contains("w1"), "{failure}");
}

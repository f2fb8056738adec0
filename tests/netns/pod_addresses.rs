//! `egret-ipam` alone: pod addresses for the reference plugins, as cnitool calls them.

use std::net::IpAddr;

use egret_tests::{
    Families, Lab, MainPlugin, PluginSet, Pod, Question, egress_ip, pod_network, resources,
};
use egret_types::{Family, Prefix};
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{self, SHOP};

/// The pool `pods` with the network of the worker's pods, and as `ipam` of the main plugin the plugin
/// that gives addresses of it.
fn give_addresses(lab: &Lab) {
    let node = lab.node("w1");
    let ranges = lab.families().list().iter().map(|family| {
        let network = pod_network(*family, node.host());
        format!("  {family}: [\"{network}\"]\n")
    });
    let spec: String = ranges.collect();
    lab.write_resources(
        "30-pods.yaml",
        &format!(
            "apiVersion: egret.dev/v1alpha1\nkind: EgressPool\nmetadata: {{ name: pods }}\n\
             spec:\n  id: 9\n  node: w1\n{spec}"
        ),
    );
    let routes: Vec<Value> = lab
        .families()
        .list()
        .iter()
        .map(|family| json!({ "dst": Prefix::all(*family).to_string() }))
        .collect();
    node.edit_conflist(|list| {
        list["plugins"][0]["ipam"] = json!({
            "type": "egret-ipam", "pools": ["pods"], "routes": routes,
            "resourcesDir": node.resources_dir(), "stateDir": node.state_dir(),
            "nodeName": node.name(),
        });
    });
}

fn alone(families: Families, main: MainPlugin) -> Lab {
    let lab = Lab::builder(families)
        .worker("w1")
        .plugins(PluginSet::Newest)
        .main(main)
        .unchained()
        .start();
    give_addresses(&lab);
    lab
}

/// The first host of the worker's network.
fn gateway(lab: &Lab, family: Family) -> IpAddr {
    let network = pod_network(family, lab.node("w1").host());
    family.address(network.range().0 + 1)
}

fn leases(lab: &Lab) -> Vec<Value> {
    let told = lab.node("w1").egretctl("leases -o json").exits(0).json();
    told.as_array().unwrap().iter().filter(|lease| lease["pool"] == "pods").cloned().collect()
}

fn held(lab: &Lab) -> usize {
    leases(lab).iter().filter(|lease| lease["state"] == "held").count()
}

#[rstest]
fn item_81_pods_get_addresses_reach_each_other_and_give_them_back(
    #[values(MainPlugin::Bridge, MainPlugin::Ptp, MainPlugin::Macvlan)] main: MainPlugin,
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values("0.4.0", "1.0.0")] version: &str,
) {
    let lab = alone(families, main);
    lab.node("w1").edit_conflist(|list| list["cniVersion"] = json!(version));
    let (first, second) = (lab.add_pod("w1", "shop", "one"), lab.add_pod("w1", "shop", "two"));
    for family in families.list() {
        let network = pod_network(*family, lab.node("w1").host());
        let [one, two] = [&first, &second].map(|pod| pod.address(*family));
        assert!(one != two && network.contains_address(one) && network.contains_address(two));
        let shown = first.exec("ip -o addr show dev eth0").success();
        assert!(shown.contains(&format!("{one}/{}", network.length())), "{shown}");
        assert!(first.ping(two), "{one} reaches {two}");
        // Macvlan has no end on the node, and the laboratory no router for it.
        assert_eq!(first.ping(gateway(&lab, *family)), main != MainPlugin::Macvlan);
    }
    first.check().unwrap();
    assert_eq!(held(&lab), 2);
    let addresses: Vec<IpAddr> = families.list().iter().map(|f| first.address(*f)).collect();
    first.del().unwrap();
    first.del().unwrap();
    assert_eq!(held(&lab), 1);
    let third = lab.add_pod("w1", "shop", "three");
    for family in families.list() {
        assert!(!addresses.contains(&third.address(*family)), "given again last");
        assert!(third.ping(second.address(*family)));
    }
    second.del().unwrap();
    third.del().unwrap();
    assert_eq!(held(&lab), 0);
}

/// The control of the test before: what host-local gives is none of our leases.
#[test]
fn what_another_plugin_gives_is_no_lease() {
    let lab = alone(Families::Dual, MainPlugin::Bridge);
    lab.node("w1").edit_conflist(|list| {
        list["plugins"][0]["ipam"] = json!({
            "type": "host-local", "dataDir": lab.node("w1").host_local_dir(),
            "ranges": [[{ "subnet": pod_network(Family::V4, lab.node("w1").host()).to_string() }]],
        });
    });
    let pod = lab.add_pod("w1", "shop", "one");
    let told = lab.node("w1").egretctl("leases").exits(2);
    assert!(told.stderr.contains("no \"ipam\" of type \"egret-ipam\""), "{told}");
    assert!(!lab.node("w1").state_dir().exists());
    pod.del().unwrap();
}

fn leaves(lab: &Lab, pod: &Pod<'_>) {
    for family in lab.families().list() {
        let seen = pod.who(Question::Tcp, lab.external_address(*family)).unwrap();
        assert_eq!(seen.address, egress_ip(*family, SHOP));
    }
}

#[rstest]
fn a_pod_with_an_address_of_ours_leaves_from_its_egress_ip(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    give_addresses(&lab);
    let (pod, free) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "other", "free"));
    leaves(&lab, &pod);
    pod.check().unwrap();
    // The control: who is not selected leaves as the node.
    let family = families.list()[0];
    let seen = free.who(Question::Tcp, lab.external_address(family)).unwrap();
    assert_ne!(seen.address, egress_ip(family, SHOP));
    // What removes leftovers leaves both pods' addresses alone.
    let before = leases(&lab);
    lab.node("w1").egretctl("gc").success();
    assert_eq!((leases(&lab), held(&lab)), (before, 2));
    pod.check().unwrap();
    pod.del().unwrap();
    assert_eq!(held(&lab), 1);
    free.del().unwrap();
    assert_eq!(held(&lab), 0);
}

/// containerd never calls GC.
#[test]
fn the_address_of_a_pod_that_died_without_del_is_given_back_by_gc() {
    let lab = alone(Families::Dual, MainPlugin::Bridge);
    let (pod, alive) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "shop", "alive"));
    pod.destroy_namespace();
    assert_eq!(held(&lab), 2);
    let told = lab.node("w1").egretctl("gc").success();
    assert!(told.contains(&pod.container_id()), "{told}");
    assert!(!told.contains(&alive.container_id()), "{told}");
    assert_eq!(held(&lab), 1);
    alive.check().unwrap();
    pod.del().unwrap();
}

#[test]
fn an_egress_policy_cannot_take_pod_addresses() {
    let lab = alone(Families::Dual, MainPlugin::Bridge);
    let policy = resources::policy("shop", "wrong", "pods", "");
    lab.write_resources("40-wrong.yaml", &policy);
    let refused = lab.pod("w1", "shop", "cart").add().map(|_| ()).unwrap_err();
    let (pool, policy) = ("pool pods has no \"gateway\"", "policy shop/wrong");
    assert!(refused.message.contains(pool) && refused.message.contains(policy), "{refused}");
}

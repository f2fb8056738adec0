//! Items 60 and 70 to 81 of the conformance list: the plugin alone, as bridge, ptp and macvlan call it
//! for the addresses of pods.

use std::collections::BTreeSet;
use std::fs;

use rstest::rstest;
use serde_json::{Value, json};

use crate::node::{Answer, Node, call, finish, plugin, start, write};

/// Pools of one family each, of both, and an egress pool.
const RESOURCES: &str = "
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: four }
spec: { id: 1, ipv4: [\"10.9.0.0/29\"], exclude: [\"10.9.0.4\"], quarantine: 0s }
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: six }
spec: { id: 2, ipv6: [\"fd00:9::/125\"], exclude: [\"fd00:9::4\"], quarantine: 0s }
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: both }
spec:
  id: 3
  ipv4: [\"10.9.1.10-10.9.1.13/24\"]
  ipv6: [\"fd00:9:1::10-fd00:9:1::13/64\"]
  gatewayAddresses: [\"10.9.1.254\"]
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: egress }
spec: { id: 4, gateway: edge, ipv4: [\"203.0.113.50\"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressGateway
metadata: { name: edge }
spec: { members: [gw-1], uplink: { interface: ext0 } }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: gw-1 }
spec: { vtep: [\"172.18.0.21\"] }
";

fn node() -> Node {
    Node::new("worker-1", RESOURCES)
}

/// What bridge hands on: its own configuration, the section among it.
fn config(node: &Node, pools: &[&str]) -> Value {
    let mut config = node.config(None);
    config["type"] = json!("bridge");
    config["ipam"]["pools"] = json!(pools);
    config
}

fn run(command: &str, container: &str, config: &Value) -> Answer {
    finish(call(command, container, config))
}

fn add(node: &Node, container: &str, pools: &[&str]) -> Vec<String> {
    addresses(&run("ADD", container, &config(node, pools)))
}

fn addresses(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    assert_eq!(answer.status, 0, "{json}");
    let ips = json["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
}

fn del(node: &Node, container: &str, pools: &[&str]) {
    assert!(run("DEL", container, &config(node, pools)).is_silent_success());
}

/// How many leases some attachment holds, as far as the records say.
fn held(node: &Node) -> usize {
    node.files()
        .iter()
        .filter(|name| name.starts_with("holders/") && !name.contains(".tmp-"))
        .count()
}

#[rstest]
fn item_60_a_pool_that_is_full_is_told() {
    let node = node();
    let status = || {
        let mut config = config(&node, &["six", "four"]);
        config["cniVersion"] = json!("1.1.0");
        run("STATUS", "", &config)
    };
    assert!(status().is_silent_success());
    let mut given = 0;
    while run("ADD", &format!("c{given}"), &config(&node, &["four"])).status == 0 {
        given += 1;
    }
    assert_eq!(given, 4);
    let (code, msg) = status().error();
    assert_eq!(code, 50, "{msg}");
    assert!(msg.contains("pool \"four\" is exhausted"), "{msg}");
    del(&node, "c1", &["four"]);
    assert!(status().is_silent_success());
}

#[test]
fn item_70_add_answers_addresses_in_the_order_of_the_pools() {
    let node = node();
    let mut config = config(&node, &["six", "both"]);
    config["ipam"]["routes"] = json!([
        { "dst": "0.0.0.0/0" },
        { "dst": "192.0.2.0/24", "gw": "10.9.1.7", "mtu": 1400, "advmss": 1300, "priority": 5,
          "table": 7, "scope": 253 },
    ]);
    config["ipam"]["dns"] = json!({ "nameservers": ["10.9.1.53"], "domain": "example.org",
        "search": ["example.org"], "options": ["ndots:2"] });
    let answer = run("ADD", "c1", &config).json();
    assert_eq!(
        answer,
        json!({
            "cniVersion": "1.0.0",
            "ips": [
                { "address": "fd00:9::2/125", "gateway": "fd00:9::1" },
                { "address": "10.9.1.10/24", "gateway": "10.9.1.254" },
                { "address": "fd00:9:1::10/64", "gateway": "fd00:9:1::1" },
            ],
            "routes": config["ipam"]["routes"],
            "dns": config["ipam"]["dns"],
        })
    );
    config["cniVersion"] = json!("0.4.0");
    let answer = run("ADD", "c1", &config).json();
    assert_eq!(
        answer["ips"][0],
        json!({ "version": "6", "address": "fd00:9::2/125", "gateway": "fd00:9::1" })
    );
}

#[test]
fn item_71_when_the_second_family_is_exhausted_nothing_of_the_first_is_lost() {
    let node = node();
    for n in 0..5 {
        add(&node, &format!("six{n}"), &["six"]);
    }
    let (code, msg) = run("ADD", "c1", &config(&node, &["four", "six"])).error();
    assert_eq!(code, 100, "{msg}");
    assert!(msg.contains("\"six\""), "{msg}");
    assert_eq!(held(&node), 5);
    let four: Vec<_> = (0..4).flat_map(|n| add(&node, &format!("four{n}"), &["four"])).collect();
    assert_eq!(four.len(), 4, "all of them are there: {four:?}");
}

#[rstest]
#[case::by_the_runtime(json!({ "runtimeConfig": { "ips": ["10.9.0.5"] } }), "")]
#[case::by_the_runtime_with_length(json!({ "runtimeConfig": { "ips": ["10.9.0.5/29"] } }), "")]
#[case::by_args(json!({ "args": { "cni": { "ips": ["10.9.0.5", "fd00:9::5"] } } }), "")]
#[case::by_cni_args(json!({}), "IP=10.9.0.5")]
#[case::by_cni_args_with_length(json!({}), "IP=10.9.0.5/29,fd00:9::5/125")]
#[case::by_several_at_once(json!({ "runtimeConfig": { "ips": ["fd00:9::5"] } }), "IP=10.9.0.5")]
#[case::twice_the_same(json!({ "runtimeConfig": { "ips": ["10.9.0.5"] } }), "IP=10.9.0.5")]
fn item_72_a_requested_address_is_given(#[case] more: Value, #[case] args: &str) {
    let node = node();
    let mut config = config(&node, &["four", "six"]);
    merge(&mut config, &more);
    let mut program = plugin("ADD", "c1");
    program.env("CNI_ARGS", args);
    let given = addresses(&finish(start(program, &config)));
    assert_eq!(given[0], "10.9.0.5/29");
    let asked = format!("{more}{args}").contains("fd00:9::5");
    assert_eq!(given[1] == "fd00:9::5/125", asked, "{given:?}");
}

fn merge(config: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
}

#[rstest]
#[case::outside("10.9.7.5", 101, "10.9.7.5 is in no range of pool four, six")]
#[case::network("10.9.0.0", 101, "10.9.0.0")]
#[case::gateway("10.9.0.1", 101, "10.9.0.1")]
#[case::broadcast("10.9.0.7", 101, "10.9.0.7")]
#[case::excluded("10.9.0.4", 101, "10.9.0.4")]
#[case::routers_of_v6("fd00:9::", 101, "fd00:9::")]
#[case::taken("10.9.0.2", 101, "10.9.0.2")]
#[case::another_length(
    "10.9.0.5/24",
    101,
    "10.9.0.5 has length 24, and its network is 10.9.0.0/29"
)]
#[case::no_address("10.9.0", 7, "runtimeConfig.ips")]
fn item_72_a_requested_address_that_cannot_be_had_is_named(
    #[case] address: &str,
    #[case] code: u64,
    #[case] text: &str,
) {
    let node = node();
    assert_eq!(add(&node, "first", &["four"]), ["10.9.0.2/29"]);
    let before = node.files();
    let mut config = config(&node, &["four", "six"]);
    config["runtimeConfig"] = json!({ "ips": [address] });
    let (found, msg) = run("ADD", "c1", &config).error();
    assert_eq!(found, code, "{msg}");
    assert!(msg.contains(text), "{msg}");
    let hints = |files: Vec<String>| -> Vec<String> {
        files.into_iter().filter(|name| name.contains(".json")).collect()
    };
    assert_eq!(hints(node.files()), hints(before));
}

#[test]
fn item_72_two_addresses_of_one_family_of_one_pool_are_one_too_many() {
    let node = node();
    let mut config = config(&node, &["four"]);
    config["runtimeConfig"] = json!({ "ips": ["10.9.0.5", "10.9.0.6"] });
    let (code, msg) = run("ADD", "c1", &config).error();
    assert_eq!(code, 101);
    assert!(msg.contains("10.9.0.6 and 10.9.0.5 are both of pool \"four\""), "{msg}");
}

#[rstest]
#[case::v4("four", &["10.9.0.2/29", "10.9.0.3/29", "10.9.0.5/29", "10.9.0.6/29"])]
#[case::v6("six", &["fd00:9::2/125", "fd00:9::3/125", "fd00:9::5/125", "fd00:9::6/125", "fd00:9::7/125"])]
fn item_73_no_address_that_a_pod_cannot_have_is_ever_given(
    #[case] pool: &str,
    #[case] expected: &[&str],
) {
    let node = node();
    let mut given = BTreeSet::new();
    for n in 0..2 * expected.len() {
        let container = format!("c{n}");
        given.extend(add(&node, &container, &[pool]));
        del(&node, &container, &[pool]);
    }
    assert_eq!(given, expected.iter().map(|text| (*text).to_owned()).collect());
}

/// Each call is a process of its own, so the order is in the store.
#[test]
fn item_74_a_released_address_is_given_again_last() {
    let node = node();
    let mut order = Vec::new();
    for n in 0..9 {
        let container = format!("c{n}");
        order.extend(add(&node, &container, &["four"]));
        del(&node, &container, &["four"]);
    }
    let once = ["10.9.0.2/29", "10.9.0.3/29", "10.9.0.5/29", "10.9.0.6/29"];
    for (n, address) in order.iter().enumerate() {
        assert_eq!(address, once[n % 4], "{order:?}");
    }
}

#[rstest]
#[case::cursor("leases/001/cursor", "99999999999")]
#[case::cursor_that_is_empty("leases/001/cursor", "")]
#[case::lease_that_is_empty("leases/001/pairs/00000002.json", "")]
#[case::lease_that_ends_early("leases/001/pairs/00000002.json", "{\"version\":1")]
fn item_75_damage_is_told_and_gives_no_address_to_two(#[case] file: &str, #[case] text: &str) {
    let node = node();
    assert_eq!(add(&node, "c0", &["four"]), ["10.9.0.2/29"]);
    let path = node.state().join(file);
    assert!(path.exists(), "{:?}", node.files());
    write(&path, text);
    let mut given: BTreeSet<String> =
        (1..4).flat_map(|n| add(&node, &format!("c{n}"), &["four"])).collect();
    assert!(!given.contains("10.9.0.2/29"), "{given:?}");
    // Its owner has it still, and the next one after it is gone.
    given.extend(add(&node, "c0", &["four"]));
    assert_eq!(given.len(), 4);
    del(&node, "c0", &["four"]);
    assert_eq!(add(&node, "c9", &["four"]), ["10.9.0.2/29"]);
}

/// Processes at once, each container ADD and DEL in turn, from a pool that just suffices.
#[test]
fn item_76_processes_at_once_never_share_an_address() {
    let node = Node::new(
        "worker-1",
        "apiVersion: egret.dev/v1alpha1\nkind: EgressPool\nmetadata: { name: pods }\n\
         spec: { id: 1, ipv4: [\"10.9.0.0/22\"], quarantine: 0s }\n",
    );
    let (processes, rounds) = (64, 6);
    for round in 0..rounds {
        let name = |n: usize| format!("r{}-c{n}", round % 2);
        let pods = config(&node, &["pods"]);
        let running: Vec<_> = (0..processes).map(|n| call("ADD", &name(n), &pods)).collect();
        let given: Vec<_> =
            running.into_iter().flat_map(|child| addresses(&finish(child))).collect();
        let distinct: BTreeSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), processes, "{given:?}");
        let running: Vec<_> = (0..processes).map(|n| call("DEL", &name(n), &pods)).collect();
        for child in running {
            assert!(finish(child).is_silent_success());
        }
    }
    assert_eq!(held(&node), 0);
}

/// Each call is killed a little later than the one before.
#[test]
fn item_77_a_killed_add_leaves_a_whole_lease_or_none() {
    let node = Node::new(
        "worker-1",
        "apiVersion: egret.dev/v1alpha1\nkind: EgressPool\nmetadata: { name: pods }\n\
         spec: { id: 1, ipv4: [\"10.9.0.0/25\"], quarantine: 0s }\n",
    );
    let pods = config(&node, &["pods"]);
    let mut killed = 0;
    for n in 0..100_u32 {
        let mut child = call("ADD", &format!("c{n}"), &pods);
        std::thread::sleep(std::time::Duration::from_micros(60) * n);
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
    }
    assert!(killed > 10, "only {killed} were killed before their end");
    let again = |n: u32| add(&node, &format!("c{n}"), &["pods"]);
    let given: BTreeSet<_> = (0..100).flat_map(again).collect();
    assert_eq!(given.len(), 100);
    for n in 0..100 {
        del(&node, &format!("c{n}"), &["pods"]);
    }
    assert_eq!(held(&node), 0);
    // None of the 125 is lost.
    let all: BTreeSet<_> = (0..125).flat_map(|n| add(&node, &format!("d{n}"), &["pods"])).collect();
    assert_eq!(all.len(), 125);
}

#[rstest]
#[case::overlap_within("ipv4: [\"10.8.0.0/24\", \"10.8.0.9-10.8.0.9/24\"]", "overlaps")]
#[case::overlap_between("ipv4: [\"10.9.0.0/24\"]", "of pool four")]
#[case::families("ipv4: [\"fd00:8::/64\"]", "is ipv6, wanted ipv4")]
#[case::mixed(
    "ipv4: [\"10.8.0.1-fd00:8::1/24\"]",
    "begins in one address family and ends in the other"
)]
#[case::host_bits("ipv4: [\"10.8.0.1/24\"]", "has host bits set; the network is 10.8.0.0/24")]
#[case::too_small("ipv4: [\"10.8.0.0/31\"]", "10.8.0.0/31 is too small")]
#[case::inverted(
    "ipv4: [\"10.8.0.9-10.8.0.1/24\"]",
    "ends before it begins; did you mean 10.8.0.1-10.8.0.9?"
)]
#[case::outside("ipv4: [\"10.8.0.9-10.8.1.1/24\"]", "does not lie in one network of length 24")]
#[case::no_length("ipv4: [\"10.8.0.9-10.8.0.11\"]", "has no prefix length")]
fn item_78_a_range_that_cannot_be_is_refused_with_the_reason(
    #[case] ranges: &str,
    #[case] reason: &str,
) {
    let node = node();
    let more = "---\napiVersion: egret.dev/v1alpha1\nkind: EgressPool\nmetadata: { name: wrong }\n";
    node.set_resources(&format!("{RESOURCES}{more}spec: {{ id: 9, {ranges} }}\n"));
    let (code, msg) = run("ADD", "c1", &config(&node, &["four"])).error();
    assert_eq!(code, 7, "{msg}");
    assert!(msg.contains(reason) && msg.contains("all.yaml:"), "{msg}");
    assert!(!node.state().exists());
}

#[rstest]
#[case::an_unknown_pool("pools", json!(["fuor"]), 7, "no resource defines pool \"fuor\"")]
#[case::no_pool("pools", json!([]), 7, "\"ipam.pools\" is empty")]
#[case::no_list("pools", json!("four"), 7, "\"ipam.pools\" is \"four\"")]
#[case::twice("pools", json!(["four", "four"]), 7, "names pool \"four\" twice")]
#[case::egress_ips("pools", json!(["egress"]), 7, "pool \"egress\" of key \"ipam.pools\" has gateway \"edge\"")]
#[case::scope("scope", json!("Namespace"), 2, "\"ipam.scope\" is \"Namespace\"")]
#[case::routes("routes", json!([{ "dst": "nowhere" }]), 7, "\"ipam.routes\"")]
#[case::dns("dns", json!(7), 7, "\"ipam.dns\"")]
#[case::requests("requests", json!([]), 2, "\"ipam.requests\" is [] and \"ipam.pools\" is there as well")]
fn item_78_a_key_that_is_wrong_is_refused_by_its_name(
    #[case] key: &str,
    #[case] value: Value,
    #[case] code: u64,
    #[case] text: &str,
) {
    let node = node();
    let mut config = config(&node, &["four"]);
    config["ipam"][key] = value;
    let (found, msg) = run("ADD", "c1", &config).error();
    assert_eq!(found, code, "{msg}");
    assert!(msg.contains(text), "{msg}");
    // DEL does not fail for it.
    assert!(run("DEL", "c1", &config).is_silent_success());
}

#[test]
fn item_79_a_namespace_that_a_pool_does_not_name_gets_nothing() {
    let node = node();
    node.set_resources(&RESOURCES.replace("{ id: 1,", "{ id: 1, namespaces: { names: [shop] },"));
    let add = |namespace: &str, container: &str| {
        let mut program = plugin("ADD", container);
        program.env(
            "CNI_ARGS",
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=x"),
        );
        finish(start(program, &config(&node, &["four"])))
    };
    assert_eq!(addresses(&add("shop", "c1")), ["10.9.0.2/29"]);
    let (code, msg) = add("other", "c2").error();
    assert_eq!(code, 102, "{msg}");
    assert!(msg.contains("\"other\"") && msg.contains("\"four\""), "{msg}");
    assert_eq!(
        run("ADD", "c3", &config(&node, &["four"])).error().0,
        102,
        "nobody knows whose it is"
    );
    let mut config = config(&node, &["four"]);
    config["cniVersion"] = json!("1.1.0");
    assert!(run("STATUS", "", &config).is_silent_success());
}

#[test]
fn item_80_add_again_answers_the_same_and_another_interface_is_another_attachment() {
    let node = node();
    let config = config(&node, &["four", "both"]);
    let first = run("ADD", "c1", &config);
    assert_eq!(run("ADD", "c1", &config), first);
    let mut second = plugin("ADD", "c1");
    second.env("CNI_IFNAME", "net1");
    let second = addresses(&finish(start(second, &config)));
    assert!(second.iter().all(|address| !addresses(&first).contains(address)), "{second:?}");
    let mut del = plugin("DEL", "c1");
    del.env("CNI_IFNAME", "net1");
    assert!(finish(start(del, &config)).is_silent_success());
    assert!(run("CHECK", "c1", &config).is_silent_success());
    assert_eq!(held(&node), 1);
}

/// The container that has an egress pair by the chained plugin has its address by the main one.
#[test]
fn item_81_an_attachment_has_its_address_and_its_egress_pair_apart() {
    let node = node();
    let pods = config(&node, &["both"]);
    let given = addresses(&run("ADD", "c1", &pods));
    let requests = json!([{ "pool": "egress", "scope": "Namespace", "key": "shop",
                            "namespace": "shop", "ordinal": 0 }]);
    let egress = node.config(Some(&requests));
    assert_eq!(addresses(&run("ADD", "c1", &egress)), ["203.0.113.50/32"]);
    assert_eq!(held(&node), 2);
    // The chain goes backwards: ours first.
    assert!(run("DEL", "c1", &egress).is_silent_success());
    assert!(run("CHECK", "c1", &pods).is_silent_success());
    assert_eq!(addresses(&run("ADD", "c1", &pods)), given);
    assert!(run("DEL", "c1", &pods).is_silent_success());
    assert_eq!(run("CHECK", "c1", &pods).error().0, 111);
    assert_eq!(held(&node), 0);
}

#[test]
fn gc_frees_what_the_runtime_does_not_have_and_whose_namespace_is_gone() {
    let node = node();
    let mut config = config(&node, &["four"]);
    config["cniVersion"] = json!("1.1.0");
    let dead = node.state().with_file_name("dead");
    write(&dead, "");
    let mut program = plugin("ADD", "dead");
    program.env("CNI_NETNS", &dead);
    addresses(&finish(start(program, &config)));
    add(&node, "alive", &["four"]);
    fs::remove_file(&dead).unwrap();
    config["cni.dev/valid-attachments"] = json!([]);
    assert!(run("GC", "", &config).is_silent_success());
    assert_eq!(held(&node), 1, "that of the namespace that lives");
    assert!(run("CHECK", "alive", &config).is_silent_success());
    // GC of the chained plugin's delegate is about egress pairs.
    let mut egress = node.config(Some(&json!([])));
    egress["cniVersion"] = json!("1.1.0");
    egress["cni.dev/valid-attachments"] = json!([]);
    assert!(run("GC", "", &egress).is_silent_success());
    assert_eq!(held(&node), 1);
}

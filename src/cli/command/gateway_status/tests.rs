//! Counters in, answer out: resources and readings that are made up.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egret_egress::desired::{GatewayFacts, UplinkFacts, gateway};
use egret_egress::topology::Topology;
use egret_kernel::{Counter, LinkState, Statistics};
use egret_resources::{Resources, SourceFile};
use egret_types::{DualStack, LinkName, NodeId, NodeName};

use super::assemble::{Facts, Role, status};
use super::reading::Reading;
use super::value::{Count, Fill, Here, ParentState, Sources, Status};
use crate::role::GatewayRecord;

const RESOURCES: &str = r#"
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: w1 }
spec: { vtep: ["172.18.0.11"], id: 11, podCIDRs: ["10.244.11.0/24"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: g1 }
spec: { vtep: ["172.18.0.21"], id: 21 }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: g2 }
spec: { vtep: ["172.18.0.22"], id: 22 }
---
apiVersion: egret.dev/v1alpha1
kind: EgressGateway
metadata: { name: edge }
spec: { members: [g1, g2], uplink: { interface: ext0 } }
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: tenants }
spec: { id: 1, gateway: edge, ipv4: ["203.0.113.50-203.0.113.51"], ipv6: ["2001:db8::50-2001:db8::51"], node: w1 }
"#;

const FIRST: u32 = 0x0100_0000;
const SECOND: u32 = 0x0100_0001;

fn resources() -> Resources {
    let file = SourceFile { name: "all.yaml".into(), text: RESOURCES.into() };
    egret_resources::parse(&[file]).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pair(host: &str) -> DualStack<IpAddr> {
    DualStack {
        v4: Some(address(&format!("203.0.113.{host}"))),
        v6: Some(address(&format!("2001:db8::{host}"))),
    }
}

/// A gateway without traffic: all that the files say is there.
fn reading() -> Reading {
    let mut reading = Reading::default();
    reading.sent.insert(FIRST, (pair("50"), Count::default()));
    reading.sent.insert(SECOND, (pair("51"), Count::default()));
    for id in [11, 21, 22] {
        reading.frames.insert(NodeId::try_from(id).unwrap().mac(), Count::default());
    }
    reading.conntrack = Some(Fill { count: 0, max: 1000 });
    reading.uplink.parent = Some(LinkState::Up);
    for (_, address) in pair("50").iter().chain(pair("51").iter()) {
        let length = if address.is_ipv4() { 32 } else { 128 };
        reading.uplink.addresses.push((*address, length));
    }
    reading.uplink.next_hops = ["203.0.113.1", "2001:db8::1"].map(address).into();
    reading
}

fn told_to(node: &str, role: Role, reading: &Reading) -> Status {
    let (name, parent): (NodeName, LinkName) = (node.parse().unwrap(), "ext0".parse().unwrap());
    let resources = resources();
    let facts =
        Facts { resources: &resources, node: &name, role, parent: Some(&parent), shares: None };
    status(&facts, reading)
}

fn told(reading: &Reading) -> Status {
    told_to("g1", Role::Up, reading)
}

/// The one problem there is.
#[track_caller]
fn problem(reading: &Reading) -> String {
    let problems = told(reading).problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.concat()
}

fn counter(chain: &str, rule: usize, packets: u64) -> Counter {
    Counter { chain: chain.into(), rule, packets, bytes: 100 * packets }
}

#[test]
fn a_gateway_without_traffic_has_no_problem() {
    let status = told(&reading());
    assert_eq!(status.problems, [""; 0]);
    assert_eq!(status.gateways[0].here, Here::Owner);
    assert!(status.drops.iter().all(|drop| drop.packets == 0));
    assert!(status.pairs.iter().all(|pair| !pair.is_used()));
    let reasons: BTreeSet<&str> = status.drops.iter().map(|drop| drop.reason).collect();
    assert_eq!(reasons.len(), status.drops.len(), "each reason once");
}

#[test]
fn every_number_is_at_its_pair_and_its_node() {
    let count = |packets, bytes| Count { packets, bytes };
    let mut reading = reading();
    reading.sent.insert(SECOND, (pair("51"), count(7, 700)));
    reading.received.insert(SECOND, count(6, 600));
    reading.flows.extend([(SECOND, 5), (0, 99)]);
    reading.over_share.insert(SECOND, 4);
    reading.frames.insert(NodeId::try_from(11).unwrap().mac(), count(3, 300));
    reading.counters.frames =
        vec![counter("node-11", 2, 2), counter("node-1", 2, 50), counter("gateway", 1, 60)];
    let status = told(&reading);
    let [idle, used] = &status.pairs[..] else { panic!("{status:#?}") };
    assert!(!idle.is_used() && used.is_used());
    assert_eq!((used.identity.as_str(), used.index), ("01000001", 1));
    assert_eq!(used.pool.as_deref(), Some("tenants"));
    assert_eq!([used.ipv4, used.ipv6], [pair("51").v4, pair("51").v6]);
    assert_eq!((used.sent, used.received), (count(7, 700), count(6, 600)));
    assert_eq!((used.flows, used.over_share), (5, 4));
    let worker = status.nodes.iter().find(|node| node.name == "w1").unwrap();
    assert_eq!((worker.frames, worker.refused), (count(3, 300), 2));
    assert_eq!(worker.sources, Sources::Checked);
    let other = status.nodes.iter().find(|node| node.name == "g2").unwrap();
    assert_eq!((other.frames, other.refused, other.sources), (count(0, 0), 0, Sources::Any));
    assert_eq!(status.problems, [""; 0], "what is over is in the table alone");
}

#[test]
fn every_reason_has_its_counter() {
    let mut reading = reading();
    let counters = &mut reading.counters;
    counters.guard = vec![
        counter("input", 0, 1000),
        counter("input", 1, 2000),
        counter("input", 2, 1),
        counter("forward", 0, 2),
        counter("output", 0, 3),
    ];
    counters.frames = vec![
        counter("egret0", 2, 4),
        counter("gateway", 1, 5),
        counter("node-11", 2, 6),
        counter("frame", 2, 7),
        counter("out", 3, 8),
        counter("back", 2, 9),
    ];
    counters.packets = vec![
        counter("invalid", 0, 10),
        counter("unknown", 0, 11),
        counter("foreign-flow", 0, 12),
        counter("over-share", 1, 13),
        counter("forward", 2, 14),
        counter("post", 2, 15),
        counter("leaving", 2, 16),
        counter("input", 4, 17),
    ];
    counters.conntrack =
        Statistics { dropped: 18 + 19, evicted: 1, insert_failed: 19 + 20, chain_too_long: 20 };
    let status = told(&reading);
    assert_eq!(status.tunnel.accepted, 3000);
    let mut told: Vec<(u64, &str)> = status.drops.iter().map(|d| (d.packets, d.reason)).collect();
    told.sort_unstable();
    let wanted = [
        "tunnelStranger",
        "tunnelFromPod",
        "tunnelFromProcess",
        "frameToNobody",
        "unknownNode",
        "foreignSource",
        "neitherFamily",
        "frameToUnknown",
        "answerOfNoNode",
        "invalid",
        "unknownIdentity",
        "notMyFlow",
        "overShare",
        "notForwarded",
        "noEgressIp",
        "fence",
        "toEgressIp",
        "tableFull",
        "snatClash",
        "chainTooLong",
    ];
    assert_eq!(told, (1..).zip(wanted).collect::<Vec<(u64, &str)>>());
    assert_eq!(status.problems, [""; 0], "what is over is in the table alone");
}

#[test]
fn who_serves_and_who_should_are_told_apart() {
    let serving = reading();
    let mut idle = reading();
    idle.sent.clear();
    let cases = [
        ("g1", Role::Up, &serving, Here::Owner, ""),
        ("g2", Role::Up, &serving, Here::Taken, "the files give them to g1"),
        ("g1", Role::Down, &idle, Here::Missing, "serves none of its egress IPs"),
        ("g2", Role::Down, &idle, Here::Standby, ""),
    ];
    for (node, role, reading, here, problem) in cases {
        let status = told_to(node, role, reading);
        assert_eq!(status.gateways[0].here, here, "{node} {role:?}");
        assert_eq!(status.gateways[0].owner, "g1");
        let told = status.problems.concat();
        assert!(told.contains(problem) && told.is_empty() == problem.is_empty(), "{here:?} {told}");
    }
}

#[test]
fn a_node_of_no_gateway_that_serves_is_told_to_go_down() {
    let problems = told_to("w1", Role::Up, &reading()).problems;
    let wanted = "this node serves 2 egress pairs, and is member of no gateway in the files; see egretctl gateway down";
    assert_eq!(problems, [wanted]);
}

#[test]
fn gateway_up_is_not_advised_where_nothing_is_to_be_served() {
    let (name, text): (NodeName, _) = ("g1".parse().unwrap(), RESOURCES.split("---\n"));
    let without: Vec<&str> = text.filter(|document| !document.contains("EgressPool")).collect();
    let file = SourceFile { name: "all.yaml".into(), text: without.join("---\n") };
    let resources = egret_resources::parse(&[file]).unwrap();
    let of = |role| Facts { resources: &resources, node: &name, role, parent: None, shares: None };
    let mut reading = reading();
    let up = status(&of(Role::Up), &reading).problems.join("\n");
    assert!(up.contains("of no gateway of this node; see egretctl gateway down"), "{up}");
    reading.sent.clear();
    let down = status(&of(Role::Down), &reading).problems;
    assert!(down.len() == 1 && down[0].contains("no pool of the files is behind it"), "{down:?}");
    assert!(
        !up.contains("see egretctl gateway up") && !down[0].contains("see egretctl gateway up")
    );
}

#[test]
fn what_is_served_is_compared_with_the_files() {
    let mut fewer = reading();
    fewer.sent.remove(&SECOND);
    assert!(problem(&fewer).contains("edge: 1 egress pairs of the files are not served"));
    let mut more = reading();
    more.sent.insert(0x0200_0000, (pair("60"), Count::default()));
    assert!(problem(&more).contains("1 egress pairs are served here that are of no gateway"));
    assert_eq!(told(&more).pairs[2].pool, None);
    let mut node = reading();
    let (known, stranger) = (NodeId::try_from(11).unwrap(), NodeId::try_from(12).unwrap());
    node.frames.remove(&known.mac());
    assert!(problem(&node).contains("node w1: its frames are not taken"));
    let mut node = reading();
    node.frames.insert(stranger.mac(), Count::default());
    assert!(problem(&node).contains("frames from 06:e6:00:00:00:0c are taken"));
}

#[test]
fn an_uplink_that_leads_nowhere_is_named() {
    let states = [
        (Some(LinkState::NoCarrier), ParentState::NoCarrier, "ext0 has no carrier"),
        (Some(LinkState::Down), ParentState::Down, "ext0 is down"),
        (None, ParentState::Missing, "ext0 does not exist"),
    ];
    for (found, state, text) in states {
        let mut reading = reading();
        reading.uplink.parent = found;
        assert_eq!(told(&reading).uplink.state, state);
        assert!(problem(&reading).contains(text), "{text}");
    }
    let mut reading = reading();
    reading.uplink.next_hops.remove(&address("2001:db8::1"));
    assert!(problem(&reading).contains("no ipv6 next hop"));
    // Nobody needs a next hop of a family that no pair has.
    for (pair, _) in reading.sent.values_mut() {
        pair.v6 = None;
    }
    assert_eq!(told(&reading).problems, [""; 0]);
}

#[test]
fn own_addresses_of_the_uplink_are_told_from_egress_addresses() {
    let mut reading = reading();
    reading.uplink.addresses.push((address("203.0.113.9"), 24));
    let uplink = told(&reading).uplink;
    assert_eq!((uplink.addresses, uplink.egress_addresses), (vec!["203.0.113.9/24".into()], 4));
}

#[test]
fn a_table_is_nearly_full_above_nine_tenths() {
    let mut reading = reading();
    reading.conntrack = Some(Fill { count: 900, max: 1000 });
    assert_eq!(told(&reading).problems, [""; 0]);
    reading.conntrack = Some(Fill { count: 901, max: 1000 });
    assert!(problem(&reading).contains("nearly full: 901 of 1000"));
}

#[test]
fn new_flows_that_are_dropped_while_one_looks_are_a_problem() {
    let mut full = reading();
    full.growth.table_full = 18;
    assert!(problem(&full).contains("is full: 18 packets of new flows dropped now"));
    let mut over = reading();
    over.flows.insert(SECOND, 5);
    over.growth.over_share.insert(SECOND, 4);
    let told = problem(&over);
    assert!(told.contains("pair 1 of pool tenants is over its share"), "{told}");
    assert!(told.contains("4 packets of new flows dropped now, 5 flows"), "{told}");
}

#[test]
fn shares_of_a_table_of_another_size_are_named() {
    let (name, resources): (NodeName, _) = ("g1".parse().unwrap(), resources());
    let problems = |shares| {
        let facts =
            Facts { resources: &resources, node: &name, role: Role::Up, parent: None, shares };
        status(&facts, &reading()).problems.concat()
    };
    assert_eq!([problems(None), problems(Some(1000))], ["", ""]);
    let told = "nf_conntrack_max is now 1000, shares were made for 2000; see egretctl gateway up";
    assert_eq!(problems(Some(2000)), told);
}

/// The name of the set is all that says it: nobody else writes the size down.
#[test]
fn the_record_of_a_gateway_tells_for_which_table_shares_were_made() {
    let (name, resources): (NodeName, _) = ("g1".parse().unwrap(), resources());
    let topology = Topology::of(&resources, &name).unwrap();
    let facts = GatewayFacts {
        node: topology.node_facts(1500).unwrap(),
        peers: topology.peers().unwrap(),
        pods: topology.pod_networks(),
        uplink: UplinkFacts {
            parent: "ext0".parse().unwrap(),
            addresses: vec![],
            connected: vec![],
            next_hops: vec![address("203.0.113.1")],
        },
        pairs: vec![],
        flows: 65_000,
    };
    let record = GatewayRecord { objects: gateway(&facts) };
    assert_eq!(super::share_of(&record), Some(65_000));
    assert_eq!(super::share_of(&GatewayRecord::default()), None);
}

#[test]
fn the_json_form_has_these_keys() {
    let json = serde_json::to_value(told(&reading())).unwrap();
    let keys = |value: &serde_json::Value| {
        let object = value.as_object().unwrap();
        object.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        keys(&json),
        "node up gateways uplink conntrack pairs nodes tunnel drops blockedFlows problems"
    );
    assert_eq!(keys(&json["gateways"][0]), "name owner here members pools");
    assert_eq!(keys(&json["uplink"]), "parent state addresses egressAddresses nextHops");
    assert_eq!(keys(&json["conntrack"]), "count max");
    assert_eq!(
        keys(&json["pairs"][0]),
        "identity pool index ipv4 ipv6 sent received flows overShare"
    );
    assert_eq!(keys(&json["pairs"][0]["sent"]), "packets bytes");
    assert_eq!(keys(&json["nodes"][0]), "name id frames sources refused");
    assert_eq!(keys(&json["drops"][0]), "reason packets meaning");
    assert_eq!(json["gateways"][0]["here"], "owner");
    assert_eq!(json["uplink"]["state"], "up");
}

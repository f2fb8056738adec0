//! Other plugins in the chain, before ours and behind it: cnitool runs the whole list with the real
//! plugins. Each of them does its work, the pod leaves from its egress IP, and DEL leaves nothing.

use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{
    Client, ECHO_PORT, Families, Lab, MainPlugin, Node, PluginRun, PluginSet, Pod, Question,
    Snapshot, egress_ip, external, resources, underlay,
};
use egret_types::Family;
use rstest::rstest;
use serde_json::{Value, json};

use crate::hygiene::Outside;
use crate::pod_guard::set_guard;
use crate::world::SHOP;

const HOST_PORT: u16 = 8088;

/// What tuning gives to the pod's link.
const MAC: &str = "0a:58:0a:f4:0b:63";

/// A plugin that stands in the chain beside the main one and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Bandwidth,
    Firewall,
    Portmap,
    Sbr,
    Tuning,
}

impl Other {
    fn object(self) -> Value {
        match self {
            Other::Bandwidth => json!({
                "type": "bandwidth", "ingressRate": 50_000_000, "ingressBurst": 5_000_000,
                "egressRate": 50_000_000, "egressBurst": 5_000_000
            }),
            Other::Firewall => json!({ "type": "firewall", "backend": "iptables" }),
            Other::Portmap => {
                json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true })
            }
            Other::Sbr => json!({ "type": "sbr" }),
            Other::Tuning => json!({
                "type": "tuning", "mac": MAC, "sysctl": { "net.core.somaxconn": "500" }
            }),
        }
    }

    /// Whether it has done its work, read where it does it.
    fn is_at_work(self, pod: &Pod<'_>) -> bool {
        let node = pod.node().ns();
        let rules = || {
            let tables = ["iptables-save", "ip6tables-save", "nft list ruleset"];
            tables.map(|line| node.exec(line).stdout).concat()
        };
        match self {
            Other::Bandwidth => node.exec("tc qdisc show").success().contains("tbf"),
            Other::Firewall => rules().contains(&format!("-d {}/32", pod.address(Family::V4))),
            Other::Portmap => rules().contains("8088"),
            Other::Sbr => pod.exec("ip rule show").stdout.contains("lookup 100"),
            Other::Tuning => pod.exec("ip link show eth0").stdout.contains(MAC),
        }
    }

    /// CHECK of Debian's portmap does not find its own IPv6 rules again; sbr takes the route that
    /// CHECK of the main plugin looks for.
    fn has_check(self, plugins: PluginSet) -> bool {
        self != Other::Sbr && (self, plugins) != (Other::Portmap, PluginSet::Debian)
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeOurs,
    BehindOurs,
}

impl Place {
    fn put(self, object: Value, node: &Node) {
        node.edit_conflist(|list| {
            let all = list["plugins"].as_array_mut().unwrap();
            match self {
                Place::BeforeOurs => all.insert(1, object),
                Place::BehindOurs => all.push(object),
            }
        });
    }
}

/// One worker and a gateway, with another plugin in the worker's chain.
fn chained((main, plugins): Set, other: Other, place: Place) -> Lab {
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").main(main).plugins(plugins);
    let lab = lab.start();
    let pair = resources::egress_pair(SHOP, Families::Dual);
    let policy = resources::policy("shop", "partners", "tenants", &pair);
    lab.write_resources("20-policies.yaml", &policy);
    lab.node("g1").egretctl("gateway up").success();
    place.put(other.object(), lab.node("w1"));
    lab
}

/// A pod of this namespace, with what a runtime says of its ports.
fn prepared<'lab>(lab: &'lab Lab, namespace: &str, name: &str) -> Pod<'lab> {
    let mapping = |protocol: &str| json!({ "hostPort": HOST_PORT, "containerPort": ECHO_PORT, "protocol": protocol });
    let ports = json!({ "portMappings": [mapping("tcp"), mapping("udp")] });
    lab.pod("w1", namespace, name).capabilities(&ports).prepare()
}

#[track_caller]
fn leaves_from(lab: &Lab, pod: &Pod<'_>, from: impl Fn(Family) -> IpAddr) {
    for family in Family::BOTH {
        for question in [Question::Tcp, Question::Udp] {
            let seen = pod.who(question, lab.external_address(family)).unwrap();
            assert_eq!(seen.address, from(family), "{question:?}");
        }
    }
}

/// What no policy takes goes by the pod's primary link.
#[track_caller]
fn reaches_its_node(pod: &Pod<'_>) {
    for family in Family::BOTH {
        // sbr routes by source: a socket that has none yet would find no route.
        let (from, to) = (pod.address(family), underlay(family, 11));
        pod.exec(&format!("ping -n -c1 -W2 -I {from} {to}")).success();
    }
}

/// Leases stay by design; directories and locks are no state.
const KEPT: [&str; 3] = ["/state/leases/", "directory ", "/run/"];

/// All that there is after a first pod has gone: what other plugins make once and keep. The pod is
/// the control, too: nothing selects it.
fn with_what_stays(lab: &Lab, other: Other) -> Snapshot {
    let mut plain = prepared(lab, "other", "plain");
    plain.add().unwrap();
    // A socket without a source finds no route where only sbr has made some.
    if other != Other::Sbr {
        leaves_from(lab, &plain, |family| external(family, 11));
    }
    plain.del().unwrap();
    plain.destroy_namespace();
    lab.snapshot()
}

/// DEL, and ours again: neither the pod's namespace nor the node shows that there was an attachment.
#[track_caller]
fn goes_without_a_trace(
    lab: &Lab,
    pod: &Pod<'_>,
    other: Other,
    (node, bare): (&Snapshot, &Snapshot),
) {
    pod.del().unwrap();
    assert!(!other.is_at_work(pod));
    // Ours alone: Debian's sbr does not end twice.
    PluginRun::for_pod(pod, "DEL", Some(pod.result())).run().finished.success();
    assert_eq!(bare.changes_to(&pod.snapshot()), "");
    pod.destroy_namespace();
    lab.node("w1").egretctl("gc").success();
    lab.assert_as_before(node, &KEPT);
}

/// The main plugin and whose build: each with the other's in the other's place would tell no more.
type Set = (MainPlugin, PluginSet);

#[rstest]
#[case::bandwidth_before(Other::Bandwidth, Place::BeforeOurs)]
#[case::bandwidth_behind(Other::Bandwidth, Place::BehindOurs)]
#[case::firewall_before(Other::Firewall, Place::BeforeOurs)]
#[case::firewall_behind(Other::Firewall, Place::BehindOurs)]
#[case::portmap_before(Other::Portmap, Place::BeforeOurs)]
#[case::portmap_behind(Other::Portmap, Place::BehindOurs)]
#[case::sbr_before(Other::Sbr, Place::BeforeOurs)]
#[case::tuning_before(Other::Tuning, Place::BeforeOurs)]
#[case::tuning_behind(Other::Tuning, Place::BehindOurs)]
fn another_plugin_does_its_work_and_the_pod_leaves_from_its_egress_ip(
    #[values((MainPlugin::Bridge, PluginSet::Debian), (MainPlugin::Ptp, PluginSet::Newest))]
    set: Set,
    #[case] other: Other,
    #[case] place: Place,
) {
    let lab = chained(set, other, place);
    let before = with_what_stays(&lab, other);
    let outside = Outside::watch(&lab);
    let mut pod = prepared(&lab, "shop", "cart");
    let bare = pod.snapshot();
    pod.add().unwrap();
    assert!(other.is_at_work(&pod));
    leaves_from(&lab, &pod, |family| egress_ip(family, SHOP));
    reaches_its_node(&pod);
    PluginRun::for_pod(&pod, "CHECK", Some(pod.result())).run().finished.success();
    if other.has_check(set.1) {
        pod.check().unwrap();
    }
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    goes_without_a_trace(&lab, &pod, other, (&before, &bare));
}

/// sbr's rules come to stand before those that the namespace has, whoever made them: what has the
/// pod's address as source is led past ours, and the guard does not let it out.
#[rstest]
fn behind_ours_sbr_leads_past_it_and_nothing_gets_out(
    #[values((MainPlugin::Bridge, PluginSet::Debian), (MainPlugin::Ptp, PluginSet::Newest))]
    set: Set,
) {
    let lab = chained(set, Other::Sbr, Place::BehindOurs);
    let before = with_what_stays(&lab, Other::Sbr);
    let outside = Outside::watch(&lab);
    let mut pod = prepared(&lab, "shop", "cart");
    let bare = pod.snapshot();
    pod.add().unwrap();
    // Over IPv4 a socket takes its route anew once it has a source, over IPv6 it does not.
    let patience = Duration::from_millis(500);
    let client = Client { patience, ..Client::new(lab.external_address(Family::V4)) };
    for question in [Question::Tcp, Question::Udp] {
        pod.ask(&client, question).unwrap_err();
    }
    for family in Family::BOTH {
        let (from, to) = (pod.address(family), lab.external_address(family));
        assert!(!pod.exec(&format!("ping -n -c1 -W1 -I {from} {to}")).succeeded());
        // Another node's, which ends the watch: all of the pod's would have been seen before it.
        lab.node("g1").ns().who(Question::Udp, to).unwrap();
    }
    reaches_its_node(&pod);
    outside.saw_exactly(Family::BOTH.map(|family| external(family, 21)));
    goes_without_a_trace(&lab, &pod, Other::Sbr, (&before, &bare));
    // Control: it was the guard.
    set_guard(&lab, "off");
    let mut pod = prepared(&lab, "shop", "unguarded");
    pod.add().unwrap();
    assert_eq!(pod.ask(&client, Question::Tcp).unwrap().address, external(Family::V4, 11));
}

#[rstest]
fn a_host_port_is_answered_from_the_nodes_address(
    #[values((MainPlugin::Bridge, PluginSet::Debian), (MainPlugin::Ptp, PluginSet::Newest))]
    set: Set,
    #[values(Place::BeforeOurs, Place::BehindOurs)] place: Place,
) {
    let lab = chained(set, Other::Portmap, place);
    let outside = Outside::watch(&lab);
    let mut pod = prepared(&lab, "shop", "cart");
    pod.add().unwrap();
    lab.serve(pod.ns());
    let at_port = |address: IpAddr| {
        let mut client = Client { patience: Duration::from_secs(1), ..Client::new(address) };
        client.server.set_port(HOST_PORT);
        client
    };
    for family in Family::BOTH {
        for question in [Question::Tcp, Question::Udp] {
            let client = at_port(external(family, 11));
            let seen = lab.external().ask(&client, question).unwrap();
            assert_eq!(seen.address, lab.external_address(family), "{question:?}");
            let client = at_port(underlay(family, 11));
            let seen = lab.node("g1").ns().ask(&client, question).unwrap();
            assert_eq!(seen.address, underlay(family, 21), "{question:?} from a node");
        }
    }
    // What the pod asks itself leaves as ever.
    leaves_from(&lab, &pod, |family| egress_ip(family, SHOP));
    let seen = |family| [external(family, 11), egress_ip(family, SHOP)];
    outside.saw_exactly(Family::BOTH.into_iter().flat_map(seen));
    // Control: it was portmap's doing.
    pod.del().unwrap();
    lab.external().ask(&at_port(external(Family::V4, 11)), Question::Tcp).unwrap_err();
}

/// All of them in one list, through every operation that the version has. cnitool gives no list of
/// what is valid, so GC ends the pod.
#[rstest]
fn cnitool_adds_checks_and_deletes_in_a_long_chain_of_each_version(
    #[values("0.4.0", "1.0.0", "1.1.0")] version: &str,
) {
    let lab = chained((MainPlugin::Bridge, PluginSet::Newest), Other::Tuning, Place::BeforeOurs);
    let node = lab.node("w1");
    Place::BeforeOurs.put(Other::Firewall.object(), node);
    Place::BehindOurs.put(Other::Portmap.object(), node);
    Place::BehindOurs.put(Other::Bandwidth.object(), node);
    node.edit_conflist(|list| list["cniVersion"] = json!(version));
    node.set_key("gcWithoutList", true);
    let before = with_what_stays(&lab, Other::Tuning);
    let mut pod = prepared(&lab, "shop", "cart");
    let bare = pod.snapshot();
    assert_eq!(pod.add().unwrap()["cniVersion"], version);
    let at_work = |other: &Other| other.is_at_work(&pod);
    let others = [Other::Tuning, Other::Firewall, Other::Portmap, Other::Bandwidth];
    assert_eq!(others.iter().filter(|other| at_work(other)).count(), 4);
    leaves_from(&lab, &pod, |family| egress_ip(family, SHOP));
    pod.check().unwrap();
    // In a list of an older version libcni calls nobody.
    assert_eq!(pod.cnitool("status").run().success(), "");
    if version == "1.1.0" {
        pod.cnitool("gc").run().success();
    } else {
        pod.del().unwrap();
    }
    assert_eq!(others.iter().filter(|other| at_work(other)).count(), 0);
    goes_without_a_trace(&lab, &pod, Other::Tuning, (&before, &bare));
}

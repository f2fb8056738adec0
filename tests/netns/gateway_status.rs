//! `egretctl gateway status` against what was really sent: every number moves with its cause and
//! with nothing else, and what is wrong has a sentence.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use egret_tests::{
    Checksum, Client, ECHO_PORT, Families, Frame, Lab, Node, Pod, Program, Question, Transport,
    egress_ip, eventually, pod_network, resources, send_vxlan, underlay,
};
use egret_types::{Family, ours};
use rstest::rstest;
use serde_json::Value;

use crate::forgery::{identity, node_mac};
use crate::tunnel_guard::delete_guard;
use crate::world::{self, BILLING, SHOP};

const DEFAULTS: &str = "10-defaults.yaml";

/// The answer, and the exit code that came with it.
struct Told {
    code: Option<i32>,
    json: Value,
}

impl Told {
    fn by(node: &Node) -> Self {
        let told = node.egretctl("gateway status -o json");
        Self { code: told.code(), json: told.json() }
    }

    fn one<'a>(&'a self, list: &str, key: &str, value: &Value) -> &'a Value {
        let all = self.json[list].as_array().unwrap();
        let found = all.iter().find(|one| one[key] == *value);
        found.unwrap_or_else(|| panic!("no {key} {value} in {list}: {:#}", self.json))
    }

    fn pair(&self, index: u8) -> &Value {
        self.one("pairs", "index", &index.into())
    }

    fn node(&self, name: &str) -> &Value {
        self.one("nodes", "name", &name.into())
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.one("drops", "reason", &reason.into())["packets"].as_u64().unwrap()
    }

    fn problems(&self) -> Vec<&str> {
        self.json["problems"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
    }

    /// Reasons whose number is not what it was.
    fn moved_since(&self, before: &Told) -> Vec<(String, u64)> {
        let drops = self.json["drops"].as_array().unwrap();
        let moved = drops.iter().filter_map(|drop| {
            let reason = drop["reason"].as_str().unwrap();
            let more = drop["packets"].as_u64().unwrap() - before.dropped(reason);
            (more > 0).then(|| (reason.to_owned(), more))
        });
        moved.collect()
    }
}

fn header(family: Family) -> u64 {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// The shared world; w1 may send only what its pods have.
fn open(families: Families) -> Lab {
    let lab = world::builder(families).start();
    let networks: Vec<String> =
        families.list().iter().map(|family| pod_network(*family, 11).to_string()).collect();
    let text = resources::defaults(lab.nodes(), families);
    let checked = text.replace("  id: 11\n", &format!("  id: 11\n  podCIDRs: {networks:?}\n"));
    assert_ne!(checked, text);
    lab.write_resources(DEFAULTS, &checked);
    world::open(&lab);
    lab
}

/// Asks from as many ports, each a flow; the bytes of all answers.
fn ask(pod: &Pod, server: IpAddr, ports: std::ops::Range<u16>) -> u64 {
    let asked = ports.map(|source_port| {
        let seen = pod.ask(&Client { source_port, ..Client::new(server) }, Question::Udp);
        seen.unwrap_or_else(|e| panic!("from port {source_port}: {e}")).answer as u64
    });
    asked.sum()
}

#[rstest]
fn what_a_pair_and_a_node_carry_is_told_exactly(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    const QUESTION: u64 = 20;
    let lab = open(families);
    let g1 = lab.node("g1");
    let idle = Told::by(g1);
    assert_eq!((idle.code, idle.problems()), (Some(0), vec![]));
    assert_eq!(idle.json["pairs"].as_array().unwrap().len(), 10);
    assert_eq!(idle.json["nodes"].as_array().unwrap().len(), 3);
    let (shop, billing) =
        (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w2", "billing", "ledger"));
    let (mut packets, mut sent, mut received) = (0, 0, 0);
    for family in families.list() {
        received += ask(&shop, lab.external_address(*family), 30_001..30_008) + 7 * header(*family);
        sent += 7 * (QUESTION + header(*family));
        packets += 7;
    }
    let after_shop = Told::by(g1);
    let pair = after_shop.pair(SHOP);
    assert_eq!(pair["sent"], serde_json::json!({ "packets": packets, "bytes": sent }));
    assert_eq!(pair["received"], serde_json::json!({ "packets": packets, "bytes": received }));
    assert_eq!((&pair["flows"], &pair["overShare"]), (&packets.into(), &0.into()));
    for family in families.list() {
        let address = egress_ip(*family, SHOP).to_string();
        assert_eq!(pair[family.to_string()], address.as_str());
    }
    assert_eq!(after_shop.node("w1")["frames"]["packets"], packets);
    assert_eq!(after_shop.node("w2")["frames"]["packets"], 0);
    assert!(after_shop.json["conntrack"]["count"].as_u64().unwrap() >= packets);
    assert!(after_shop.json["tunnel"]["accepted"].as_u64().unwrap() >= packets);
    // Nobody else's number has moved, and nothing was dropped.
    assert_eq!(after_shop.pair(BILLING), idle.pair(BILLING));
    assert_eq!(after_shop.moved_since(&idle), []);
    // Control: the other tenant, on the other worker, moves his.
    ask(&billing, lab.external_address(families.list()[0]), 30_001..30_004);
    let after_billing = Told::by(g1);
    assert_eq!(after_billing.pair(BILLING)["sent"]["packets"], 3);
    assert_eq!(after_billing.pair(BILLING)["flows"], 3);
    assert_eq!(after_billing.node("w2")["frames"]["packets"], 3);
    assert_eq!(after_billing.pair(SHOP)["sent"], pair["sent"]);
    assert_eq!((after_billing.code, after_billing.problems()), (Some(0), vec![]));
    assert_table_agrees(g1, &after_billing);
}

/// The table has the same numbers, with the pairs that nobody uses left out.
#[track_caller]
fn assert_table_agrees(node: &Node, told: &Told) {
    let table = node.egretctl("gateway status").success();
    let words = |first: [&str; 2]| -> Vec<String> {
        let mut lines = table.lines().map(|line| line.split_whitespace().map(str::to_owned));
        let row = lines.find_map(|words| {
            let words: Vec<String> = words.collect();
            (words.len() > 2 && words[..2] == first).then_some(words)
        });
        row.unwrap_or_else(|| panic!("no row of {first:?} in\n{table}"))
    };
    let number = |value: &Value| value.as_u64().unwrap().to_string();
    for index in [SHOP, BILLING] {
        let pair = told.pair(index);
        let numbers = [
            number(&pair["sent"]["packets"]),
            number(&pair["sent"]["bytes"]),
            number(&pair["received"]["packets"]),
            number(&pair["received"]["bytes"]),
            number(&pair["flows"]),
            number(&pair["overShare"]),
        ];
        assert_eq!(words(["tenants", &index.to_string()])[3..], numbers, "\n{table}");
    }
    assert_eq!(words(["w1", "11"])[4..], ["checked", "0"], "\n{table}");
    assert_eq!(words(["edge", "g1"])[2..], ["owner", "g1", "tenants"], "\n{table}");
    assert!(table.contains("8 of 10 egress pairs have met no packet"), "{table}");
}

/// A frame to the gateway as w1's tunnel would send it.
struct Forger<'lab> {
    lab: &'lab Lab,
    family: Family,
    pod: IpAddr,
}

impl Forger<'_> {
    fn frame(&self, source: IpAddr, pair: u8) -> Frame {
        let destination = self.lab.external_address(self.family);
        let transport =
            Transport::Udp { source: 30_001, destination: ECHO_PORT, payload: b"forged".to_vec() };
        Frame::new([node_mac(11), identity(pair)], [source, destination], transport)
    }

    /// Out of w1, whose tunnel guard is away.
    fn send(&self, frame: &Frame) {
        let vtep = SocketAddr::from((underlay(self.family, 21), ours::PORT));
        let w1 = self.lab.node("w1").ns();
        w1.inside(|| send_vxlan(vtep, ours::VNI, &frame.encode())).unwrap();
    }
}

#[rstest]
fn every_drop_is_told_with_its_reason(#[values(Families::V4, Families::V6)] families: Families) {
    let lab = open(families);
    let family = families.list()[0];
    let (g1, outside) = (lab.node("g1"), lab.external_address(family));
    let pod = lab.add_pod("w1", "shop", "cart");
    // The flow whose ports a frame with another identity uses below.
    ask(&pod, outside, 30_001..30_002);
    delete_guard(&lab, "w1");
    let forger = Forger { lab: &lab, family, pod: pod.address(family) };
    let mut before = Told::by(g1);
    assert_eq!(before.moved_since(&before), []);
    let mut expect = |reason: &str, packets: u64| {
        let now = Told::by(g1);
        assert_eq!(now.moved_since(&before), [(reason.to_owned(), packets)]);
        before = now;
    };
    let good = forger.frame(forger.pod, SHOP);
    (0..2).for_each(|_| forger.send(&forger.frame(forger.pod, 99)));
    // Of a known flow any other identity is a stranger's, served or not.
    expect("notMyFlow", 2);
    let Transport::Udp { destination, payload, .. } = good.transport.clone() else { return };
    let elsewhere = Transport::Udp { source: 30_099, destination, payload };
    let fresh = Frame { transport: elsewhere, ..good.clone() };
    (0..3).for_each(|_| forger.send(&Frame { destination_mac: identity(99), ..fresh.clone() }));
    expect("unknownIdentity", 3);
    forger.send(&Frame { destination_mac: identity(BILLING), ..good.clone() });
    expect("notMyFlow", 1);
    let foreign = forger.frame(pod_of(family, 12), SHOP);
    (0..2).for_each(|_| forger.send(&foreign));
    expect("foreignSource", 2);
    assert_eq!(Told::by(g1).node("w1")["refused"], 2);
    assert_eq!(Told::by(g1).node("w2")["refused"], 0);
    forger.send(&Frame { checksum: Checksum::Wrong, ..fresh });
    expect("invalid", 1);
    forger.send(&Frame { source_mac: node_mac(12), ..good });
    expect("tunnelStranger", 1);
    let scan = SocketAddr::new(egress_ip(family, SHOP), 4444);
    lab.external()
        .inside(|| UdpSocket::bind(any(family)).and_then(|s| s.send_to(b"scan", scan)))
        .unwrap();
    expect("toEgressIp", 1);
    // Control: what is good is no drop.
    ask(&pod, outside, 30_010..30_013);
    assert_eq!(Told::by(g1).moved_since(&before), []);
}

fn pod_of(family: Family, host: u8) -> IpAddr {
    let network = pod_network(family, host);
    family.address(Family::number(network.address()) + 77)
}

fn any(family: Family) -> SocketAddr {
    SocketAddr::new(family.address(0), 0)
}

/// The gateway's own rules are changed by hand, so that what stands behind them is met.
#[rstest]
fn the_fence_and_a_clash_are_told_apart(#[values(Families::V4, Families::V6)] families: Families) {
    let lab = open(families);
    let family = families.list()[0];
    let (g1, outside) = (lab.node("g1"), lab.external_address(family));
    let pod = lab.add_pod("w1", "shop", "cart");
    let wire = lab.external().capture("eth0", "udp");
    let idle = Told::by(g1);
    let translated_to = |target: &str| {
        let ip = if family == Family::V4 { "ip" } else { "ip6" };
        let rule = format!("meta l4proto udp oifname \"egru0\" snat {ip} to {target}");
        let rules = format!("flush chain inet egret post\nadd rule inet egret post {rule}");
        g1.egress_ns().program("nft").args(["-f", "-"]).input(rules).run().success();
    };
    let send = |ports: std::ops::Range<u16>| {
        let sockets: Vec<UdpSocket> = pod.inside(|| {
            let bind = |port| UdpSocket::bind(SocketAddr::new(family.address(0), port)).unwrap();
            ports.map(bind).collect()
        });
        for socket in sockets {
            socket.send_to(b"S", SocketAddr::new(outside, ECHO_PORT)).unwrap();
        }
    };
    let own = egress_ip(family, SHOP);
    translated_to(&egress_ip(family, BILLING).to_string());
    send(30_001..30_004);
    let fenced = Told::by(g1);
    assert_eq!(fenced.moved_since(&idle), [("fence".to_owned(), 3)]);
    assert!(fenced.problems().iter().any(|text| text.contains("post")), "{:?}", fenced.problems());
    let bracketed = if family == Family::V4 { own.to_string() } else { format!("[{own}]") };
    translated_to(&format!("{bracketed}:5000-5001"));
    send(30_011..30_017);
    let clashed = Told::by(g1);
    assert_eq!(clashed.moved_since(&fenced), [("snatClash".to_owned(), 4)]);
    g1.egretctl("gateway up").success();
    ask(&pod, outside, 30_021..30_022);
    let healed = Told::by(g1);
    assert_eq!((healed.code, healed.moved_since(&clashed)), (Some(0), vec![]));
    assert!(wire.stop().iter().all(|packet| packet.source != Some(egress_ip(family, BILLING))));
}

#[test]
fn who_serves_is_told_beside_who_should() {
    let lab = Lab::builder(Families::V4).worker("w1").gateway("g1").gateway("g2").start();
    let pair = resources::egress_pair(SHOP, Families::V4);
    lab.write_resources("20-policies.yaml", &resources::policy("shop", "p", "tenants", &pair));
    let (g1, g2) = (lab.node("g1"), lab.node("g2"));
    let here = |node: &Node| {
        let told = Told::by(node);
        let gateway = &told.json["gateways"][0];
        assert_eq!(gateway["owner"], "g1");
        let problems = told.problems().join("\n");
        (gateway["here"].as_str().unwrap().to_owned(), told.code, problems)
    };
    let fine = |role: &str| (role.to_owned(), Some(0), String::new());
    let (role, code, problem) = here(g1);
    assert_eq!((role.as_str(), code), ("missing", Some(1)));
    assert!(problem.contains("serves none of its egress IPs"), "{problem}");
    g1.egretctl("gateway up").success();
    assert_eq!((here(g1), here(g2)), (fine("owner"), fine("standby")));
    g1.egretctl("gateway down").success();
    g2.egretctl("gateway up --take").success();
    assert_eq!(here(g1).0, "missing");
    let (role, code, problem) = here(g2);
    assert_eq!((role.as_str(), code), ("taken", Some(1)));
    assert!(problem.contains("the files give them to g1"), "{problem}");
    let table = g2.egretctl("gateway status").exits(1).stdout;
    assert!(table.contains("taken"), "{table}");
    g2.egretctl("gateway down").success();
    assert_eq!(here(g2), fine("standby"));
}

#[test]
fn a_node_that_serves_and_is_member_of_no_gateway_is_told_to_go_down() {
    let lab = Lab::builder(Families::V4).worker("w1").gateway("g1").gateway("g2").start();
    let g1 = lab.node("g1");
    g1.egretctl("gateway up").success();
    let text = resources::defaults(lab.nodes(), Families::V4);
    let without = text
        .replace(&resources::gateway("edge", &["g1", "g2"]), &resources::gateway("edge", &["g2"]));
    assert_ne!(text, without);
    lab.write_resources(DEFAULTS, &without);
    let told = Told::by(g1);
    let problems = told.problems().join("\n");
    assert_eq!((told.code, told.json["pairs"].as_array().unwrap().len()), (Some(1), 10));
    assert!(problems.contains("serves 10 egress pairs, and is member of no gateway"), "{problems}");
    let refused = g1.egretctl("gateway up").exits(2).stderr;
    assert!(refused.contains("`egretctl gateway down`"), "{refused}");
    g1.egretctl("gateway down").success();
    // Now it is none at all.
    for command in ["gateway status", "gateway up"] {
        let refused = g1.egretctl(command).exits(2).stderr;
        assert!(refused.ends_with("is no member of any EgressGateway\n"), "{refused}");
    }
}

#[test]
fn drops_over_a_share_are_a_problem_only_while_they_grow() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let g1 = lab.node("g1");
    let mark = format!("{:#x}", 0x0100_0000 + u32::from(SHOP));
    let count_to = |packets: u64| {
        let counter = format!("{mark} counter packets {packets} bytes {}", 60 * packets);
        let script = format!(
            "add element inet egret over {{ {mark} }}
            delete element inet egret over {{ {mark} }}
            add element inet egret over {{ {counter} }}"
        );
        g1.egress_ns().program("nft").args(["-f", "-"]).input(script).run().success();
    };
    count_to(5);
    let told = Told::by(g1);
    assert_eq!((told.code, told.problems()), (Some(0), vec![]));
    assert_eq!(told.pair(SHOP)["overShare"], 5);
    let told = std::thread::scope(|scope| {
        let looking = scope.spawn(|| Told::by(g1));
        for packets in (6..).take_while(|_| !looking.is_finished()) {
            count_to(packets);
        }
        looking.join().unwrap()
    });
    let problems = told.problems().join("\n");
    let named = format!("pair {SHOP} of pool tenants is over its share");
    assert!(told.code == Some(1) && problems.contains(&named), "{problems}");
}

#[test]
fn what_is_wrong_with_the_uplink_is_told() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let g1 = lab.node("g1");
    let switch = |line: &str| {
        let switch = format!("{}-sw", lab.network());
        Program::new("ip").args(["-n", &switch, "-batch", "-"]).input(line).run().success();
    };
    let uplink = || {
        let told = Told::by(g1);
        let state = told.json["uplink"]["state"].as_str().unwrap().to_owned();
        (state, told.code, told.problems().join("\n"))
    };
    let told = Told::by(g1);
    assert_eq!(told.json["uplink"]["parent"], "ext0");
    assert_eq!(told.json["uplink"]["egressAddresses"], 20);
    let hops: Vec<String> =
        Family::BOTH.map(|family| lab.external_address(family).to_string()).into();
    assert_eq!(told.json["uplink"]["nextHops"], serde_json::json!(hops));
    assert_eq!(uplink(), ("up".to_owned(), Some(0), String::new()));
    switch("link set ex-g1 down");
    let (state, code, problems) = uplink();
    assert_eq!((state.as_str(), code), ("noCarrier", Some(1)));
    assert!(problems.contains("uplink interface ext0 has no carrier"), "{problems}");
    switch("link set ex-g1 up");
    let back = || (uplink().0 == "up").then_some(());
    eventually("the carrier is back", Duration::from_secs(5), back);
    g1.egress_ns().exec("ip -6 route del default dev egru0").success();
    let (_, code, problems) = uplink();
    assert!(code == Some(1) && problems.contains("no ipv6 next hop"), "{problems}");
    assert!(!problems.contains("no ipv4 next hop"), "{problems}");
    g1.egretctl("gateway up").success();
    assert_eq!(uplink(), ("up".to_owned(), Some(0), String::new()));
    g1.ns().ip("link set ext0 down");
    assert!(uplink().2.contains("uplink interface ext0 is down"));
    g1.ns().ip("link del ext0");
    let (state, code, problems) = uplink();
    assert_eq!((state.as_str(), code), ("missing", Some(1)));
    assert!(problems.contains("uplink interface ext0 does not exist"), "{problems}");
}

#[test]
fn nodes_and_pairs_that_were_added_since_are_told() {
    let lab = world::builder(Families::V4).start();
    let known: Vec<Node> = lab.nodes().iter().filter(|n| n.name() != "w2").cloned().collect();
    lab.write_resources(DEFAULTS, &resources::defaults(&known, Families::V4));
    let g1 = lab.node("g1");
    g1.egretctl("gateway up").success();
    assert_eq!(Told::by(g1).code, Some(0));
    let more = resources::pool("second", 2, Families::V4, "  node: w1\n");
    lab.write_resources(DEFAULTS, &(resources::defaults(lab.nodes(), Families::V4) + &more));
    let told = Told::by(g1);
    let problems = told.problems().join("\n");
    assert_eq!(told.code, Some(1));
    assert!(problems.contains("10 egress pairs of the files are not served here"), "{problems}");
    assert!(problems.contains("node w2: its frames are not taken here"), "{problems}");
    g1.egretctl("gateway up").success();
    let told = Told::by(g1);
    assert_eq!((told.code, told.problems()), (Some(0), vec![]));
    assert_eq!(told.json["pairs"].as_array().unwrap().len(), 20);
}

#[test]
fn a_gateway_that_went_with_a_boot_is_told() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let g1 = lab.node("g1");
    let egress = g1.egress_ns();
    Program::new("ip").args(["netns", "del", egress.name()]).run().success();
    let told = Told::by(g1);
    let problems = told.problems();
    assert_eq!((told.code, problems.len()), (Some(1), 2), "{problems:?}");
    assert!(problems[0].contains("serves none of its egress IPs"), "{problems:?}");
    assert!(problems[1].contains("is gone, as after a boot"), "{problems:?}");
    assert_eq!(told.json["conntrack"], Value::Null);
    // The kernel takes the links of the namespace away a little later, and with them the VNI.
    let up = || g1.egretctl("gateway up").succeeded().then_some(());
    eventually("gateway up", Duration::from_secs(10), up);
    let told = Told::by(g1);
    assert_eq!((told.code, told.problems()), (Some(0), vec![]));
}

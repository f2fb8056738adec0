//! Nodes as strangers configure them: what their firewalls, their masquerading and their kernel
//! parameters do to others must not reach the data path, in which no root namespace has a say. And
//! the one thing that it can do, to close the tunnel's port, has a name.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use egret_tests::{
    Client, Families, Finished, Frame, Lab, Node, Ns, Pod, Program, Question, Transport, egress_ip,
    eventually, external, link_mac, send_frame,
};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::hygiene::Outside;
use crate::world::{self, SHOP};

/// What may happen to the root namespace of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hostility {
    /// Nothing is forwarded, says iptables and a table of somebody's.
    ForwardDrop,
    /// Everything that leaves is masqueraded.
    Masquerade,
    /// Strict reverse path filter on every link, those in the egret namespace included.
    ReversePath,
    /// The node is no router.
    NoForwarding,
    /// What conntrack calls invalid is dropped on every way.
    Invalid,
    /// Somebody's restart takes every table away, ours as well.
    Flush,
}

const TABLE: &str = "inet somebodys";

fn nft(node: &Ns, text: &str) {
    node.program("nft").args(["-f", "-"]).input(text).run().success();
}

fn iptables(node: &Ns, line: &str) {
    for program in ["iptables", "ip6tables"] {
        node.exec(&format!("{program} -w {line}")).success();
    }
}

impl Hostility {
    pub(crate) fn strike(self, node: &Node) {
        let root = node.ns();
        match self {
            Hostility::ForwardDrop => {
                iptables(root, "-P FORWARD DROP");
                let chain = "type filter hook forward priority -300; policy drop;";
                nft(root, &format!("table {TABLE} {{ chain f {{ {chain} }}; }}"));
            }
            Hostility::Masquerade => {
                iptables(root, "-t nat -I POSTROUTING -j MASQUERADE");
                let chain = "type nat hook postrouting priority 90; counter masquerade;";
                nft(root, &format!("table {TABLE} {{ chain p {{ {chain} }}; }}"));
            }
            Hostility::ReversePath => {
                for ns in [root, &node.egress_ns()] {
                    for link in links(ns) {
                        ns.set_sysctl(&format!("net.ipv4.conf.{link}.rp_filter"), "1");
                    }
                }
            }
            Hostility::NoForwarding => {
                root.set_sysctl("net.ipv4.ip_forward", "0");
                root.set_sysctl("net.ipv6.conf.all.forwarding", "0");
            }
            Hostility::Invalid => {
                let chain = |hook| {
                    let at = format!("type filter hook {hook} priority -10;");
                    format!("chain {hook} {{ {at} ct state invalid counter drop; }}\n")
                };
                let chains = ["input", "output", "forward"].map(chain).concat();
                nft(root, &format!("table {TABLE} {{ {chains} }}"));
                for hook in ["INPUT", "OUTPUT", "FORWARD"] {
                    iptables(root, &format!("-I {hook} -m conntrack --ctstate INVALID -j DROP"));
                }
            }
            Hostility::Flush => {
                for table in ["filter", "nat"] {
                    iptables(root, &format!("-t {table} -F"));
                }
                root.exec("nft flush ruleset").success();
            }
        }
    }

    /// That it is in force, shown on what is not ours.
    #[track_caller]
    fn assert_in_force(self, lab: &Lab, other: &Pod) {
        let node = other.node().ns();
        let outside = lab.external_address(Family::V4);
        let client = Client { patience: Duration::from_millis(300), ..Client::new(outside) };
        let counted = |chain| node.counted(&format!("chain {TABLE} {chain}"), "counter");
        match self {
            Hostility::ForwardDrop | Hostility::NoForwarding => {
                let seen = other.ask(&client, Question::Udp);
                assert!(seen.is_err(), "{self:?} does nothing: {seen:?}");
            }
            Hostility::Masquerade => {
                other.who(Question::Udp, outside).unwrap();
                assert!(counted("p") > 0, "nothing was masqueraded");
            }
            Hostility::ReversePath => {
                for ns in [node, &other.node().egress_ns()] {
                    let strict =
                        |link| ns.sysctl(&format!("net.ipv4.conf.{link}.rp_filter")) == "1";
                    assert!(links(ns).iter().all(strict));
                }
            }
            Hostility::Invalid => {
                send_invalid(lab, other.node());
                let seen = || (counted("input") > 0).then_some(());
                eventually("an invalid packet is counted", Duration::from_secs(3), seen);
            }
            Hostility::Flush => assert_eq!(node.exec("nft list ruleset").success(), ""),
        }
    }
}

/// The names under which a namespace keeps parameters of links.
fn links(ns: &Ns) -> Vec<String> {
    let listed = ns.exec("ls /proc/sys/net/ipv4/conf").success();
    listed.lines().map(str::to_owned).collect()
}

/// A segment with every flag set, to an address of the node itself.
fn send_invalid(lab: &Lab, node: &Node) {
    let mac = |ns: &Ns, link| ns.inside(|| link_mac(link)).unwrap();
    let macs = [mac(lab.external(), "eth0"), mac(node.ns(), "ext0")];
    let addresses = [lab.external_address(Family::V4), external(Family::V4, node.host())];
    let xmas = Transport::Tcp { source: 5000, destination: 80, flags: 0x3f };
    let frame = Frame::new(macs, addresses, xmas).encode();
    lab.external().inside(|| send_frame("eth0", &frame)).unwrap();
}

/// What a pod's traffic met while something else was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ride {
    /// Echo requests without an answer, 50 a second over each family.
    lost: u32,
    /// Transfers over TCP and questions over UDP that failed.
    failed: Vec<String>,
}

pub(crate) const SMOOTH: Ride = Ride { lost: 0, failed: Vec::new() };

/// Sends all the while over both families; before, during and after the work.
pub(crate) fn ride(lab: &Lab, pod: &Pod, work: impl FnOnce()) -> Ride {
    let running = AtomicBool::new(true);
    let lost = AtomicU32::new(0);
    let on = || running.load(Ordering::Relaxed);
    let transfer = |family: Family| {
        let patience = Duration::from_secs(2);
        let client = Client { patience, ..Client::new(lab.external_address(family)) };
        let (mut failed, mut done) = (Vec::new(), 0);
        while on() || done == 0 {
            let up = pod.inside(|| client.upload(300_000));
            let down = pod.inside(|| client.download(300_000));
            let udp = pod.ask(&client, Question::Udp).map(|seen| {
                assert_eq!(seen.address, egress_ip(family, SHOP));
            });
            failed
                .extend([up, down, udp].into_iter().filter_map(Result::err).map(|e| e.to_string()));
            done += 1;
        }
        failed
    };
    let ping = |family| {
        while on() {
            lost.fetch_add(unanswered(pod, lab.external_address(family)), Ordering::Relaxed);
        }
    };
    let failed = std::thread::scope(|scope| {
        let transfers = Family::BOTH.map(|family| scope.spawn(move || transfer(family)));
        let pings = Family::BOTH.map(|family| scope.spawn(move || ping(family)));
        std::thread::sleep(Duration::from_millis(300));
        work();
        std::thread::sleep(Duration::from_millis(500));
        running.store(false, Ordering::Relaxed);
        for thread in pings {
            thread.join().unwrap();
        }
        transfers.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    Ride { lost: lost.into_inner(), failed }
}

/// Of 25 echo requests in half a second.
fn unanswered(pod: &Pod, server: std::net::IpAddr) -> u32 {
    let said = pod.exec(&format!("ping -n -q -i 0.02 -c 25 -W 1 {server}")).stdout;
    let received = said.split(" transmitted, ").nth(1).and_then(|rest| rest.split(' ').next());
    25 - received.and_then(|n| n.parse::<u32>().ok()).unwrap_or_else(|| panic!("ping: {said}"))
}

/// The tunnel guard of a node as nft lists it, a line each.
fn guard(node: &Node) -> Vec<String> {
    let table = format!(" nft table inet {}", ours::NFT_TUNNEL_TABLE);
    let all = node.ns().snapshot();
    all.lines().filter(|line| line.contains(&table)).map(str::to_owned).collect()
}

#[rstest]
fn what_a_root_namespace_does_to_others_costs_the_data_path_no_packet(
    #[values(
        Hostility::ForwardDrop,
        Hostility::Masquerade,
        Hostility::ReversePath,
        Hostility::NoForwarding,
        Hostility::Invalid,
        Hostility::Flush
    )]
    hostility: Hostility,
) {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let other = lab.add_pod("w1", "other", "plain");
    for family in Family::BOTH {
        let seen = other.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, external(family, 11), "before anything has happened");
    }
    let nodes = ["w1", "g1"].map(|name| lab.node(name));
    let outside = Outside::watch(&lab);
    let met = ride(&lab, &pod, || nodes.iter().for_each(|node| hostility.strike(node)));
    assert_eq!(met, SMOOTH, "{hostility:?}");
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    hostility.assert_in_force(&lab, &other);
    // A pod that comes afterwards is served as well.
    let late = lab.add_pod("w1", "shop", "late");
    assert_eq!(ride(&lab, &late, || ()), SMOOTH, "a pod that came after {hostility:?}");
    late.check().unwrap();
}

/// The guard is the one thing of ours in a root namespace. Without it the tunnel works on, tracked
/// and open; `repair` puts it back, and that costs no packet either.
#[test]
fn a_flush_takes_the_tunnel_guard_and_repair_puts_it_back() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let nodes = ["w1", "g1"].map(|name| lab.node(name));
    let before = nodes.map(guard);
    assert!(before.iter().all(|table| table.len() > 10), "{before:#?}");
    let (w1, g1) = (nodes[0], nodes[1]);
    g1.egretctl("gateway status").success();
    let met = ride(&lab, &pod, || nodes.iter().for_each(|node| Hostility::Flush.strike(node)));
    assert_eq!(met, SMOOTH, "flush");
    assert_eq!(nodes.map(guard), [vec![], Vec::<String>::new()]);
    let told = g1.egretctl("gateway status").exits(1).stdout;
    assert!(told.contains(ours::NFT_TUNNEL_TABLE) && told.contains("egretctl repair"), "{told}");
    // Tracked now, and so within reach of a masquerading rule: it changes nothing.
    let met = ride(&lab, &pod, || nodes.iter().for_each(|node| Hostility::Masquerade.strike(node)));
    assert_eq!(met, SMOOTH, "masquerading of the tracked tunnel");
    let tracked = w1.ns().exec("conntrack -L -p udp --dport 7790").success();
    assert!(tracked.contains("dport=7790"), "{tracked}");

    for node in nodes {
        node.ns().exec(&format!("nft delete table {TABLE}")).success();
    }
    let repair = || nodes.iter().for_each(|node| drop(node.egretctl("repair").success()));
    assert_eq!(ride(&lab, &pod, repair), SMOOTH, "repair");
    assert_eq!(nodes.map(guard), before);
    g1.egretctl("gateway status").success();
    // And it guards: a frame by hand out of a process of the node is refused.
    let line = format!(
        "vxlan {} --src-mac 06:e6:00:00:00:0b --dst-mac 02:e6:01:00:00:03 --src {} --dst {}",
        egret_tests::underlay(Family::V4, 21),
        pod.address(Family::V4),
        lab.external_address(Family::V4)
    );
    let send = |node: &Node| probe(node.ns(), &line);
    assert!(send(w1).exits(1).stderr.contains("not permitted"));
    // Control: a tenth of a second of silence would have been noticed above.
    let interrupted = || {
        close_port(g1);
        std::thread::sleep(Duration::from_millis(100));
        g1.ns().exec(&format!("nft delete table {TABLE}")).success();
    };
    assert!(ride(&lab, &pod, interrupted).lost > 0);
}

pub(crate) fn probe(ns: &Ns, line: &str) -> Finished {
    let program: Program = ns.program(env!("CARGO_BIN_EXE_egret-probe"));
    program.args(line.split_whitespace()).run()
}

/// What a firewall without a rule for the tunnel does on a gateway node.
fn close_port(node: &Node) {
    let rules = format!("udp dport {} drop; accept", ours::PORT);
    let chain = format!("chain i {{ type filter hook input priority 0; {rules}; }}");
    nft(node.ns(), &format!("table {TABLE} {{ {chain}; }}"));
}

fn problems(node: &Node) -> (Option<i32>, Vec<String>) {
    let told = node.egretctl("gateway status -o json");
    let listed = told.json()["problems"].clone();
    let texts = listed.as_array().into_iter().flatten().filter_map(|text| text.as_str());
    (told.code(), texts.map(str::to_owned).collect())
}

#[track_caller]
fn assert_names_the_closed_port(node: &Node) {
    let (code, told) = problems(node);
    let named = |text: &&String| text.contains("UDP port 7790") && text.contains("firewall");
    assert_eq!((code, told.iter().filter(named).count(), told.len()), (Some(1), 1, 1), "{told:?}");
    let table = node.egretctl("gateway status").exits(1).stdout;
    assert!(table.contains("problem: the tunnel's packets pass the guard"), "{table}");
}

#[rstest]
fn a_port_of_the_tunnel_that_a_firewall_closes_is_named_by_gateway_status(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let g1 = lab.node("g1");
    let server = lab.external_address(families.list()[0]);
    let pod = lab.add_pod("w1", "shop", "cart");
    assert_eq!(problems(g1), (Some(0), vec![]), "nobody has sent anything");
    // Closed before anything has come: what was, is enough to tell.
    close_port(g1);
    assert_eq!(unanswered(&pod, server), 25, "control: the port is closed");
    assert_names_the_closed_port(g1);
    g1.ns().exec(&format!("nft delete table {TABLE}")).success();
    assert_eq!(unanswered(&pod, server), 0);
    assert_eq!(problems(g1), (Some(0), vec![]), "open again");
    // Closed while it is in use: what comes now is what tells.
    let ping = pod.program("ping").args(["-n", "-i", "0.2", &server.to_string()]).start();
    assert_eq!(problems(g1), (Some(0), vec![]), "open and in use");
    close_port(g1);
    assert_names_the_closed_port(g1);
    g1.ns().exec(&format!("nft delete table {TABLE}")).success();
    assert_eq!(problems(g1), (Some(0), vec![]), "open again and in use");
    drop(ping);
}

//! The pod guard: nothing that a pod does on its primary link leaves it to a destination that its
//! policies send through the gateway. Seen by captures outside; each act is done with `guard: off`
//! as well, and seen there.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use egret_tests::{
    Capture, Checksum, Client, ECHO_PORT, Families, Frame, Lab, MainPlugin, Packet, PluginRun, Pod,
    Question, Snapshot, Transport, egress_ip, eventually, external, far, link_mac, resources,
    send_frame,
};
use egret_types::{Family, MacAddr, ours};
use rstest::rstest;

use crate::world::{self, SHOP};

const GUARD_IMPOSSIBLE: u64 = 104;
const CHECK_DIFFERENCE: u64 = 110;

pub(crate) fn set_guard(lab: &Lab, mode: &str) {
    let defaults = resources::defaults(lab.nodes(), lab.families());
    let text = defaults.replace("guard: required", &format!("guard: \"{mode}\""));
    lab.write_resources("10-defaults.yaml", &text);
}

/// Both tenants are sent through the gateway to the host outside, and to nobody behind it.
pub(crate) fn world(families: Families, main: MainPlugin, mode: &str) -> Lab {
    let lab = world::builder(families).main(main).far_host().start();
    // What is forged must reach the guard: no other filter may be in its way.
    for scope in ["all", "default"] {
        let filter = format!("net.ipv4.conf.{scope}.rp_filter");
        lab.node("w1").ns().set_sysctl(&filter, "0");
    }
    world::open(&lab);
    let hosts = families.list().iter().map(|family| {
        let length = if *family == Family::V4 { 32 } else { 128 };
        format!("\"{}/{length}\"", lab.external_address(*family))
    });
    let hosts = hosts.collect::<Vec<_>>().join(", ");
    let spec = resources::egress_pair(SHOP, families) + &format!("  destinations: [{hosts}]\n");
    lab.write_resources(
        "20-policies.yaml",
        &resources::policy("shop", "partners", "tenants", &spec),
    );
    set_guard(&lab, mode);
    lab
}

/// The acts, each with a source port of its own.
const BOUND_TCP: u16 = 41_001;
const BOUND_UDP: u16 = 41_002;
const INVALID_TCP: u16 = 41_003;
const INVALID_UDP: u16 = 41_004;
const FORGED: u16 = 41_005;
const UNSTEERED: u16 = 41_006;
const ACTS: [u16; 6] = [BOUND_TCP, BOUND_UDP, INVALID_TCP, INVALID_UDP, FORGED, UNSTEERED];

/// A client past all routes.
pub(crate) fn bound(server: IpAddr, source_port: u16) -> Client {
    let patience = Duration::from_millis(300);
    Client { device: Some("eth0".into()), source_port, patience, ..Client::new(server) }
}

/// The MAC of the pod's next hop on its primary link.
pub(crate) fn next_hop_mac(pod: &Pod, family: Family) -> MacAddr {
    let option = if family == Family::V4 { "-4" } else { "-6" };
    let word = |line: &str, before: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == before);
        let found = at.and_then(|at| words.get(at + 1));
        (*found.unwrap_or_else(|| panic!("no {before} in {line:?}"))).to_owned()
    };
    let hop = word(&pod.exec(&format!("ip {option} route show default dev eth0")).success(), "via");
    // Who has the next hop may answer for it alone, as Calico's nodes do.
    pod.exec(&format!("ping -n -c1 -W1 -I eth0 {hop}"));
    let line = pod.exec(&format!("ip neigh show {hop} dev eth0")).success();
    word(&line, "lladdr").parse().unwrap()
}

fn inside(pod: &Pod, frame: &Frame) {
    pod.inside(|| send_frame("eth0", &frame.encode())).unwrap();
}

fn datagram(source: u16) -> Transport {
    Transport::Udp { source, destination: ECHO_PORT, payload: b"S".to_vec() }
}

/// Everything that a pod can try.
pub(crate) fn try_everything(lab: &Lab, pod: &Pod, family: Family) {
    let server = lab.external_address(family);
    let macs = [pod.inside(|| link_mac("eth0")).unwrap(), next_hop_mac(pod, family)];
    pod.ask(&bound(server, BOUND_TCP), Question::Tcp).ok();
    pod.ask(&bound(server, BOUND_UDP), Question::Udp).ok();
    let own = [pod.address(family), server];
    let segment = Transport::Tcp { source: INVALID_TCP, destination: ECHO_PORT, flags: 2 };
    for transport in [segment, datagram(INVALID_UDP)] {
        let frame = Frame::new(macs, own, transport);
        inside(pod, &Frame { checksum: Checksum::Wrong, ..frame });
    }
    let neighbour = match family {
        Family::V4 => "10.244.11.77".parse().unwrap(),
        Family::V6 => "fd00:10:244:11::77".parse().unwrap(),
    };
    inside(pod, &Frame::new(macs, [neighbour, server], datagram(FORGED)));
    let option = if family == Family::V4 { "-4" } else { "-6" };
    pod.exec(&format!("ip {option} rule del pref 1000")).success();
    pod.exec(&format!("ip {option} route flush table 230")).success();
    let patience = Duration::from_millis(300);
    let client = Client { source_port: UNSTEERED, patience, ..Client::new(server) };
    pod.ask(&client, Question::Udp).ok();
}

/// Waits until what was sent last has been seen, then tells which acts were.
pub(crate) fn seen_outside(
    lab: &Lab,
    outside: Capture,
    other: &Pod,
    family: Family,
) -> BTreeSet<u16> {
    const LAST: u16 = 42_000;
    let client = Client { source_port: LAST, ..Client::new(far(family)) };
    other.ask(&client, Question::Udp).unwrap();
    outside.wait_for("what was sent last", |packet| packet.source_port == Some(LAST));
    let server = lab.external_address(family);
    let packets = outside.stop().into_iter().filter(|packet| packet.destination == Some(server));
    let from = |packet: &Packet| packet.source != Some(egress_ip(family, SHOP));
    let ports = packets.filter(from).filter_map(|packet| packet.source_port);
    ports.filter(|port| ACTS.contains(port)).collect()
}

#[rstest]
fn nothing_leaves_on_the_primary_link_to_a_selected_destination(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(MainPlugin::Bridge, MainPlugin::Ptp)] main: MainPlugin,
    #[values("required", "best-effort", "off")] mode: &str,
) {
    let lab = world(families, main, mode);
    assert_guarded(&lab, mode);
}

/// A selected pod reaches where its policies lead from the egress IP, and nowhere else in any other
/// way; without the guard every act of [`ACTS`] is seen outside.
pub(crate) fn assert_guarded(lab: &Lab, mode: &str) {
    let pod = lab.add_pod("w1", "shop", "cart");
    let other = lab.add_pod("w1", "other", "plain");
    for family in lab.families().list() {
        let server = lab.external_address(*family);
        let elsewhere = far(*family);
        for question in Question::ALL {
            let seen = pod.who(question, server).unwrap();
            assert_eq!(seen.address, egress_ip(*family, SHOP), "{question:?}");
            let seen = pod.who(question, elsewhere).unwrap();
            assert_eq!(seen.address, external(*family, 11), "{question:?} to anybody else");
            let seen = other.who(question, server).unwrap();
            assert_eq!(seen.address, external(*family, 11), "{question:?} of another pod");
        }
        let outside = lab.external().capture("eth0", "ip or ip6");
        try_everything(lab, &pod, *family);
        let seen = seen_outside(lab, outside, &other, *family);
        let expected = if mode == "off" { ACTS.into() } else { BTreeSet::new() };
        assert_eq!(seen, expected, "acts that were seen outside over {family}");
        // Who unsteers itself still reaches what is not guarded, and is unreachable to nobody.
        let seen = pod.who(Question::Tcp, elsewhere).unwrap();
        assert_eq!(seen.address, external(*family, 11));
    }
}

/// A pod with IPv4 alone does not leave over IPv6, whatever address it gives itself.
#[test]
fn an_address_that_the_pod_gives_itself_is_nobodys() {
    let lab = world(Families::Dual, MainPlugin::Bridge, "required");
    lab.node("w1").edit_conflist(|list| {
        let ranges = list["plugins"][0]["ipam"]["ranges"].as_array_mut().unwrap();
        ranges.retain(|range| range[0]["subnet"].as_str().unwrap().contains('.'));
    });
    let pod = lab.add_pod("w1", "shop", "cart");
    let (own, hop) = ("fd00:10:244:11::66", "fd00:10:244:11::1");
    pod.exec("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0").success();
    // Nobody is asked for the way, so that nothing waits for an answer and leaves late.
    let mac = lab.node("w1").ns().inside(|| link_mac("cni0")).unwrap();
    pod.ip(&format!(
        "addr add {own}/64 dev eth0 nodad
        route replace default via {hop} dev eth0
        neigh replace {hop} lladdr {mac} dev eth0 nud permanent"
    ));
    let outside = lab.external().capture("eth0", "ip6");
    let try_it = |port| {
        pod.ask(&bound(lab.external_address(Family::V6), port), Question::Udp).unwrap_err();
    };
    try_it(BOUND_UDP);
    // Control: it is the guard that did it.
    lab.node("w1").ns().exec("nft delete table netdev egret-guard").success();
    try_it(UNSTEERED);
    outside.wait_for("control", |packet| packet.source_port == Some(UNSTEERED));
    let left = outside.stop();
    assert!(!left.iter().any(|packet| packet.source_port == Some(BOUND_UDP)), "{left:#?}");
}

#[rstest]
fn connections_from_outside_to_a_guarded_pod_are_answered(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(MainPlugin::Bridge, MainPlugin::Ptp)] main: MainPlugin,
) {
    let lab = world(families, main, "required");
    let pod = lab.add_pod("w1", "shop", "cart");
    lab.serve(pod.ns());
    lab.route_pods_from_outside();
    for family in families.list() {
        for question in Question::ALL {
            let seen = lab.external().who(question, pod.address(*family)).unwrap();
            assert_eq!(seen.address, lab.external_address(*family), "{question:?}");
        }
        assert!(lab.external().ping(pod.address(*family)), "ping over {family}");
        // An error about such a connection is part of it.
        let closed = Client { server: (pod.address(*family), 9).into(), ..client(&pod, *family) };
        let refused = lab.external().ask(&closed, Question::Udp).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
        // Control: that it came in is what lets the answer out.
        pod.ask(&bound(lab.external_address(*family), 0), Question::Tcp).unwrap_err();
    }
}

fn client(pod: &Pod, family: Family) -> Client {
    Client::new(pod.address(family))
}

/// Sends numbered datagrams, a thousand a second, past all routes, until told to stop.
fn stream(server: IpAddr, stop: &AtomicBool) -> std::io::Result<u32> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::BindToDevice, &"eth0".into())?;
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        socket.send_to(format!("number {number}").as_bytes(), (server, ECHO_PORT)).ok();
        number += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(number)
}

/// There is one moment before which everything leaves, since nobody guards a pod that is not
/// attached, and after which nothing does. It lies before the lease.
#[rstest]
fn a_pod_that_sends_during_add_is_cut_off_once_and_for_all(
    #[values(Families::V4, Families::V6)] families: Families,
    #[values(MainPlugin::Bridge, MainPlugin::Ptp)] main: MainPlugin,
    #[values("alone", "beside another")] company: &str,
) {
    let lab = world(families, main, "required");
    let family = families.list()[0];
    let server = lab.external_address(family);
    let _other = (company != "alone").then(|| lab.add_pod("w1", "shop", "first"));
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let outside = lab.external().capture("eth0", "udp");
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| pod.inside(|| stream(server, &stop)).unwrap());
        outside.wait_for("traffic before ADD", |packet| packet.payload.starts_with(b"number"));
        PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert_eq!(pod.who(Question::Udp, server).unwrap().address, egress_ip(family, SHOP));
    let number = |packet: Packet| -> Option<u32> {
        let text = String::from_utf8(packet.payload).ok()?;
        text.strip_prefix("number ")?.parse().ok()
    };
    let to_server = |packet: &Packet| packet.destination == Some(server);
    let left: BTreeSet<u32> =
        outside.stop().into_iter().filter(to_server).filter_map(number).collect();
    let last = *left.last().unwrap();
    assert_eq!(left.len(), last as usize + 1, "some left after one that did not: {left:?}");
    assert!(last + 50 < sent, "{last} of {sent} left: ADD ended long before");
}

/// Refused before anything is changed.
#[test]
fn a_link_without_an_end_on_the_node_is_refused_or_goes_without() {
    let lab = world(Families::Dual, MainPlugin::Macvlan, "required");
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let node = lab.node("w1");
    let look =
        || node.ns().snapshot().and(pod.snapshot()).and(Snapshot::of_files(node.directory()));
    let before = look().without("run/");
    let (code, text) = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().error();
    assert_eq!(code, GUARD_IMPOSSIBLE, "{text}");
    assert!(text.contains("eth0 is a macvlan link and has no end on the node"), "{text}");
    egret_tests::assert_no_leftovers(&before, &look().without("run/"));
    assert!(!node.egress_ns().exists());

    set_guard(&lab, "best-effort");
    let outcome = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run();
    assert!(outcome.finished.stderr.contains("the pod goes without"), "{}", outcome.finished);
    outcome.result();
    assert!(!node.ns().snapshot().mentions(ours::NFT_GUARD_TABLE));
    for family in Family::BOTH {
        let seen = pod.who(Question::Tcp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
}

/// A port of the bridge behind which is no namespace of this node: frames would pass the guard.
#[test]
fn a_bridge_that_leads_out_of_the_node_is_refused() {
    let lab = world(Families::V4, MainPlugin::Bridge, "required");
    let node = lab.node("w1").ns();
    node.ip("link add out0 type vxlan id 7 dstport 4789 local 172.18.0.11
        link set out0 master cni0 up");
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let (code, text) = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().error();
    assert_eq!(code, GUARD_IMPOSSIBLE, "{text}");
    assert!(text.contains("bridge cni0") && text.contains("port out0"), "{text}");
    node.ip("link del out0");
    PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
}

/// The same one bridge further on: to the first the way is a veth like those of pods.
#[test]
fn a_bridge_that_leads_out_through_another_bridge_is_refused() {
    let lab = world(Families::V4, MainPlugin::Bridge, "required");
    let node = lab.node("w1").ns();
    // Frames between ports are seen by no chain of the inet family.
    node.set_sysctl("net.bridge.bridge-nf-call-iptables", "0");
    node.ip("link add br1 type bridge
        link set br1 up
        link add patch0 type veth peer name patch1
        link set patch0 master cni0 up
        link set patch1 master br1 up");
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let run = |operation| PluginRun::for_pod(&pod, operation, Some(&previous)).run();
    run("ADD").result();
    node.ip("link add out0 type vxlan id 7 dstport 4789 local 172.18.0.11
        link set out0 master br1 up");
    // Control: such a frame does leave.
    let out = node.capture("out0", "udp");
    let macs = [pod.inside(|| link_mac("eth0")).unwrap(), MacAddr([2, 0, 0, 0, 0, 99])];
    let ends = [pod.address(Family::V4), lab.external_address(Family::V4)];
    inside(&pod, &Frame::new(macs, ends, datagram(FORGED)));
    out.wait_for("a frame past the guard", |packet| packet.source_port == Some(FORGED));
    run("DEL").finished.success();
    let (code, text) = run("ADD").error();
    assert_eq!(code, GUARD_IMPOSSIBLE, "{text}");
    assert!(text.contains("bridge cni0") && text.contains("port patch0"), "{text}");
}

/// The pod's and all others' parts of the guard's tables.
fn guard_of(lab: &Lab) -> String {
    let list =
        |family: &str| lab.node("w1").ns().exec(&format!("nft list table {family} egret-guard"));
    ["netdev", "inet"].map(|family| list(family).stdout).concat()
}

#[test]
fn pods_of_one_decision_share_it_and_the_last_del_removes_it() {
    let lab = world(Families::Dual, MainPlugin::Bridge, "required");
    let before = lab.snapshot();
    let decisions = |text: &str| text.matches("chain g").count();
    let one = lab.add_pod("w1", "shop", "one");
    let alone = guard_of(&lab);
    let two = lab.add_pod("w1", "shop", "two");
    assert_eq!((decisions(&alone), decisions(&guard_of(&lab))), (2, 2));
    one.del().unwrap();
    two.check().unwrap();
    let server = lab.external_address(Family::V4);
    two.ask(&bound(server, 0), Question::Udp).unwrap_err();
    two.del().unwrap();
    assert!(alone.contains("chain forward"), "{alone}");
    assert_eq!(guard_of(&lab), "");
    two.del().unwrap();
    for pod in [&one, &two] {
        pod.destroy_namespace();
    }
    // What nobody's record lists any more goes with `gc`.
    lab.node("w1")
        .ns()
        .exec("nft add table netdev egret-guard { comment \"egret.dev\" ; }")
        .success();
    let told = lab.node("w1").egretctl("gc --dry-run").success();
    assert!(told.contains("would remove nft table netdev egret-guard"), "{told}");
    assert!(!told.contains("table inet egret-guard"), "{told}");
    lab.node("w1").egretctl("gc").success();
    lab.assert_as_before(&before, &["/state/"]);
}

/// A pod that dies with its link, before any DEL.
#[test]
fn del_removes_the_guard_of_a_link_that_is_gone() {
    let lab = world(Families::Dual, MainPlugin::Ptp, "required");
    let pod = lab.add_pod("w1", "shop", "cart");
    pod.destroy_namespace();
    eventually("the end of the veth", Duration::from_secs(5), || {
        (!lab.node("w1").ns().snapshot().mentions("link veth")).then_some(())
    });
    pod.del().unwrap();
    assert_eq!(guard_of(&lab), "");
}

#[rstest]
fn a_guard_that_was_flushed_is_named_by_check_and_put_back_by_repair(
    #[values(MainPlugin::Bridge, MainPlugin::Ptp)] main: MainPlugin,
) {
    let lab = world(Families::Dual, main, "required");
    let pod = lab.add_pod("w1", "shop", "cart");
    let (node, server) = (lab.node("w1"), lab.external_address(Family::V4));
    let check = || PluginRun::for_pod(&pod, "CHECK", Some(pod.result())).run();
    check().finished.success();
    for damage in [
        "flush ruleset",
        "delete table inet egret-guard",
        "delete table netdev egret-guard",
        "flush map inet egret-guard guarded6",
        "flush map inet egret-guard arriving4",
        "flush chain inet egret-guard elsewhere",
        "flush chain inet egret-guard forward",
        "flush chain netdev egret-guard source",
        "flush set netdev egret-guard sources4",
    ] {
        node.ns().exec(&format!("nft {damage}")).success();
        let (code, text) = check().error();
        assert_eq!(code, CHECK_DIFFERENCE, "{damage}: {text}");
        assert!(text.contains("egret-guard"), "{damage}: {text}");
        let told = node.egretctl("repair").success();
        assert!(told.contains("egret-guard"), "{damage}: {told}");
        check().finished.success();
        pod.ask(&bound(server, 0), Question::Udp).unwrap_err();
        assert!(node.egretctl("repair").success().contains("0 entries written"));
    }
}

/// On one bridge: a pod speaks for its own addresses only, and is no router.
#[test]
fn a_pod_does_not_answer_for_others() {
    for (mode, believed) in [("required", false), ("off", true)] {
        let lab = world(Families::V4, MainPlugin::Bridge, mode);
        let pod = lab.add_pod("w1", "shop", "cart");
        let victim = lab.add_pod("w1", "other", "victim");
        let address = victim.address(Family::V4);
        assert!(lab.node("w1").ns().ping(address));
        let mac = pod.inside(|| link_mac("eth0")).unwrap();
        let known = || lab.node("w1").ns().exec(&format!("ip neigh show {address}")).success();
        // A neighbour that was heard of a moment ago is not replaced.
        std::thread::sleep(Duration::from_millis(1200));
        pod.inside(|| send_frame("eth0", &announcement(mac, address))).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(known().contains(&mac.to_string()), believed, "{mode}: {}", known());
    }
}

/// "This address is at this MAC", to everybody.
fn announcement(mac: MacAddr, address: IpAddr) -> Vec<u8> {
    let IpAddr::V4(address) = address else { panic!("ARP is about IPv4") };
    let mut bytes = [[0xff; 6], mac.0].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    for _ in 0..2 {
        bytes.extend(mac.0);
        bytes.extend(address.octets());
    }
    bytes
}

//! What stays open, each with what closes it. These tests document: whoever closes one of them
//! changes a sentence of the README's limits together with a test here.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use egret_tests::{
    Capture, Families, Finished, Frame, Lab, Ns, Packet, Pod, Question, Transport, egress_ip,
    link_mac, pod_network, resources, send_frame, send_vxlan, underlay, vxlan,
};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::forgery::{identity, node_mac};
use crate::tunnel_guard::{delete_guard, stranger};
use crate::world::{self, SHOP};

/// A frame as the node with this host number would send it for a pod of `shop` at `source`.
fn frame(lab: &Lab, node: u8, source: IpAddr, payload: &str) -> Frame {
    let macs = [node_mac(node), identity(SHOP)];
    let outside = lab.external_address(lab.families().list()[0]);
    Frame::new(macs, [source, outside], Transport::udp(payload))
}

/// Into the tunnel's port of the gateway, out of an ordinary socket.
fn send(from: &Ns, lab: &Lab, frame: &Frame) {
    let gateway = SocketAddr::from((underlay(lab.families().list()[0], 21), ours::PORT));
    from.inside(|| send_vxlan(gateway, ours::VNI, &frame.encode())).unwrap();
}

/// The address under which a payload is seen outside.
fn left_as(outside: &Capture, payload: &str) -> Option<IpAddr> {
    let is_it = |packet: &Packet| packet.payload == payload.as_bytes();
    outside.wait_for(payload, is_it).source
}

/// After something that came behind it was seen, nothing of this payload was.
#[track_caller]
fn never_left(lab: &Lab, outside: &Capture, pod: &Pod, payload: &str) {
    let before = outside.packets().len();
    pod.who(Question::Udp, lab.external_address(lab.families().list()[0])).unwrap();
    let behind = |packet: &Packet| packet.source_port == Some(egret_tests::ECHO_PORT);
    egret_tests::eventually("what came behind", std::time::Duration::from_secs(5), || {
        outside.packets().split_off(before).iter().any(behind).then_some(())
    });
    let seen = outside.packets().iter().filter(|p| p.payload == payload.as_bytes()).count();
    assert_eq!(seen, 0, "{payload:?} was seen outside");
}

/// The laboratory's resources, where each node says which pods it has.
fn with_pod_networks(lab: &Lab) -> String {
    let defaults = resources::defaults(lab.nodes(), lab.families());
    lab.nodes().iter().fold(defaults, |text, node| {
        let networks = lab.families().list().iter();
        let networks: Vec<String> =
            networks.map(|family| pod_network(*family, node.host()).to_string()).collect();
        let id = format!("  id: {}\n", node.host());
        text.replace(&id, &format!("{id}  podCIDRs: {networks:?}\n"))
    })
}

/// "A compromised worker can use every identity of its gateways, unless its `EgressNode` has
/// `podCIDRs`: then only with its own pods' source addresses."
#[rstest]
fn root_on_a_worker_uses_another_tenants_identity(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let victim = lab.add_pod("w1", "shop", "victim");
    lab.add_pod("w2", "billing", "any");
    // Root takes away what binds its own node.
    delete_guard(&lab, "w2");
    let w2 = lab.node("w2").ns();
    let foreign = victim.address(family);
    let own = pod_network(family, 12).address();
    let outside = lab.external().capture("eth0", "udp");
    send(w2, &lab, &frame(&lab, 12, foreign, "foreign address"));
    assert_eq!(left_as(&outside, "foreign address"), Some(egress_ip(family, SHOP)));

    lab.write_resources("10-defaults.yaml", &with_pod_networks(&lab));
    lab.node("g1").egretctl("gateway up").success();
    let gateway = lab.node("g1").egress_ns();
    let refused = || gateway.counted("chain netdev egret node-12", "drop");
    assert_eq!(refused(), 0);
    send(w2, &lab, &frame(&lab, 12, foreign, "foreign again"));
    never_left(&lab, &outside, &victim, "foreign again");
    assert_eq!(refused(), 1);
    // What podCIDRs cannot tell: which of the node's pods has which identity.
    send(w2, &lab, &frame(&lab, 12, own, "own address"));
    assert_eq!(left_as(&outside, "own address"), Some(egress_ip(family, SHOP)));
}

/// "Whoever can send packets with the source address of a node on the underlay can speak for that
/// node."
#[rstest]
fn a_host_on_the_underlay_with_a_nodes_address_speaks_for_the_node(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let victim = lab.add_pod("w1", "shop", "victim");
    let host = stranger(&lab, family);
    let outside = lab.external().capture("eth0", "udp");
    let mac = |ns: &Ns| ns.inside(|| link_mac("eth0")).unwrap();
    let tunnelled = |source: IpAddr, payload: &str| {
        let inner = frame(&lab, 11, victim.address(family), payload).encode();
        let payload = vxlan(ours::VNI, &inner);
        let transport = Transport::Udp { source: 50_000, destination: ours::PORT, payload };
        let macs = [mac(&host), mac(lab.node("g1").ns())];
        let outer = Frame::new(macs, [source, underlay(family, 21)], transport).encode();
        host.inside(|| send_frame("eth0", &outer)).unwrap();
    };
    tunnelled(underlay(family, 11), "as a node");
    assert_eq!(left_as(&outside, "as a node"), Some(egress_ip(family, SHOP)));
    // Control: not everybody may; the address is what the guard goes by.
    tunnelled(underlay(family, 99), "as a stranger");
    never_left(&lab, &outside, &victim, "as a stranger");
}

/// The same by somebody without any capability.
fn by_hand(lab: &Lab, from: &Ns, source: IpAddr, payload: &str) -> Finished {
    let family = lab.families().list()[0];
    let line = format!(
        "vxlan {} --src-mac {} --dst-mac {} --src {source} --dst {} --payload {payload}",
        underlay(family, 21),
        node_mac(12),
        identity(SHOP),
        lab.external_address(family),
    );
    let probe = env!("CARGO_BIN_EXE_egret-probe");
    from.unprivileged(probe).args(line.split_whitespace()).run()
}

/// "An `EgressNode` on which nothing has installed the tunnel guard is open: any pod or process on
/// it can forge frames [..]. Run `egretctl repair` on every listed node."
#[rstest]
fn a_listed_node_without_the_guard_is_open_to_its_pods_and_processes_until_repair(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let victim = lab.add_pod("w1", "shop", "victim");
    let w2 = lab.node("w2");
    // A pod that no policy selects installs nothing.
    let pod = lab.add_pod("w2", "other", "plain");
    assert!(!w2.ns().snapshot().mentions(ours::NFT_TUNNEL_TABLE));
    let places = [("process", w2.ns()), ("pod", pod.ns())];
    let outside = lab.external().capture("eth0", "udp");
    let source = victim.address(family);
    for (name, from) in places {
        by_hand(&lab, from, source, name).success();
        assert_eq!(left_as(&outside, name), Some(egress_ip(family, SHOP)), "{name}");
    }
    w2.egretctl("repair").success();
    let dropped = |chain: &str| {
        w2.ns().counted(&format!("chain inet {} {chain}", ours::NFT_TUNNEL_TABLE), "drop")
    };
    assert!(by_hand(&lab, places[0].1, source, "late-process").stderr.contains("not permitted"));
    by_hand(&lab, places[1].1, source, "late-pod").success();
    for payload in ["late-process", "late-pod"] {
        never_left(&lab, &outside, &victim, payload);
    }
    assert_eq!((dropped("output"), dropped("forward")), (1, 1));
}

/// "In a family of which there is none, an address that comes later [..] leaves nowhere where the pod
/// is guarded, and as without Egret where it is not." The first half is in `pod_guard.rs`.
#[test]
fn a_family_that_comes_after_add_to_an_unguarded_pod_leaves_as_without_egret() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let defaults = resources::defaults(lab.nodes(), lab.families());
    lab.write_resources("10-defaults.yaml", &defaults.replace("required", "\"off\""));
    lab.route_pods_from_outside();
    let node = lab.node("w1");
    node.edit_conflist(|list| {
        let ipam = &mut list["plugins"][0]["ipam"];
        for key in ["ranges", "routes"] {
            ipam[key].as_array_mut().unwrap().truncate(1);
        }
    });
    let pod = lab.add_pod("w1", "shop", "cart");
    // The bridge still has its IPv6 address, of the pod that warmed it up.
    pod.ip("addr add fd00:10:244:11::77/64 dev eth0 nodad
        route add default via fd00:10:244:11::1");
    let seen = |family| pod.who(Question::Udp, lab.external_address(family)).unwrap().address;
    assert_eq!(seen(Family::V4), egress_ip(Family::V4, SHOP));
    assert_eq!(seen(Family::V6), "fd00:10:244:11::77".parse::<IpAddr>().unwrap());
}

/// "One more address in a family that is steered leaves nowhere: the worker drops it."
#[test]
fn one_more_address_of_a_steered_family_leaves_nowhere() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let outside = lab.external().capture("eth0", "udp");
    let own = [Family::V4, Family::V6].map(|family| pod.address(family));
    let later = ["10.244.11.77".parse().unwrap(), "fd00:10:244:11::77".parse().unwrap()];
    pod.ip("addr add 10.244.11.77/24 dev eth0\naddr add fd00:10:244:11::77/64 dev eth0 nodad");
    let send = |from: IpAddr, payload: &str| {
        let server = (lab.external_address(Family::of(from)), 9);
        pod.inside(|| UdpSocket::bind((from, 0))?.send_to(payload.as_bytes(), server)).unwrap();
    };
    for (own, later) in own.into_iter().zip(later) {
        send(later, "later");
        never_left(&lab, &outside, &pod, "later");
        // Control: the address that was there leaves.
        let payload = format!("own {own}");
        send(own, &payload);
        assert_eq!(left_as(&outside, &payload), Some(egress_ip(Family::of(own), SHOP)));
    }
}

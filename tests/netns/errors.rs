//! Errors come back, and sizes fit: closed ports on either side, and underlays of every usual MTU.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use egret_tests::{
    Client, Families, Lab, Node, Ns, Packet, Pod, Program, Question, egress_ip, external, far,
    resources,
};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::hygiene::{Numbers, Outside};
use crate::world::{self, SHOP};

const DEFAULTS: &str = "10-defaults.yaml";
/// Nobody listens here.
const CLOSED: u16 = 9;

fn any(family: Family) -> SocketAddr {
    let any: IpAddr = match family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    (any, 0).into()
}

/// A socket of a namespace, which hears what comes back for it within a second.
fn socket(ns: &Ns, family: Family) -> UdpSocket {
    let socket = ns.inside(|| UdpSocket::bind(any(family))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// What comes for a socket. A wait with a time limit is not restarted after a signal.
fn hear(socket: &UdpSocket) -> Result<usize, ErrorKind> {
    loop {
        match socket.recv(&mut [0; 200]).map_err(|error| error.kind()) {
            Err(ErrorKind::Interrupted) => {}
            heard => return heard,
        }
    }
}

/// What a connected socket hears after it has sent something.
fn answer(ns: &Ns, server: SocketAddr) -> Result<usize, ErrorKind> {
    let socket = socket(ns, if server.is_ipv4() { Family::V4 } else { Family::V6 });
    socket.connect(server).unwrap();
    socket.send(b"anybody?").unwrap();
    hear(&socket)
}

#[test]
fn a_pod_hears_that_a_port_outside_is_closed() {
    let lab = world::builder(Families::Dual).far_host().start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in Family::BOTH {
        for host in [lab.external_address(family), far(family)] {
            let heard = answer(&pod, (host, CLOSED).into());
            assert_eq!(heard, Err(ErrorKind::ConnectionRefused), "{host}");
            assert!(answer(&pod, (host, egret_tests::ECHO_PORT).into()).is_ok(), "{host}");
            let tcp = Client { server: (host, CLOSED).into(), ..Client::new(host) };
            let refused = pod.inside(|| tcp.connect()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{host}");
        }
    }
    // Control: an error that does not come is a silence.
    for table in ["iptables", "ip6tables"] {
        let dropped = format!("{table} -I INPUT -p udp --dport {CLOSED} -j DROP");
        lab.external().exec(&dropped).success();
    }
    for family in Family::BOTH {
        let heard = answer(&pod, (lab.external_address(family), CLOSED).into());
        assert_eq!(heard, Err(ErrorKind::WouldBlock));
    }
}

/// A server outside, and what a socket of the pod, which has asked it something, is called there.
fn asked(lab: &Lab, pod: &Pod, family: Family) -> (UdpSocket, UdpSocket) {
    let server = socket(lab.external(), family);
    let client = socket(pod, family);
    let address = (lab.external_address(family), server.local_addr().unwrap().port());
    client.send_to(b"question", address).unwrap();
    let peer = server.recv_from(&mut [0; 20]).unwrap().1;
    assert_eq!(peer.ip(), egress_ip(family, SHOP));
    server.connect(peer).unwrap();
    (server, client)
}

#[test]
fn a_server_outside_hears_that_a_pods_port_is_closed() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in Family::BOTH {
        let errors = lab.external().capture("eth0", "icmp[0] == 3 or icmp6[0] == 1");
        let (server, client) = asked(&lab, &pod, family);
        // Control: while the port is open there is no error.
        server.send(b"answer").unwrap();
        hear(&client).unwrap();
        drop(client);
        server.send(b"answer").unwrap();
        let heard = hear(&server);
        assert_eq!(heard, Err(ErrorKind::ConnectionRefused), "{family}");
        // It is the egress IP that says so.
        let said = errors.wait_for("the error", |_| true);
        assert_eq!(said.source, Some(egress_ip(family, SHOP)));
        let quoted = |packet: &Packet| match pod.address(family) {
            IpAddr::V4(own) => packet.payload.windows(4).any(|bytes| bytes == own.octets()),
            IpAddr::V6(own) => packet.payload.windows(16).any(|bytes| bytes == own.octets()),
        };
        let told: Vec<Packet> = errors.packets().into_iter().filter(quoted).collect();
        assert_eq!(told, [], "the pod's own address is quoted outside");
    }
}

/// Gives the underlay of a node this MTU: its link, and the port it is plugged into.
fn set_underlay_mtu(lab: &Lab, node: &Node, mtu: u32) {
    node.ns().ip(&format!("link set eth0 mtu {mtu}"));
    let port = format!("link set ul-{} mtu {mtu}", node.name());
    let switch = format!("{}-sw", lab.network());
    Program::new("ip").args(["-n", &switch, "-batch", "-"]).input(port).run().success();
}

/// The resources with VTEPs of the second family alone.
fn v6_vteps(lab: &Lab, text: &str) -> String {
    lab.nodes().iter().fold(text.to_owned(), |text, node| {
        let without = text.replace(&format!("\"172.18.0.{}\", ", node.host()), "");
        assert_ne!(without, text);
        without
    })
}

fn mtu_of(ns: &Ns, link: &str) -> u32 {
    let said = ns.exec(&format!("ip link show {link}")).success();
    let word = said.split("mtu ").nth(1).and_then(|rest| rest.split(' ').next());
    word.unwrap().parse().unwrap()
}

/// Both ways, both families: a megabyte over TCP and datagrams larger than any of these links.
#[track_caller]
fn assert_every_size_passes(lab: &Lab, pod: &Pod) {
    for family in Family::BOTH {
        let server = lab.external_address(family);
        for length in [1200, 1400, 1472, 8000, 20_000] {
            let seen = pod.who(Question::Big(length), server);
            let seen = seen.unwrap_or_else(|e| panic!("{length} bytes over {family}: {e}"));
            assert_eq!((seen.address, seen.answer), (egress_ip(family, SHOP), length));
        }
        let client = Client { patience: Duration::from_secs(20), ..Client::new(server) };
        pod.inside(|| client.upload(1_000_000)).unwrap_or_else(|e| panic!("up, {family}: {e}"));
        pod.inside(|| client.download(1_000_000)).unwrap_or_else(|e| panic!("down, {family}: {e}"));
    }
}

#[rstest]
fn the_tunnel_takes_what_the_underlay_leaves(
    #[values(1400, 1450, 1500, 9000)] underlay: u32,
    #[values(Family::V4, Family::V6)] outer: Family,
) {
    let lab = world::builder(Families::Dual).start();
    if outer == Family::V6 {
        let defaults = resources::defaults(lab.nodes(), Families::Dual);
        lab.write_resources(DEFAULTS, &v6_vteps(&lab, &defaults));
    }
    for node in lab.nodes() {
        set_underlay_mtu(&lab, node, underlay);
    }
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let overhead = if outer == Family::V4 { 50 } else { 70 };
    assert_eq!(mtu_of(&pod, ours::POD_LINK), underlay - overhead);
    for node in ["w1", "g1"] {
        let tunnel = mtu_of(&lab.node(node).egress_ns(), ours::TUNNEL_LINK);
        assert_eq!(tunnel, underlay - overhead, "{node}");
    }
    let numbers = Numbers::count(&lab, &["w1", "g1"]);
    let outside = Outside::watch(&lab);
    let wire = lab.node("w1").ns().capture("eth0", "udp port 7790");
    assert_every_size_passes(&lab, &pod);
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    numbers.stayed_inside(lab.external_address(Family::V4));
    let outer_type = if outer == Family::V4 { 0x0800 } else { 0x86dd };
    let outer_packets = wire.stop();
    assert!(outer_packets.iter().any(|packet| packet.inner().is_some()));
    assert!(outer_packets.iter().all(|packet| packet.ether_type == outer_type));
}

/// The laboratory's resources with an explicit MTU of the tunnel.
fn with_tunnel_mtu(lab: &Lab, mtu: u32) -> String {
    let text = resources::defaults(lab.nodes(), Families::Dual);
    text.replace("  guard:", &format!("  tunnel: {{ mtu: {mtu} }}\n  guard:"))
}

#[test]
fn nodes_of_different_mtus_agree_by_the_tunnels_and_a_node_too_narrow_for_it_refuses() {
    let lab = world::builder(Families::Dual).start();
    for (node, mtu) in [("w1", 1450), ("w2", 9000), ("g1", 1500)] {
        set_underlay_mtu(&lab, lab.node(node), mtu);
    }
    // What fits w2 and the gateway does not fit w1.
    lab.write_resources(DEFAULTS, &with_tunnel_mtu(&lab, 1420));
    world::open(&lab);
    let refused = lab.pod("w1", "shop", "cart").add().err().expect("1420 bytes in 1400");
    for word in ["1420", "1450", "1400"] {
        assert!(refused.message.contains(word), "no {word} in: {refused}");
    }
    assert!(!lab.node("w1").egress_ns().exists(), "a refused ADD made something");
    lab.node("g1").egretctl("gateway down").success();
    lab.node("g1").egretctl("gc").success();

    // What fits none but w2: the gateway says so as well.
    lab.write_resources(DEFAULTS, &with_tunnel_mtu(&lab, 1500));
    let refused = lab.node("g1").egretctl("gateway up").exits(2).stderr;
    for word in ["1500", "1450"] {
        assert!(refused.contains(word), "no {word} in: {refused}");
    }
    assert!(!lab.node("g1").egress_ns().exists(), "a refused gateway up made something");

    lab.write_resources(DEFAULTS, &with_tunnel_mtu(&lab, 1400));
    lab.node("g1").egretctl("gateway up").success();
    for node in ["w1", "w2", "g1"] {
        let pod = lab.add_pod(node, "shop", "cart");
        assert_eq!(mtu_of(&pod, ours::POD_LINK), 1400, "on {node}");
        assert_every_size_passes(&lab, &pod);
    }
    // Control: an unselected pod is not narrowed.
    let other = lab.add_pod("w1", "other", "plain");
    let seen = other.who(Question::Tcp, lab.external_address(Family::V4)).unwrap();
    assert_eq!(seen.address, external(Family::V4, 11));
    assert_eq!(mtu_of(&other, "eth0"), 1500);
}

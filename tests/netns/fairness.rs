//! One tenant cannot fill what is everybody's: the gateway's table of flows, and the ports of an
//! egress IP.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use egret_tests::{Client, ECHO_PORT, Families, Lab, Ns, Packet, Pod, Question, egress_ip};
use rstest::rstest;

use crate::hygiene::Outside;
use crate::world::{self, BILLING, SHOP};

/// Connection marks of the two tenants: pool 1, index.
const SHOP_MARK: u32 = 0x0100_0000 + SHOP as u32;
const BILLING_MARK: u32 = 0x0100_0000 + BILLING as u32;

/// Entries in the gateway's table of flows, and how many there may be.
fn flows(gateway: &Ns) -> u64 {
    gateway.sysctl("net.netfilter.nf_conntrack_count").parse().unwrap()
}

fn table(gateway: &Ns) -> u64 {
    gateway.sysctl("net.netfilter.nf_conntrack_max").parse().unwrap()
}

/// New flows of an identity that were refused.
fn refused(gateway: &Ns, mark: u32) -> u64 {
    let element = format!("inet egret over {{ {mark:#x} }}");
    let listing = gateway.exec(&format!("nft get element {element}")).success();
    let packets = listing.split("counter packets ").nth(1).expect("an element that counts");
    packets.split(' ').next().unwrap().parse().unwrap()
}

/// The host outside takes datagrams without a word: an error for each would be as many packets.
fn take_in_silence(outside: &Ns) {
    let rules = format!(
        "add table inet silence
         add chain inet silence in {{ type filter hook prerouting priority raw; }}
         add rule inet silence in udp dport != {ECHO_PORT} drop"
    );
    outside.program("nft").args(["-f", "-"]).input(rules.as_str()).run().success();
}

/// Begins a flow for each destination port, from one socket after the other, until told to stop.
fn open_flows(pod: &Pod, outside: IpAddr, enough: impl Fn() -> bool + Sync) {
    pod.inside(|| {
        loop {
            let socket = UdpSocket::bind(SocketAddr::from((any(outside), 0))).unwrap();
            for port in (1..=u16::MAX).filter(|port| *port != ECHO_PORT) {
                // A full queue on the way is no failure: there are more flows than needed.
                socket.send_to(b"x", SocketAddr::from((outside, port))).ok();
                if port.is_multiple_of(8192) && enough() {
                    return;
                }
            }
        }
    });
}

#[rstest]
fn a_pod_at_the_limit_of_its_flows_leaves_another_tenant_alone(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let outside = lab.external_address(family);
    let watch = Outside::watch(&lab);
    let (greedy, other) = (lab.add_pod("w1", "shop", "greedy"), lab.add_pod("w2", "billing", "b"));
    // So that it lasts until the end.
    let gateway = lab.node("g1").egress_ns();
    gateway.set_sysctl("net.netfilter.nf_conntrack_udp_timeout", "600");
    take_in_silence(lab.external());
    let early = pod_socket(&greedy, outside);
    let half = table(&gateway) / 2;

    // Until most buckets are full: then more flows add next to nothing.
    let deadline = Instant::now() + Duration::from_mins(2);
    let much = half * 5 / 8;
    let full = || flows(&gateway) > much && refused(&gateway, SHOP_MARK) > half / 4;
    open_flows(&greedy, outside, || full() || Instant::now() > deadline);
    let held = flows(&gateway);
    assert!(refused(&gateway, SHOP_MARK) > half / 4, "nothing was refused at {held} flows");
    assert!(held <= half, "{held} flows of {}, which is more than half", table(&gateway));
    assert!(held > much, "{held} flows: refused far below the share of {half}");

    // While it goes on trying, the other tenant begins flows, and none fails.
    let done = AtomicBool::new(false);
    let ended = || done.load(Ordering::Relaxed) || Instant::now() > deadline;
    std::thread::scope(|scope| {
        scope.spawn(|| open_flows(&greedy, outside, ended));
        for _ in 0..100 {
            for question in [Question::Udp, Question::Tcp] {
                let seen = other.who(question, outside).unwrap();
                assert_eq!(seen.address, egress_ip(family, BILLING));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(refused(&gateway, BILLING_MARK), 0);
    let others = 1000;
    assert!(flows(&gateway) <= half + others, "{} flows", flows(&gateway));
    // And what the greedy one had begun before is not hurt.
    assert!(answers(&early), "a flow of the greedy pod from before its limit");
    watch.saw_exactly([SHOP, BILLING].map(|index| egress_ip(family, index)));
    without_the_rule_it_fills_more(&lab, &greedy, outside, half);
}

/// On a machine with a small table, where the rate is reached in no time.
#[rstest]
fn an_identity_begins_so_many_flows_in_a_second_and_no_more(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    const SIZE: u64 = 65_536;
    let lab = world::builder(families).start();
    world::open(&lab);
    let outside = lab.external_address(families.list()[0]);
    let (g1, pod) = (lab.node("g1"), lab.add_pod("w1", "shop", "greedy"));
    let gateway = g1.egress_ns();
    take_in_silence(lab.external());
    let maximum = ("net/netfilter/nf_conntrack_max", SIZE.to_string());
    g1.egretctl_where(maximum.0, &maximum.1, "gateway up").success();
    let sets = gateway.exec("nft list table inet egret").success();
    assert!(sets.contains("set share-65536") && !sets.contains("share-262144"), "{sets}");

    // Far from what may live at once, so that nothing else can be what refuses.
    let (begin, before) = (Instant::now(), flows(&gateway));
    let late = || begin.elapsed() > Duration::from_secs(5);
    open_flows(&pod, outside, || refused(&gateway, SHOP_MARK) > 1000 || late());
    let (begun, seconds) = (flows(&gateway) - before, begin.elapsed().as_secs() + 1);
    assert!(refused(&gateway, SHOP_MARK) > 1000, "{begun} flows in {seconds} s, none refused");
    let rate = SIZE / 32;
    assert!((rate..=(seconds + 1) * rate).contains(&begun), "{begun} flows in {seconds} s");
    assert!(begun < SIZE / 4, "{begun} flows: the other limit is near");
    // Whoever asks on the real machine hears that the table has another size.
    let status = g1.egretctl("gateway status -o json").exits(1).json();
    assert!(status["problems"].to_string().contains("shares were made for 65536"), "{status:#}");
}

/// `ct count` does not count them, so they must not stay, and none may begin too many at once.
#[rstest]
fn closed_connections_do_not_stay(#[values(Families::V4, Families::V6)] families: Families) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let outside = lab.external_address(families.list()[0]);
    let pod = lab.add_pod("w1", "shop", "cart");
    let gateway = lab.node("g1").egress_ns();
    let connect_and_close = || {
        for _ in 0..200 {
            pod.who(Question::Tcp, outside).unwrap();
        }
    };
    connect_and_close();
    let gone = || (flows(&gateway) < 20).then_some(());
    egret_tests::eventually("closed connections go", Duration::from_secs(5), gone);
    // Control: with the kernel's own value they would have stayed.
    gateway.set_sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "120");
    connect_and_close();
    std::thread::sleep(Duration::from_secs(3));
    assert!(flows(&gateway) > 150, "{} flows", flows(&gateway));
}

#[rstest]
fn pings_from_outside_take_no_room(#[values(Families::V4, Families::V6)] families: Families) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let address = egress_ip(family, SHOP);
    let gateway = lab.node("g1").egress_ns();
    let before = flows(&gateway);
    for _ in 0..5 {
        assert!(lab.external().ping(address), "an egress IP answers");
    }
    assert!(flows(&gateway) <= before, "{before} flows, and then {}", flows(&gateway));
    // Control: another protocol leaves a trace, so the count would show it.
    gateway.program("nft").args(["flush chain inet egret outside"]).run().success();
    assert!(lab.external().ping(address));
    assert!(flows(&gateway) > before);
}

/// Control: it is the rule that holds it back.
fn without_the_rule_it_fills_more(lab: &Lab, greedy: &Pod, outside: IpAddr, half: u64) {
    let gateway = lab.node("g1").egress_ns();
    let rules = "flush chain inet egret new
        add rule inet egret new ct mark set meta mark";
    gateway.program("nft").args(["-f", "-"]).input(rules).run().success();
    let deadline = Instant::now() + Duration::from_mins(1);
    let more = || flows(&gateway) > half + 1000 || Instant::now() > deadline;
    open_flows(greedy, outside, more);
    assert!(flows(&gateway) > half + 1000, "{} flows", flows(&gateway));
}

/// A socket of a pod, connected to the echo server, that has had an answer.
fn pod_socket(pod: &Pod, server: IpAddr) -> UdpSocket {
    let socket = connected(pod, server);
    assert!(answers(&socket));
    socket
}

fn connected(pod: &Pod, server: IpAddr) -> UdpSocket {
    pod.inside(|| {
        let socket = UdpSocket::bind(SocketAddr::from((any(server), 0))).unwrap();
        socket.connect(SocketAddr::from((server, ECHO_PORT))).unwrap();
        socket
    })
}

/// The unspecified address of the same family.
fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [0; 4].into() } else { [0; 16].into() }
}

/// Three questions, of which one must be answered: others use the link as well.
fn answers(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    (0..3).any(|_| socket.send(b"S").is_ok() && socket.recv(&mut [0; 100]).is_ok())
}

const FIRST_PORT: u16 = 40_000;
const PORTS: u16 = 50;
const ATTEMPTS: usize = 60;

/// Source translation with so few ports that they run out, instead of the gateway's own.
fn with_few_ports(gateway: &Ns, egress_ip: IpAddr) {
    let (family, address) = match egress_ip {
        IpAddr::V4(address) => ("ip", address.to_string()),
        IpAddr::V6(address) => ("ip6", format!("[{address}]")),
    };
    let last = FIRST_PORT + PORTS - 1;
    let rules = format!(
        "flush chain inet egret post
         add rule inet egret post ct mark {SHOP_MARK:#x} meta l4proto {{ tcp, udp }} snat {family} to {address}:{FIRST_PORT}-{last}
         add rule inet egret post iifname egret0 oifname egru0 counter drop"
    );
    gateway.program("nft").args(["-f", "-"]).input(rules.as_str()).run().success();
}

#[rstest]
fn a_flow_for_which_no_port_is_left_never_leaves(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let outside = lab.external_address(family);
    let pod = lab.add_pod("w1", "shop", "cart");
    let watch = Outside::watch(&lab);
    let wire = lab.external().capture("eth0", &format!("dst port {ECHO_PORT}"));
    with_few_ports(&lab.node("g1").egress_ns(), egress_ip(family, SHOP));

    // All at once, each kept until all have been tried.
    let client = Client { patience: Duration::from_secs(2), ..Client::new(outside) };
    let streams: Vec<TcpStream> = std::thread::scope(|scope| {
        let connect = || pod.inside(|| client.connect()).ok();
        let tries: Vec<_> = (0..ATTEMPTS).map(|_| scope.spawn(connect)).collect();
        tries.into_iter().filter_map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(streams.len(), usize::from(PORTS), "connections of {ATTEMPTS} tried");
    let sockets: Vec<UdpSocket> = (0..ATTEMPTS).map(|_| connected(&pod, outside)).collect();
    let answered = std::thread::scope(|scope| {
        let asked: Vec<_> = sockets.iter().map(|it| scope.spawn(|| answers(it))).collect();
        asked.into_iter().map(|it| it.join().unwrap()).filter(|it| *it).count()
    });
    assert_eq!(answered, usize::from(PORTS), "flows of {ATTEMPTS} tried");

    watch.saw_exactly([egress_ip(family, SHOP)]);
    let in_range = |packet: &Packet| {
        packet.source_port.is_some_and(|port| (FIRST_PORT..FIRST_PORT + PORTS).contains(&port))
    };
    let outside: Vec<Packet> = wire.stop().into_iter().filter(|it| !in_range(it)).collect();
    assert_eq!(outside, [], "packets with a port that is none of the {PORTS}");
}

//! The tunnel guard: hand-made VXLAN of everybody who could send it. Dropped and counted where the
//! guard stands, and, without it, arrived: otherwise silence would prove nothing.

use std::net::SocketAddr;
use std::time::Duration;

use egret_tests::{
    Capture, Families, Frame, Lab, Ns, Packet, Pod, Program, Question, Transport, link_mac,
    send_frame, send_vxlan, underlay, vxlan,
};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::forgery::{identity, node_mac};
use crate::world::{self, BILLING, SHOP};

/// A host on the underlay that is no node.
pub(crate) fn stranger(lab: &Lab, family: Family) -> Ns {
    let namespace = lab.namespace("stranger");
    let switch = format!("{}-sw", lab.network());
    namespace.ip(&format!("link add eth0 type veth peer name ul-stranger netns {switch}"));
    let plug = "link set ul-stranger addrgenmode none master ul up";
    Program::new("ip").args(["-n", &switch, "-batch", "-"]).input(plug).run().success();
    let (length, option) = match family {
        Family::V4 => (24, ""),
        Family::V6 => (64, " nodad"),
    };
    let address = underlay(family, 99);
    namespace.ip(&format!("link set eth0 up\naddr add {address}/{length} dev eth0{option}"));
    namespace
}

pub(crate) fn delete_guard(lab: &Lab, node: &str) {
    let table = format!("nft delete table inet {}", ours::NFT_TUNNEL_TABLE);
    lab.node(node).ns().exec(&table).success();
}

/// Who sends, towards which node, what it claims, and which chain of which node drops it.
struct Attempt<'a> {
    name: &'static str,
    from: &'a Ns,
    to: u8,
    frame: Frame,
    dropped_by: (&'static str, &'static str),
}

impl Attempt<'_> {
    fn send(&self, family: Family) {
        let vtep = SocketAddr::from((underlay(family, self.to), ours::PORT));
        let frame = self.frame.encode();
        // Where the output rule refuses it, the system call fails.
        self.from.inside(|| send_vxlan(vtep, ours::VNI, &frame)).ok();
    }

    fn dropped(&self, lab: &Lab) -> u64 {
        let (node, chain) = self.dropped_by;
        let chain = format!("chain inet {} {chain}", ours::NFT_TUNNEL_TABLE);
        lab.node(node).ns().counted(&chain, "drop")
    }
}

/// Towards the gateway: a frame of the victim. Towards the worker: an answer for the victim.
fn attempts<'a>(lab: &'a Lab, attacker: &'a Pod, victim: &Pod, other: &'a Ns) -> Vec<Attempt<'a>> {
    let family = lab.families().list()[0];
    let (own, outside) = (victim.address(family), lab.external_address(family));
    let up = |name| {
        let macs = [node_mac(11), identity(SHOP)];
        Frame::new(macs, [own, outside], Transport::udp(name))
    };
    let down = |name| {
        let macs = [identity(SHOP), node_mac(11)];
        Frame::new(macs, [outside, own], Transport::udp(name))
    };
    let attempt = |name, from, to, frame, dropped_by| Attempt { name, from, to, frame, dropped_by };
    let (pod, w1, w2) = (attacker.ns(), lab.node("w1").ns(), lab.node("w2").ns());
    vec![
        attempt("pod", pod, 21, up("pod"), ("w1", "forward")),
        attempt("pod to its own node", pod, 11, down("pod to its own node"), ("w1", "input")),
        attempt("process", w1, 21, up("process"), ("w1", "output")),
        attempt("worker as another", w2, 21, up("worker as another"), ("g1", "input")),
        attempt("worker as gateway", w2, 11, down("worker as gateway"), ("w1", "input")),
        attempt("stranger", other, 21, up("stranger"), ("g1", "input")),
        attempt("stranger as gateway", other, 11, down("stranger as gateway"), ("w1", "input")),
    ]
}

/// Where a frame comes out: with the egress IP outside, or at the victim.
fn arrivals(lab: &Lab, victim: &Pod, attempts: &[Attempt<'_>]) -> Vec<String> {
    let family = lab.families().list()[0];
    let watch = |namespace: &Ns, link| namespace.capture(link, "udp");
    let places = [watch(lab.external(), "eth0"), watch(victim.ns(), ours::POD_LINK)];
    for attempt in attempts {
        attempt.send(family);
    }
    // Behind them, on the same way, and back.
    victim.who(Question::Udp, lab.external_address(family)).unwrap();
    let answer = |packet: &Packet| packet.source_port == Some(egret_tests::ECHO_PORT);
    for place in &places {
        place.wait_for("the answer to the victim", answer);
    }
    let payloads = places.iter().flat_map(Capture::packets).map(|packet| packet.payload);
    let mut seen: Vec<String> = payloads
        .map(|payload| String::from_utf8_lossy(&payload).into_owned())
        .filter(|payload| attempts.iter().any(|attempt| attempt.name == payload))
        .collect();
    seen.sort();
    seen
}

#[rstest]
fn hand_made_tunnel_frames_are_dropped_and_counted_and_arrive_without_the_guard(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let (attacker, victim) =
        (lab.add_pod("w1", "billing", "attacker"), lab.add_pod("w1", "shop", "victim"));
    // So that w2 has a guard, which root on it removes: what holds then is the others' guard.
    lab.add_pod("w2", "billing", "any");
    delete_guard(&lab, "w2");
    let other = stranger(&lab, family);
    let attempts = attempts(&lab, &attacker, &victim, &other);
    for attempt in &attempts {
        let before = attempt.dropped(&lab);
        attempt.send(family);
        let counted = || (attempt.dropped(&lab) == before + 1).then_some(());
        let sentence = format!("{}: counted by {:?}", attempt.name, attempt.dropped_by);
        egret_tests::eventually(&sentence, Duration::from_secs(3), counted);
    }
    assert_eq!(arrivals(&lab, &victim, &attempts), Vec::<String>::new());
    for node in ["w1", "g1"] {
        delete_guard(&lab, node);
    }
    let mut all: Vec<String> = attempts.iter().map(|a| a.name.to_owned()).collect();
    all.sort();
    assert_eq!(arrivals(&lab, &victim, &attempts), all);
}

/// A datagram for the tunnel port of a pod's own node, out of a packet socket of the pod, with the
/// outer source of another node.
fn raw_datagram(pod: &Pod, claimed: u8, inner: &Frame) -> Vec<u8> {
    let family = pod.node().families().list()[0];
    let bridge = pod.node().ns().inside(|| link_mac("cni0")).unwrap();
    let own = pod.ns().inside(|| link_mac(pod.link())).unwrap();
    let outer = [underlay(family, claimed), underlay(family, pod.node().host())];
    let payload = vxlan(ours::VNI, &inner.encode());
    let transport = Transport::Udp { source: 40_000, destination: ours::PORT, payload };
    Frame::new([own, bridge], outer, transport).encode()
}

/// A pod with `CAP_NET_RAW` needs no help of the node's sockets, and its own node is asked by
/// nobody where the packet came from: as a worker on a gateway node, as a gateway on a worker.
#[rstest]
fn a_pod_cannot_speak_to_its_own_node_with_the_address_of_another(
    #[values((Families::V4, "0"), (Families::V4, "2"), (Families::V6, "0"))] underlay_of: (
        Families,
        &str,
    ),
) {
    let (families, rp_filter) = underlay_of;
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let victim = lab.add_pod("w1", "shop", "victim");
    let (own, server) = (victim.address(family), lab.external_address(family));
    let frame = |macs, addresses, name| Frame::new(macs, addresses, Transport::udp(name));
    let up = frame([node_mac(11), identity(SHOP)], [own, server], "as a worker");
    let down = frame([identity(SHOP), node_mac(11)], [server, own], "as a gateway");
    let (on_g1, on_w1) = (lab.add_pod("g1", "other", "on-g1"), lab.add_pod("w1", "other", "on-w1"));
    let attempts =
        [(&on_g1, raw_datagram(&on_g1, 11, &up)), (&on_w1, raw_datagram(&on_w1, 21, &down))];
    let places =
        [lab.external().capture("eth0", "udp"), victim.ns().capture(ours::POD_LINK, "udp")];
    let chain = format!("chain inet {} input", ours::NFT_TUNNEL_TABLE);
    let send = |(pod, datagram): &(&Pod, Vec<u8>)| {
        pod.ns().inside(|| send_frame(pod.link(), datagram)).unwrap();
    };
    for attempt in &attempts {
        let node = attempt.0.node().ns();
        for link in ["all", "cni0"] {
            node.set_sysctl(&format!("net.ipv4.conf.{link}.rp_filter"), rp_filter);
        }
        let before = node.counted(&chain, "drop");
        send(attempt);
        let counted = || (node.counted(&chain, "drop") == before + 1).then_some(());
        egret_tests::eventually("the guard counts it", Duration::from_secs(3), counted);
    }
    victim.who(Question::Udp, server).unwrap();
    let forged = |packet: &Packet| packet.payload.starts_with(b"as a ");
    for place in &places {
        let answer = |packet: &Packet| packet.source_port == Some(egret_tests::ECHO_PORT);
        place.wait_for("the answer to the victim", answer);
        assert!(!place.packets().iter().any(forged), "{:?}", place.packets());
    }
    for (attempt, place) in attempts.iter().zip(&places) {
        delete_guard(&lab, attempt.0.node().name());
        send(attempt);
        place.wait_for("what was forged", forged);
    }
}

/// The node's own MAC and VTEP do not help: the kernel knows who sends.
#[rstest]
fn a_process_without_rights_on_the_node_cannot_speak_for_it(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let victim = lab.add_pod("w1", "shop", "victim");
    let node = lab.node("w1").ns();
    let line = format!(
        "vxlan {} --src-mac {} --dst-mac {} --src {} --dst {} --payload forged",
        underlay(family, 21),
        node_mac(11),
        identity(BILLING),
        victim.address(family),
        lab.external_address(family),
    );
    let send = || {
        let probe = env!("CARGO_BIN_EXE_egret-probe");
        node.unprivileged(probe).args(line.split_whitespace()).run()
    };
    let chain = format!("chain inet {} output", ours::NFT_TUNNEL_TABLE);
    let outside = lab.external().capture("eth0", "udp");
    let refused = send().exits(1);
    assert!(refused.stderr.contains("not permitted"), "{refused}");
    assert_eq!(node.counted(&chain, "drop"), 1);
    victim.who(Question::Udp, lab.external_address(family)).unwrap();
    outside.wait_for("the answer", |p| p.source_port == Some(egret_tests::ECHO_PORT));
    assert!(outside.packets().iter().all(|packet| packet.payload != b"forged"));
    node.exec(&format!("nft flush {chain}")).success();
    send().success();
    outside.wait_for("the forged frame", |packet| packet.payload == b"forged");
}

/// A node with both roles takes frames of members, addressed to itself, and of workers, addressed to
/// an identity. No member is a worker for that.
#[rstest]
fn a_member_cannot_speak_for_another_node_to_a_node_of_both_roles(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).gateway("g2").start();
    world::open(&lab);
    let family = families.list()[0];
    let (victim, local) = (lab.add_pod("w1", "shop", "victim"), lab.add_pod("g1", "shop", "local"));
    let member = lab.node("g2").ns();
    let macs = [node_mac(11), identity(BILLING)];
    let addresses = [victim.address(family), lab.external_address(family)];
    let frame = Frame::new(macs, addresses, Transport::udp("member")).encode();
    let send = || {
        let vtep = SocketAddr::from((underlay(family, 21), ours::PORT));
        member.inside(|| send_vxlan(vtep, ours::VNI, &frame)).unwrap();
    };
    let chain = format!("chain inet {} input", ours::NFT_TUNNEL_TABLE);
    let dropped = || lab.node("g1").ns().counted(&chain, "drop");
    let outside = lab.external().capture("eth0", "udp");
    let is_it = |packet: &Packet| packet.payload == b"member";
    send();
    egret_tests::eventually("counted", Duration::from_secs(3), || (dropped() == 1).then_some(()));
    // Both of the roles work meanwhile.
    for pod in [&victim, &local] {
        pod.who(Question::Udp, lab.external_address(family)).unwrap();
    }
    let answers = |packet: &Packet| packet.source_port == Some(egret_tests::ECHO_PORT);
    outside.wait_for("an answer", answers);
    assert!(!outside.packets().iter().any(is_it));
    delete_guard(&lab, "g1");
    send();
    outside.wait_for("the forged frame", is_it);
}

/// The guard must stand before the tunnel can be spoken to, and go with it.
#[test]
fn the_guard_comes_with_the_first_selected_pod_and_goes_with_gc() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let node = lab.node("w1");
    let guarded = || node.ns().snapshot().mentions(ours::NFT_TUNNEL_TABLE);
    lab.add_pod("w1", "other", "plain");
    assert!(!guarded() && !node.egress_ns().exists(), "an unselected pod costs nothing");
    let pod = lab.add_pod("w1", "shop", "cart");
    assert!(guarded());
    delete_guard(&lab, "w1");
    node.egretctl("repair").success();
    assert!(guarded());
    pod.del().unwrap();
    assert!(guarded(), "shared objects are not removed by DEL");
    node.egretctl("gc").success();
    assert!(!guarded() && !node.egress_ns().exists());
}

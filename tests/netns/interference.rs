//! Both guards among strangers: what the environments of [`crate::hostile`] do to a node does not
//! open the pod guard, nor does it make it drop what it should not; what takes the guards away is
//! told, and put back; a pod that breaks its own routing reaches nothing.

use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{
    Checksum, Client, ECHO_PORT, Families, Frame, Lab, MainPlugin, Node, Pod, Question, Transport,
    egress_ip, external, link_mac, send_frame, underlay,
};
use egret_types::{Family, ours};
use rstest::rstest;
use serde_json::{Value, json};

use crate::hostile::{Hostility, SMOOTH, probe, ride};
use crate::hygiene::Outside;
use crate::pod_guard::{self, bound, next_hop_mac};
use crate::world::SHOP;

const CHECK_DIFFERENCE: &str = "the kernel differs from the record of ADD";

/// A node on which selected pods must be guarded, and a policy that leaves a pod that binds to its
/// primary link a way to get there: one for all destinations would end it with `unreachable`.
fn guarded(families: Families) -> Lab {
    let lab = pod_guard::world(families, MainPlugin::Bridge, "required");
    let files = lab.node("w1").resources_dir();
    let defaults = std::fs::read_to_string(files.join("10-defaults.yaml")).unwrap();
    assert!(defaults.contains("  guard: \"required\"\n"), "{defaults}");
    lab
}

fn status(node: &Node) -> Value {
    node.egretctl("status -o json").json()
}

/// Packets that the pod guard has dropped: for their source, for their destination.
fn dropped(node: &Node) -> [u64; 2] {
    let status = status(node);
    let count = |reason: &str| {
        let all = status["drops"].as_array().unwrap();
        let drop = all.iter().find(|drop| drop["reason"] == json!(reason));
        drop.unwrap_or_else(|| panic!("{reason}: {status:#}"))["packets"].as_u64().unwrap()
    };
    ["guardSource", "guardDestination"].map(count)
}

fn egress_ips(lab: &Lab) -> Vec<IpAddr> {
    lab.families().list().iter().map(|family| egress_ip(*family, SHOP)).collect()
}

#[track_caller]
fn assert_leaves_through_the_gateway(lab: &Lab, pod: &Pod) {
    for family in lab.families().list() {
        for question in Question::ALL {
            let seen = pod.who(question, lab.external_address(*family)).unwrap();
            assert_eq!(seen.address, egress_ip(*family, SHOP), "{question:?}");
        }
    }
}

/// Past the steering with the pod's own address, and with a neighbour's.
fn attack(lab: &Lab, pod: &Pod) {
    for family in lab.families().list() {
        let server = lab.external_address(*family);
        pod.ask(&bound(server, 0), Question::Tcp).unwrap_err();
        pod.ask(&bound(server, 0), Question::Udp).unwrap_err();
        let macs = [pod.inside(|| link_mac("eth0")).unwrap(), next_hop_mac(pod, *family)];
        let neighbour: IpAddr = match family {
            Family::V4 => "10.244.11.77".parse().unwrap(),
            Family::V6 => "fd00:10:244:11::77".parse().unwrap(),
        };
        let datagram =
            || Transport::Udp { source: 41_000, destination: ECHO_PORT, payload: b"S".to_vec() };
        let invalid = Frame::new(macs, [pod.address(*family), server], datagram());
        let forged = Frame::new(macs, [neighbour, server], datagram());
        for frame in [Frame { checksum: Checksum::Wrong, ..invalid }, forged] {
            pod.inside(|| send_frame("eth0", &frame.encode())).unwrap();
        }
    }
}

/// Whether the node forwards what a pod sends on its primary link: where it does not, nothing comes
/// as far as the guard of destinations.
fn forwards(hostility: Hostility) -> bool {
    !matches!(hostility, Hostility::ForwardDrop | Hostility::NoForwarding)
}

#[rstest]
fn the_pod_guard_drops_the_attack_and_nothing_else_whatever_the_node_does_to_others(
    #[values(
        Hostility::ForwardDrop,
        Hostility::Masquerade,
        Hostility::ReversePath,
        Hostility::NoForwarding,
        Hostility::Invalid
    )]
    hostility: Hostility,
) {
    let lab = guarded(Families::Dual);
    let pod = lab.add_pod("w1", "shop", "cart");
    let node = lab.node("w1");
    assert_eq!(status(node)["guard"], json!({ "guarded": 1, "unguarded": [] }));
    let outside = Outside::watch(&lab);
    for node in ["w1", "g1"] {
        hostility.strike(lab.node(node));
    }
    assert_leaves_through_the_gateway(&lab, &pod);
    assert_eq!(dropped(node), [0, 0], "of what goes the right way");
    attack(&lab, &pod);
    let [sources, destinations] = dropped(node);
    assert!(sources >= 2, "{sources} packets with a neighbour's address");
    // A handshake, a datagram, and one with a wrong checksum, over each family.
    assert!(destinations >= 6 || !forwards(hostility), "{destinations} packets past the steering");
    assert_leaves_through_the_gateway(&lab, &pod);
    outside.saw_exactly(egress_ips(&lab));
    if forwards(hostility) {
        control(&lab, &pod);
    }
}

/// Without the guard the same act is seen outside.
fn control(lab: &Lab, pod: &Pod) {
    let watch = lab.external().capture("eth0", "ip or ip6");
    for family in ["netdev", "inet"] {
        let table = format!("nft delete table {family} {}", ours::NFT_GUARD_TABLE);
        lab.node("w1").ns().exec(&table).success();
    }
    for family in lab.families().list() {
        pod.ask(&bound(lab.external_address(*family), 0), Question::Udp).ok();
        let node = external(*family, 11);
        watch.wait_for("a packet of the node", |packet| packet.source == Some(node));
    }
}

/// CHECK and `egretctl status` name what is gone of both guards.
#[track_caller]
fn assert_told(node: &Node, pod: &Pod) {
    let told = pod.check().unwrap_err().message;
    assert!(told.contains(CHECK_DIFFERENCE), "{told}");
    let all = node.egretctl("status").exits(1).stdout;
    for table in [ours::NFT_GUARD_TABLE, ours::NFT_TUNNEL_TABLE] {
        let mut problems = all.lines().filter(|line| line.starts_with("problem: "));
        let named = |line: &str| line.contains(table) && line.contains("missing");
        assert!(problems.any(named), "{table} in {all}");
        assert!(told.contains(table), "{table} in {told}");
    }
}

#[rstest]
fn a_flush_takes_both_guards_is_told_and_repair_puts_both_back_under_traffic() {
    let lab = guarded(Families::Dual);
    let pod = lab.add_pod("w1", "shop", "cart");
    let node = lab.node("w1");
    node.egretctl("status").success();
    let met = ride(&lab, &pod, || Hostility::Flush.strike(node));
    assert_eq!(met, SMOOTH, "flush");
    assert_told(node, &pod);
    // Nobody masquerades any more either: what leaves has the pod's own address.
    let watch = lab.external().capture("eth0", "ip or ip6");
    for family in Family::BOTH {
        pod.ask(&bound(lab.external_address(family), 0), Question::Udp).unwrap_err();
        let own = pod.address(family);
        watch.wait_for("a packet of the pod", |packet| packet.source == Some(own));
    }
    drop(watch.stop());

    let said = std::sync::Mutex::new(String::new());
    let repair = || *said.lock().unwrap() = node.egretctl("repair").success();
    assert_eq!(ride(&lab, &pod, repair), SMOOTH, "repair");
    let said = said.into_inner().unwrap();
    for table in [ours::NFT_GUARD_TABLE, ours::NFT_TUNNEL_TABLE] {
        assert!(said.contains(&format!("wrote nft table inet {table}")), "{table}: {said}");
    }
    node.egretctl("status").success();
    pod.check().unwrap();
    let outside = Outside::watch(&lab);
    attack(&lab, &pod);
    assert_leaves_through_the_gateway(&lab, &pod);
    outside.saw_exactly(egress_ips(&lab));
    let [sources, destinations] = dropped(node);
    assert!(sources >= 2 && destinations >= 6, "{sources} and {destinations}");
    let by_hand = format!(
        "vxlan {} --src-mac 06:e6:00:00:00:0b --dst-mac 02:e6:01:00:00:03 --src {} --dst {}",
        underlay(Family::V4, 21),
        pod.address(Family::V4),
        lab.external_address(Family::V4)
    );
    assert!(probe(node.ns(), &by_hand).exits(1).stderr.contains("not permitted"));
}

/// `ip rule flush` takes the kernel's own rules too; a pod that puts those back is where it would be
/// without Egret, and stays inside.
#[rstest]
fn a_pod_that_flushes_its_rules_reaches_nothing(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = guarded(families);
    let pod = lab.add_pod("w1", "shop", "cart");
    let node = lab.node("w1");
    assert_leaves_through_the_gateway(&lab, &pod);
    let outside = Outside::watch(&lab);
    assert_leaves_through_the_gateway(&lab, &pod);
    let assert_cut_off = |when: &str| {
        for family in families.list() {
            let patience = Duration::from_millis(300);
            let client = Client { patience, ..Client::new(lab.external_address(*family)) };
            for client in [&client, &bound(client.server.ip(), 0)] {
                for question in [Question::Tcp, Question::Udp] {
                    let seen = pod.ask(client, question);
                    assert!(
                        seen.is_err(),
                        "{when}, {question:?} from {:?}: {seen:?}",
                        client.device
                    );
                }
            }
        }
    };
    for option in ["-4", "-6"] {
        pod.exec(&format!("ip {option} rule flush")).success();
    }
    assert_cut_off("without any rule");
    for option in ["-4", "-6"] {
        pod.exec(&format!("ip {option} rule add pref 32766 lookup main")).success();
    }
    assert_cut_off("with table main alone");
    outside.saw_exactly(egress_ips(&lab));
    let [_, destinations] = dropped(node);
    assert!(destinations >= 2, "{destinations} packets past the steering");
    // Control: it was the guard.
    control(&lab, &pod);
    for family in families.list() {
        let seen = pod.who(Question::Tcp, lab.external_address(*family)).unwrap();
        assert_eq!(seen.address, external(*family, 11));
    }
}

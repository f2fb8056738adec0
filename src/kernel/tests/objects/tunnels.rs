//! The tunnel link and its forwarding entries.

use std::net::{IpAddr, UdpSocket};

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Fdb, Object, Place, Vxlan};
use egret_types::ours;
use rstest::rstest;

use crate::lab::{Lab, bound_ports, sentence};

fn vxlan(local: &str) -> Vxlan {
    Vxlan {
        name: ours::TUNNEL_LINK.parse().unwrap(),
        mac: "06:e6:00:00:00:07".parse().unwrap(),
        vni: ours::VNI.try_into().unwrap(),
        port: ours::PORT,
        local: local.parse().unwrap(),
        mtu: 1450.try_into().unwrap(),
    }
}

fn fdb(vtep: &str) -> Fdb {
    Fdb {
        link: ours::TUNNEL_LINK.parse().unwrap(),
        mac: "02:e6:01:00:00:05".parse().unwrap(),
        vtep: vtep.parse().unwrap(),
    }
}

#[rstest]
#[case::v4("192.0.2.1", "local")]
#[case::v6("2001:db8::1", "local6")]
fn the_link_is_in_egret_and_its_socket_in_the_node(#[case] local: &str, #[case] key: &str) {
    let mut lab = Lab::new();
    let object = Object::Vxlan(vxlan(local));
    lab.round(Place::Egret, &object);
    let link = &lab.json(Place::Egret, "ip -j -d addr show dev egret0")[0];
    let tunnel = &link["linkinfo"]["info_data"];
    assert_eq!(tunnel["id"], 230);
    assert_eq!(tunnel["port"], 7790);
    assert_eq!(tunnel[key], local);
    assert_eq!(tunnel["learning"], false);
    assert_eq!(link["address"], "06:e6:00:00:00:07");
    assert_eq!(link["mtu"], 1450);
    assert_eq!(link["addr_info"], serde_json::json!([]));
    assert!(link["flags"].as_array().unwrap().contains(&"UP".into()));
    assert!(bound_ports(&lab, Place::Root).contains(&7790), "no socket in the node's namespace");
    assert!(!bound_ports(&lab, Place::Egret).contains(&7790), "the socket is in egret");
    lab.end(Place::Egret, &object);
    assert!(!bound_ports(&lab, Place::Root).contains(&7790), "the socket stays");
}

#[rstest]
#[case("ip link set egret0 down", "link egret0: down")]
#[case("ip link set egret0 mtu 1300", "link egret0: mtu 1300, should be 1450")]
fn a_change_is_named_and_put_right(#[case] command: &str, #[case] difference: &str) {
    let mut lab = Lab::new();
    let object = Object::Vxlan(vxlan("192.0.2.1"));
    lab.ensure(Place::Egret, &object);
    lab.run(Place::Egret, command);
    assert_eq!(lab.differences(Place::Egret, &object), [difference]);
    lab.ensure(Place::Egret, &object);
    assert_eq!(lab.differences(Place::Egret, &object), [""; 0]);
}

/// Another node id gives another MAC, by which the other nodes and the pods' rules know this node.
#[test]
fn another_mac_is_refused_and_not_changed_in_place() {
    let mut lab = Lab::new();
    lab.ensure(Place::Egret, &Object::Vxlan(vxlan("192.0.2.1")));
    let other = Vxlan { mac: "06:e6:00:00:00:08".parse().unwrap(), ..vxlan("192.0.2.1") };
    let difference = "made with MAC 06:e6:00:00:00:07, should be 06:e6:00:00:00:08";
    let object = Object::Vxlan(other);
    let failure = lab.refusal(Place::Egret, &object);
    let text = sentence(&failure);
    assert!(text.contains(difference) && text.contains("`egretctl gc`"), "{text}");
    assert_eq!(lab.differences(Place::Egret, &object), [format!("link egret0: {difference}")]);
    let link = &lab.json(Place::Egret, "ip -j link show dev egret0")[0];
    assert_eq!(link["address"], "06:e6:00:00:00:07");
}

#[test]
fn a_link_of_another_tunnel_is_refused_with_each_difference() {
    let mut lab = Lab::new();
    lab.run(Place::Egret, "ip link add egret0 type vxlan id 1 dstport 4789 local 192.0.2.9");
    let failure = lab.refusal(Place::Egret, &Object::Vxlan(vxlan("192.0.2.1")));
    for part in [
        "link egret0 in the egret namespace",
        "made with vni 1, should be 230",
        "made with port 4789, should be 7790",
        "made with local 192.0.2.9, should be 192.0.2.1",
        "made with learning, should be nolearning",
        "made in the egret namespace, should be in the node's",
        "remove it first with `egretctl gc`",
    ] {
        assert!(sentence(&failure).contains(part), "{part:?} is not in: {failure}");
    }
    let differences = lab.differences(Place::Egret, &Object::Vxlan(vxlan("192.0.2.1")));
    assert!(differences.contains(&"link egret0: made with vni 1, should be 230".to_owned()));
}

#[test]
fn a_link_of_another_kind_is_foreign() {
    let mut lab = Lab::new();
    lab.run(Place::Egret, "ip link add egret0 type bridge");
    let object = Object::Vxlan(vxlan("192.0.2.1"));
    assert!(matches!(lab.refusal(Place::Egret, &object), Failure::Foreign { .. }));
    lab.remove(Place::Egret, &object);
    assert!(lab.run(Place::Egret, "ip link show").contains("egret0"));
}

#[test]
fn a_vni_of_another_link_of_the_node_is_named() {
    let mut lab = Lab::new();
    lab.run(Place::Root, "ip link add theirs type vxlan id 230 dstport 7790 local 192.0.2.1");
    let failure = lab.refusal(Place::Egret, &Object::Vxlan(vxlan("192.0.2.1")));
    assert!(
        sentence(&failure).contains("VNI 230 on UDP port 7790 belongs to another"),
        "{failure}"
    );
}

#[rstest]
#[case::v4("192.0.2.1", "0.0.0.0:7790")]
#[case::v6("2001:db8::1", "[::]:7790")]
fn a_port_in_use_is_named_and_no_link_stays(#[case] local: &str, #[case] bind: &str) {
    let mut lab = Lab::new();
    let taken = UdpSocket::bind(bind).unwrap();
    let object = Object::Vxlan(vxlan(local));
    let failure = lab.refusal(Place::Egret, &object);
    assert!(sentence(&failure).contains("UDP port 7790 is used by another program"), "{failure}");
    drop(taken);
    // A program that another test is just starting has a copy of it until it runs.
    while bound_ports(&lab, Place::Root).contains(&7790) {
        std::thread::yield_now();
    }
    lab.ensure(Place::Egret, &object);
}

#[rstest]
#[case::v4("192.0.2.1", "192.0.2.2", "192.0.2.3")]
#[case::v6("2001:db8::1", "2001:db8::2", "2001:db8::3")]
fn an_fdb_entry_moves(#[case] local: &str, #[case] vtep: &str, #[case] other: &str) {
    let mut lab = Lab::new();
    lab.ensure(Place::Egret, &Object::Vxlan(vxlan(local)));
    let (object, moved) = (Object::Fdb(fdb(vtep)), Object::Fdb(fdb(other)));
    lab.round(Place::Egret, &object);
    let entry = |lab: &Lab| lab.json(Place::Egret, "bridge -j fdb show dev egret0");
    assert_eq!(entry(&lab)[0]["dst"], vtep);
    assert_eq!(entry(&lab)[0]["mac"], "02:e6:01:00:00:05");
    assert_eq!(entry(&lab)[0]["state"], "permanent");

    let difference =
        format!("fdb entry 02:e6:01:00:00:05 dev egret0: dst {vtep}, should be {other}");
    assert_eq!(lab.differences(Place::Egret, &moved), [difference]);
    lab.ensure(Place::Egret, &moved);
    assert_eq!(entry(&lab).as_array().unwrap().len(), 1, "one VTEP for a MAC");
    assert_eq!(entry(&lab)[0]["dst"], other);

    lab.remove(Place::Egret, &object);
    assert_eq!(entry(&lab)[0]["dst"], other, "the entry had moved: it was not ours any more");
    let tunnel = ours::TUNNEL_LINK.parse().unwrap();
    assert_eq!(lab.kernel.list_fdb(Place::Egret, &tunnel).unwrap(), [fdb(other)]);
    lab.end(Place::Egret, &moved);
    assert_eq!(lab.kernel.list_fdb(Place::Egret, &tunnel).unwrap(), []);
}

#[test]
fn without_the_tunnel_link_an_entry_is_missing_and_gone() {
    let mut lab = Lab::new();
    let object = Object::Fdb(fdb("192.0.2.2"));
    lab.end(Place::Egret, &object);
    let failure = lab.kernel.ensure(Place::Egret, &object).unwrap_err();
    assert!(sentence(&failure).contains("link egret0 does not exist"), "{failure}");
    let tunnel = ours::TUNNEL_LINK.parse().unwrap();
    assert_eq!(lab.kernel.list_fdb(Place::Egret, &tunnel).unwrap(), []);
}

#[test]
fn thousands_of_entries_are_all_listed() {
    let mut lab = Lab::new();
    lab.ensure(Place::Egret, &Object::Vxlan(vxlan("192.0.2.1")));
    for n in 0..3000u16 {
        let [high, low] = n.to_be_bytes();
        let mac = egret_types::MacAddr([2, 0xe6, 1, 0, high, low]);
        let vtep = IpAddr::from([192, 0, high, low]);
        lab.ensure(Place::Egret, &Object::Fdb(Fdb { mac, vtep, ..fdb("192.0.2.2") }));
    }
    let tunnel = ours::TUNNEL_LINK.parse().unwrap();
    assert_eq!(lab.kernel.list_fdb(Place::Egret, &tunnel).unwrap().len(), 3000);
}

//! A gateway's uplink.

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Macvlan, Object, Place};

use crate::lab::{Lab, sentence};

fn macvlan(parent: &str) -> Object {
    Object::Macvlan(Macvlan { name: "egru0".parse().unwrap(), parent: parent.parse().unwrap() })
}

fn lab_with_uplink() -> Lab {
    let lab = Lab::new();
    lab.run(Place::Root, "ip link add up0 type veth peer name switch0");
    for link in ["up0", "switch0"] {
        lab.run(Place::Root, &format!("ip link set {link} addrgenmode none up"));
    }
    lab
}

#[test]
fn it_is_in_bridge_mode_over_its_parent() {
    let mut lab = lab_with_uplink();
    lab.round(Place::Egret, &macvlan("up0"));
    let link = &lab.json(Place::Egret, "ip -j -d addr show dev egru0")[0];
    assert_eq!(link["linkinfo"]["info_kind"], "macvlan");
    assert_eq!(link["linkinfo"]["info_data"]["mode"], "bridge");
    assert!(link["flags"].as_array().unwrap().contains(&"UP".into()));
    assert_eq!(link["addr_info"], serde_json::json!([]));
    lab.end(Place::Egret, &macvlan("up0"));
}

#[test]
fn another_parent_is_refused() {
    let mut lab = lab_with_uplink();
    lab.run(Place::Root, "ip link add up1 type bridge");
    lab.ensure(Place::Egret, &macvlan("up0"));
    let failure = lab.refusal(Place::Egret, &macvlan("up1"));
    assert!(sentence(&failure).contains("made over another link, should be over up1"), "{failure}");
    let differences = lab.differences(Place::Egret, &macvlan("up1"));
    assert_eq!(differences, ["link egru0: made over another link, should be over up1"]);
}

#[test]
fn another_mode_is_refused() {
    let mut lab = lab_with_uplink();
    lab.ensure(Place::Egret, &macvlan("up0"));
    lab.run(Place::Egret, "ip link set egru0 type macvlan mode private");
    let failure = lab.refusal(Place::Egret, &macvlan("up0"));
    assert!(sentence(&failure).contains("in another mode"), "{failure}");
}

#[test]
fn a_missing_parent_is_named() {
    let mut lab = Lab::new();
    let failure = lab.refusal(Place::Egret, &macvlan("up7"));
    assert!(sentence(&failure).contains("link up7 does not exist"), "{failure}");
}

#[test]
fn a_link_of_another_kind_is_left_alone() {
    let mut lab = lab_with_uplink();
    lab.run(Place::Egret, "ip link add egru0 type bridge");
    let failure = lab.refusal(Place::Egret, &macvlan("up0"));
    assert!(matches!(failure, Failure::Foreign { .. }), "{failure}");
    lab.kernel.remove(Place::Egret, &macvlan("up0")).unwrap();
    assert!(lab.run(Place::Egret, "ip link show").contains("egru0"));
}

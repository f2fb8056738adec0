//! Pairs of veth links.

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place, Veth};
use egret_kernel::Netns;
use rstest::rstest;

use crate::lab::{Lab, sentence, veth};

#[rstest]
#[case::in_the_pod(Place::Pod)]
#[case::in_the_node(Place::Root)]
fn both_ends_are_up_without_addresses(#[case] near: Place) {
    let mut lab = Lab::new();
    let object = Object::Veth(veth());
    lab.round(near, &object);
    for (place, name) in [(near, "egr0"), (Place::Egret, "egr0123456789ab")] {
        let link = &lab.json(place, &format!("ip -j -d link show dev {name}"))[0];
        assert_eq!(link["linkinfo"]["info_kind"], "veth");
        assert!(link["flags"].as_array().unwrap().contains(&"UP".into()));
        assert_eq!(link["mtu"], 1400);
        assert_eq!(link["inet6_addr_gen_mode"], "none");
        let link = &lab.json(place, &format!("ip -j addr show dev {name}"))[0];
        assert_eq!(link["addr_info"], serde_json::json!([]));
    }
    let link = &lab.json(near, "ip -j link show dev egr0")[0];
    assert_eq!(link["address"], "06:e6:00:00:00:07");
    lab.end(near, &object);
    assert!(!lab.run(near, "ip link show").contains("egr0"));
}

#[rstest]
#[case(Place::Pod, "ip link set egr0 down", "link egr0: down")]
#[case(Place::Pod, "ip link set egr0 mtu 1300", "link egr0: mtu 1300, should be 1400")]
#[case(
    Place::Pod,
    "ip link set egr0 address 02:00:00:00:00:01",
    "link egr0: mac 02:00:00:00:00:01, should be 06:e6:00:00:00:07"
)]
#[case(
    Place::Pod,
    "ip link set egr0 addrgenmode eui64",
    "link egr0: makes IPv6 addresses by itself (addrgenmode)"
)]
#[case(Place::Egret, "ip link set egr0123456789ab down", "link egr0123456789ab: down")]
#[case(
    Place::Egret,
    "ip link set egr0123456789ab mtu 1500",
    "link egr0123456789ab: mtu 1500, should be 1400"
)]
fn a_change_is_named_and_put_right(
    #[case] place: Place,
    #[case] command: &str,
    #[case] difference: &str,
) {
    let mut lab = Lab::new();
    let object = Object::Veth(veth());
    lab.ensure(Place::Pod, &object);
    lab.run(place, command);
    assert_eq!(lab.differences(Place::Pod, &object), [difference]);
    lab.ensure(Place::Pod, &object);
    assert_eq!(lab.differences(Place::Pod, &object), [""; 0]);
}

#[test]
fn missing_ends_are_named() {
    let mut lab = Lab::new();
    let differences = lab.differences(Place::Pod, &Object::Veth(veth()));
    let missing = ["link egr0: missing", "link egr0123456789ab: missing in the egret namespace"];
    assert_eq!(differences, missing);
}

#[rstest]
#[case::another_kind("ip link add egr0 type bridge", "a bridge link with MAC")]
#[case::our_mac_but_a_peer_in_the_pod(
    "ip link add egr0 address 06:e6:00:00:00:07 type veth peer name other",
    "a veth link with MAC 06:e6:00:00:00:07 whose peer is in another namespace"
)]
#[case::our_mac_but_another_peer(
    "ip link add egr0 address 06:e6:00:00:00:07 type veth peer name egrffffffffffff netns EGRET",
    "whose peer is egrffffffffffff, not egr0123456789ab"
)]
fn a_link_of_others_is_left_alone(#[case] command: &str, #[case] found: &str) {
    let mut lab = Lab::new();
    // `ip` takes a process or a name in /run/netns.
    let egret = lab.path(Place::Egret);
    lab.run(Place::Root, "mount -t tmpfs none /run");
    std::fs::create_dir("/run/netns").unwrap();
    std::fs::File::create("/run/netns/egret").unwrap();
    lab.run(Place::Root, &format!("mount --bind {} /run/netns/egret", egret.display()));
    lab.run(Place::Pod, &command.replace("EGRET", "egret"));

    let object = Object::Veth(veth());
    let failure = lab.refusal(Place::Pod, &object);
    assert!(matches!(failure, Failure::Foreign { place: Place::Pod, .. }), "{failure}");
    assert!(sentence(&failure).contains(found), "{failure}");
    let differences = lab.differences(Place::Pod, &object);
    assert!(differences[0].contains(found), "{differences:?}");
    lab.remove(Place::Pod, &object);
    assert!(lab.run(Place::Pod, "ip link show").contains("egr0"), "removed what is not ours");
}

#[test]
fn a_peer_that_lost_its_pod_is_made_again() {
    let mut lab = Lab::new();
    let object = Object::Veth(veth());
    // The near end of an earlier try, in a namespace that is somebody else's now.
    lab.ensure(Place::Root, &object);
    lab.ensure(Place::Pod, &object);
    assert_eq!(lab.differences(Place::Pod, &object), [""; 0]);
    assert!(!lab.run(Place::Root, "ip link show").contains("egr0"));
}

#[test]
fn a_peer_of_another_kind_is_left_alone() {
    let mut lab = Lab::new();
    lab.run(Place::Egret, "ip link add egr0123456789ab type bridge");
    let failure = lab.refusal(Place::Pod, &Object::Veth(veth()));
    assert!(matches!(failure, Failure::Foreign { .. }), "{failure}");
    lab.remove(Place::Pod, &Object::Veth(veth()));
    assert!(lab.run(Place::Egret, "ip link show").contains("egr0123456789ab"));
}

#[test]
fn two_pods_of_one_node_share_a_mac() {
    let mut lab = Lab::new();
    let other = Veth { peer: "egrcccccccccccc".parse().unwrap(), ..veth() };
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    lab.ensure(Place::Root, &Object::Veth(other.clone()));
    assert_eq!(lab.differences(Place::Pod, &Object::Veth(veth())), [""; 0]);
    assert_eq!(lab.differences(Place::Root, &Object::Veth(other)), [""; 0]);
}

#[test]
fn removing_succeeds_when_the_pod_is_gone() {
    let mut lab = Lab::new();
    let object = Object::Veth(veth());
    lab.ensure(Place::Pod, &object);
    Netns::remove(&lab.path(Place::Pod)).unwrap();
    lab.remove(Place::Pod, &object);
    assert!(!lab.run(Place::Egret, "ip link show").contains("egr0123456789ab"));
}

#[test]
fn without_the_egret_namespace_there_is_nothing_to_remove_and_no_place_to_add() {
    let mut lab = Lab::new();
    Netns::remove(&lab.path(Place::Egret)).unwrap();
    let object = Object::Veth(veth());
    lab.remove(Place::Pod, &object);
    let failure = lab.kernel.ensure(Place::Pod, &object).unwrap_err();
    assert!(matches!(failure, Failure::NoNamespace { place: Place::Egret }), "{failure}");
    assert!(!lab.run(Place::Pod, "ip link show").contains("egr0"));
}

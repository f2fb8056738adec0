//! Permanent neighbours.

use egret_egress::kernel::Kernel;
use egret_egress::object::{Neighbour, Object, Place};
use rstest::rstest;

use crate::lab::{Lab, sentence, veth};

fn neighbour(address: &str) -> Object {
    Object::Neighbour(Neighbour {
        link: "egr0".parse().unwrap(),
        address: address.parse().unwrap(),
        mac: "02:e6:01:00:00:05".parse().unwrap(),
    })
}

#[rstest]
#[case::v4("169.254.230.1")]
#[case::v6("fe80::e6:1")]
fn a_neighbour_is_permanent(#[case] address: &str) {
    let mut lab = Lab::new();
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    let object = neighbour(address);
    lab.round(Place::Pod, &object);
    let found = &lab.json(Place::Pod, &format!("ip -j neigh show {address}"))[0];
    assert_eq!(found["lladdr"], "02:e6:01:00:00:05");
    assert_eq!(found["state"], serde_json::json!(["PERMANENT"]));
    lab.end(Place::Pod, &object);
}

#[rstest]
#[case::v4("169.254.230.1")]
#[case::v6("fe80::e6:1")]
fn a_change_is_named_put_right_and_not_removed(#[case] address: &str) {
    let mut lab = Lab::new();
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    let object = neighbour(address);
    let name = format!("neighbour {address} dev egr0");
    for (state, difference) in [
        (
            "lladdr 02:00:00:00:00:01 nud permanent",
            "lladdr 02:00:00:00:00:01, should be 02:e6:01:00:00:05",
        ),
        ("lladdr 02:e6:01:00:00:05 nud stale", "not permanent"),
    ] {
        lab.run(Place::Pod, &format!("ip neigh replace {address} dev egr0 {state}"));
        assert_eq!(lab.differences(Place::Pod, &object), [format!("{name}: {difference}")]);
        lab.remove(Place::Pod, &object);
        assert_eq!(lab.differences(Place::Pod, &object), [format!("{name}: {difference}")]);
        lab.ensure(Place::Pod, &object);
        assert_eq!(lab.differences(Place::Pod, &object), [""; 0]);
    }
}

#[rstest]
#[case::v4("169.254.230.1")]
#[case::v6("fe80::e6:1")]
fn without_its_link_a_neighbour_is_gone(#[case] address: &str) {
    let mut lab = Lab::new();
    let object = neighbour(address);
    lab.end(Place::Pod, &object);
    let failure = lab.kernel.ensure(Place::Pod, &object).unwrap_err();
    assert!(sentence(&failure).contains("link egr0 does not exist"), "{failure}");
}

//! That nft rulesets reach the socket of the right namespace; what they become there is tested in
//! `nft/`.

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::nft::{Chain, Removal, Ruleset, TableFamily};
use egret_egress::object::{Object, Place};
use egret_kernel::Netns;

use crate::lab::Lab;

fn ruleset() -> Object {
    Object::Nft(Ruleset {
        family: TableFamily::Inet,
        table: "egret".to_owned(),
        sets: vec![],
        chains: vec![Chain {
            name: "empty".to_owned(),
            hook: None,
            rules: Some(vec![]),
            removal: Removal::Delete,
        }],
        elements: vec![],
    })
}

#[test]
fn a_table_is_in_its_place_alone() {
    let mut lab = Lab::new();
    for place in [Place::Root, Place::Egret, Place::Pod] {
        lab.ensure(place, &ruleset());
        assert_eq!(lab.differences(place, &ruleset()), [""; 0]);
        assert!(lab.run(place, "nft list ruleset").contains("chain empty"));
        assert!(lab.kernel.table_exists(place, TableFamily::Inet, "egret").unwrap());
        assert_eq!(lab.kernel.counters(place, TableFamily::Inet, "egret").unwrap(), []);
        lab.end(place, &ruleset());
    }
}

#[test]
fn in_a_namespace_that_is_gone_there_is_no_table() {
    let mut lab = Lab::new();
    Netns::remove(&lab.path(Place::Pod)).unwrap();
    lab.remove(Place::Pod, &ruleset());
    let failure = lab.kernel.ensure(Place::Pod, &ruleset()).unwrap_err();
    assert!(matches!(failure, Failure::NoNamespace { place: Place::Pod }), "{failure}");
}

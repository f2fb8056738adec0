//! Kernel parameters.

use std::fs;

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place, Sysctl};
use egret_kernel::Netns;
use rstest::rstest;

use crate::lab::{Lab, sentence};

const FORWARD: &str = "net/ipv4/ip_forward";

fn sysctl(path: &str, value: &str, was: Option<&str>) -> Object {
    Object::Sysctl(Sysctl {
        path: path.to_owned(),
        value: value.to_owned(),
        was: was.map(str::to_owned),
    })
}

fn value(lab: &mut Lab, place: Place) -> Option<String> {
    lab.kernel.get_sysctl(place, FORWARD).unwrap()
}

#[rstest]
#[case(Place::Root)]
#[case(Place::Egret)]
#[case(Place::Pod)]
fn a_parameter_changes_in_its_namespace_alone(#[case] place: Place) {
    let mut lab = Lab::new();
    for other in [Place::Root, Place::Egret, Place::Pod] {
        lab.ensure(other, &sysctl(FORWARD, "0", None));
    }
    let object = sysctl(FORWARD, "1", Some("0"));
    lab.round(place, &object);
    for other in [Place::Root, Place::Egret, Place::Pod] {
        let expected = if other == place { "1" } else { "0" };
        assert_eq!(value(&mut lab, other).as_deref(), Some(expected), "{other}");
        let cat = lab.run(other, "sysctl -n net.ipv4.ip_forward");
        assert_eq!(cat.trim(), expected, "{other}");
    }
    lab.end(place, &object);
    assert_eq!(value(&mut lab, place).as_deref(), Some("0"));
}

#[test]
fn a_value_that_others_set_since_stays() {
    let mut lab = Lab::new();
    let path = "net/ipv4/ip_default_ttl";
    let object = sysctl(path, "99", Some("64"));
    lab.ensure(Place::Pod, &object);
    lab.run(Place::Pod, "sysctl -w net.ipv4.ip_default_ttl=77");
    let difference = "sysctl net.ipv4.ip_default_ttl: 77, should be 99";
    assert_eq!(lab.differences(Place::Pod, &object), [difference]);
    lab.remove(Place::Pod, &object);
    assert_eq!(lab.kernel.get_sysctl(Place::Pod, path).unwrap().as_deref(), Some("77"));
}

#[test]
fn without_an_earlier_value_nothing_is_put_back() {
    let mut lab = Lab::new();
    let object = sysctl(FORWARD, "1", None);
    lab.ensure(Place::Pod, &object);
    lab.remove(Place::Pod, &object);
    assert_eq!(value(&mut lab, Place::Pod).as_deref(), Some("1"));
}

#[test]
fn a_missing_parameter_is_named() {
    let mut lab = Lab::new();
    let object = sysctl("net/ipv4/conf/egr0/rp_filter", "0", Some("1"));
    let name = "net/ipv4/conf/egr0/rp_filter";
    assert_eq!(lab.kernel.get_sysctl(Place::Pod, name).unwrap(), None);
    assert_eq!(
        lab.differences(Place::Pod, &object),
        ["sysctl net.ipv4.conf.egr0.rp_filter: missing"]
    );
    lab.remove(Place::Pod, &object);
    let failure = lab.refusal(Place::Pod, &object);
    assert!(sentence(&failure).contains("/proc/sys/net/ipv4/conf/egr0/rp_filter"), "{failure}");
}

#[rstest]
#[case("../../etc/passwd")]
#[case("/etc/passwd")]
#[case("net/../../../etc/passwd")]
fn only_names_below_proc_sys_are_written(#[case] path: &str) {
    let mut lab = Lab::new();
    let before = fs::read("/etc/passwd").unwrap();
    let failure = lab.kernel.ensure(Place::Root, &sysctl(path, "x", None)).unwrap_err();
    assert!(sentence(&failure).contains("not a path below /proc/sys"), "{failure}");
    assert!(lab.kernel.get_sysctl(Place::Root, path).is_err());
    assert_eq!(fs::read("/etc/passwd").unwrap(), before);
}

#[test]
fn in_a_namespace_that_is_gone_there_is_nothing_to_put_back() {
    let mut lab = Lab::new();
    Netns::remove(&lab.path(Place::Pod)).unwrap();
    let object = sysctl(FORWARD, "1", Some("0"));
    lab.remove(Place::Pod, &object);
    let failure = lab.kernel.ensure(Place::Pod, &object).unwrap_err();
    assert!(matches!(failure, Failure::NoNamespace { place: Place::Pod }), "{failure}");
}

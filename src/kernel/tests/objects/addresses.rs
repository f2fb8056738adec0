//! Addresses and their announcement.

use egret_egress::kernel::Kernel;
use egret_egress::object::{Address, Announce, Object, Place};
use rstest::rstest;

use crate::lab::{Lab, sentence, veth};

fn address(address: &str, length: u8) -> Object {
    Object::Address(Address {
        link: "egr0".parse().unwrap(),
        address: address.parse().unwrap(),
        length,
        announce: Announce::No,
    })
}

fn lab_with_link() -> Lab {
    let mut lab = Lab::new();
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    lab
}

#[rstest]
#[case::v4("192.0.2.7", 32)]
#[case::v6("2001:db8::7", 128)]
#[case::v4_network("192.0.2.7", 24)]
#[case::v6_network("2001:db8::7", 64)]
fn an_address_is_usable_at_once(#[case] text: &str, #[case] length: u8) {
    let mut lab = lab_with_link();
    lab.round(Place::Pod, &address(text, length));
    let found = &lab.json(Place::Pod, "ip -j addr show dev egr0")[0]["addr_info"][0];
    assert_eq!(found["local"], text);
    assert_eq!(found["prefixlen"], length);
    assert_eq!(found["tentative"], serde_json::Value::Null);
    if text.contains(':') {
        assert_eq!(found["nodad"], true);
    }
    lab.end(Place::Pod, &address(text, length));
}

#[test]
fn an_ipv6_address_with_another_length_is_replaced() {
    let mut lab = lab_with_link();
    lab.run(Place::Pod, "ip addr add 2001:db8::7/64 dev egr0 nodad");
    let object = address("2001:db8::7", 128);
    let differences = lab.differences(Place::Pod, &object);
    assert_eq!(differences, ["address 2001:db8::7/128 dev egr0: has length 64"]);
    lab.ensure(Place::Pod, &object);
    assert_eq!(lab.differences(Place::Pod, &object), [""; 0]);
}

#[test]
fn an_address_of_others_stays() {
    let mut lab = lab_with_link();
    lab.run(Place::Pod, "ip addr add 192.0.2.8/32 dev egr0");
    lab.ensure(Place::Pod, &address("192.0.2.7", 32));
    lab.remove(Place::Pod, &address("192.0.2.7", 32));
    assert!(lab.run(Place::Pod, "ip addr show dev egr0").contains("192.0.2.8"));
}

#[rstest]
#[case::v4("192.0.2.7", 32)]
#[case::v6("2001:db8::7", 128)]
fn without_its_link_an_address_is_gone(#[case] text: &str, #[case] length: u8) {
    let mut lab = Lab::new();
    lab.end(Place::Pod, &address(text, length));
    let failure = lab.kernel.ensure(Place::Pod, &address(text, length)).unwrap_err();
    assert!(sentence(&failure).contains("link egr0 does not exist"), "{failure}");
}

#[rstest]
#[case::everywhere("all")]
#[case::on_the_link("egr0")]
fn ipv6_switched_off_is_named(#[case] switch: &str) {
    let mut lab = lab_with_link();
    lab.run(Place::Pod, &format!("sysctl -w net.ipv6.conf.{switch}.disable_ipv6=1"));
    let failure = lab.refusal(Place::Pod, &address("2001:db8::7", 128));
    let parameter = format!("net.ipv6.conf.{switch}.disable_ipv6 = 1");
    assert!(sentence(&failure).contains(&parameter), "{failure}");
    assert!(sentence(&failure).contains("use only IPv4"), "{failure}");
    lab.ensure(Place::Pod, &address("192.0.2.7", 32));
}

/// A neighbour that knows the address under another MAC learns ours without asking.
#[rstest]
#[case::v4("192.0.2.7", 24, "192.0.2.9/24")]
#[case::v6("2001:db8::7", 64, "2001:db8::9/64")]
fn neighbours_hear_of_an_announced_address(
    #[case] text: &str,
    #[case] length: u8,
    #[case] theirs: &str,
) {
    let mut lab = lab_with_link();
    lab.run(Place::Egret, &format!("ip addr add {theirs} dev egr0123456789ab"));
    let knows = |lab: &Lab| {
        let found = lab.json(Place::Egret, &format!("ip -j neigh show {text}"));
        found[0]["lladdr"].as_str().unwrap().to_owned()
    };
    let old =
        format!("ip neigh replace {text} lladdr 02:00:00:00:00:99 dev egr0123456789ab nud stale");
    lab.run(Place::Egret, &old);
    let Object::Address(silent) = address(text, length) else { unreachable!() };
    lab.ensure(Place::Pod, &Object::Address(silent.clone()));
    assert_eq!(knows(&lab), "02:00:00:00:00:99");

    let announced = Object::Address(Address { announce: Announce::Yes, ..silent });
    // Also when the address is there already: an earlier run may not have got that far.
    for _ in 0..2 {
        lab.run(Place::Egret, &old);
        lab.ensure(Place::Pod, &announced);
        assert_eq!(knows(&lab), "06:e6:00:00:00:07");
    }
}

//! Sets that one owner fills: intervals at their edges, large ones, replacement.

use std::net::IpAddr;

use egret_egress::nft::{
    Content, DataType, Datum, Entry, Expr, Removal, Ruleset, TableFamily, Value, ValueType,
};
use egret_types::{Family, IfIndex};
use rstest::rstest;

use super::testbed::{address, chain, generation, mac, namespace, nft, ruleset, set};

fn ranges(family: Family, ranges: Vec<(IpAddr, IpAddr)>) -> Ruleset {
    let mut all = ruleset(TableFamily::Inet);
    let content = Content::Ranges(ranges);
    all.sets.push(set("nets", &[DataType::Address(family)], ValueType::None, content));
    all
}

fn has(element: &str) -> bool {
    // nft fails when there is none.
    std::panic::catch_unwind(|| nft(&format!("get element inet egret nets {{ {element} }}")))
        .is_ok()
}

#[rstest]
#[case("0.0.0.0", "255.255.255.255", &["0.0.0.0", "255.255.255.255"], &[])]
#[case("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], &[])]
#[case("240.0.0.0", "255.255.255.255", &["240.0.0.0", "255.255.255.255"], &["239.255.255.255"])]
#[case("255.255.255.255", "255.255.255.255", &["255.255.255.255"], &["255.255.255.254"])]
#[case("0.0.0.0", "0.0.0.0", &["0.0.0.0"], &["0.0.0.1"])]
#[case("10.0.0.5", "10.0.0.5", &["10.0.0.5"], &["10.0.0.4", "10.0.0.6"])]
#[case("10.0.0.0", "10.255.255.255", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"])]
#[case("fd00::", "fd00::ffff", &["fd00::", "fd00::ffff"], &["fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::1:0"])]
fn a_range_holds_its_first_and_last_address_and_no_other(
    #[case] first: &str,
    #[case] last: &str,
    #[case] inside: &[&str],
    #[case] outside: &[&str],
) {
    let mut socket = namespace();
    let (first, last) = (address(first), address(last));
    let all = ranges(Family::of(first), vec![(first, last)]);
    socket.ensure(&all).unwrap();
    assert_eq!(socket.differences(&all).unwrap(), Vec::<String>::new());
    for element in inside {
        assert!(has(element), "{element}: {}", nft("list ruleset"));
    }
    for element in outside {
        assert!(!has(element), "{element}: {}", nft("list ruleset"));
    }
}

#[test]
fn adjacent_and_open_ranges_are_listed_as_they_were_given() {
    let mut socket = namespace();
    let all = ranges(
        Family::V4,
        [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("11.0.0.0", "11.0.0.5"),
            ("255.0.0.0", "255.255.255.255"),
        ]
        .map(|(a, b)| (address(a), address(b)))
        .to_vec(),
    );
    socket.ensure(&all).unwrap();
    assert_eq!(socket.differences(&all).unwrap(), Vec::<String>::new());
    let text = nft("list ruleset");
    for range in ["0.0.0.0/8", "10.0.0.0/8", "11.0.0.0-11.0.0.5", "255.0.0.0/8"] {
        let alternative = "255.0.0.0-255.255.255.255";
        assert!(text.contains(range) || text.contains(alternative), "{range} in {text}");
    }
}

#[rstest]
#[case(Family::V4)]
#[case(Family::V6)]
fn a_thousand_and_one_ranges_are_held_and_replaced(#[case] family: Family) {
    let mut socket = namespace();
    let many = |offset: u128| {
        let range = |i: u128| (family.address(8 * i + offset), family.address(8 * i + offset + 3));
        ranges(family, (0..1001).map(range).collect())
    };
    socket.ensure(&many(1)).unwrap();
    assert_eq!(socket.differences(&many(1)).unwrap(), Vec::<String>::new());
    let told = socket.differences(&many(2)).unwrap();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("set inet egret nets: 1001 entries missing: "), "{}", told[0]);
    let before = generation(&mut socket);
    socket.ensure(&many(2)).unwrap();
    assert_eq!(generation(&mut socket), before + 1);
    assert_eq!(socket.differences(&many(2)).unwrap(), Vec::<String>::new());
}

/// A map of one owner with this many entries, values shifted by `shift`.
fn snat(count: u32, shift: u32) -> Ruleset {
    let mut all = ruleset(TableFamily::Inet);
    let entry = |i: u32| Entry {
        key: vec![Datum::Mark(i), Datum::Mark(i)],
        value: Value::Data(Datum::Address(Family::V6.address(u128::from(i + shift)))),
    };
    let content = Content::Exact((1..=count).map(entry).collect());
    let value = ValueType::Data(DataType::Address(Family::V6));
    all.sets.push(set("snat6", &[DataType::Mark, DataType::Mark], value, content));
    all
}

#[test]
fn exactly_the_entries_of_an_owner_are_in_its_map() {
    let mut socket = namespace();
    socket.ensure(&snat(4096, 0)).unwrap();
    assert_eq!(socket.differences(&snat(4096, 0)).unwrap(), Vec::<String>::new());
    for other in [snat(4095, 0), snat(4096, 1), snat(1, 1), snat(0, 0), snat(3, 0)] {
        assert_ne!(socket.differences(&other).unwrap(), Vec::<String>::new());
        let before = generation(&mut socket);
        socket.ensure(&other).unwrap();
        assert_eq!(generation(&mut socket), before + 1);
        assert_eq!(socket.differences(&other).unwrap(), Vec::<String>::new());
        socket.ensure(&other).unwrap();
        assert_eq!(generation(&mut socket), before + 1);
    }
    assert!(nft("list ruleset").contains("0x00000003 . 0x00000003 : ::3"));
}

#[test]
fn entries_of_every_type_are_printed_as_what_they_are() {
    let mut socket = namespace();
    let mut all = ruleset(TableFamily::Inet);
    let mut add = |name: &str, key: Vec<(DataType, Datum)>, value: Option<(DataType, Datum)>| {
        let (types, key): (Vec<_>, Vec<_>) = key.into_iter().unzip();
        let kind = value.map_or(ValueType::None, |(kind, _)| ValueType::Data(kind));
        let value = value.map_or(Value::None, |(_, datum)| Value::Data(datum));
        all.sets.push(set(name, &types, kind, Content::Exact(vec![Entry { key, value }])));
    };
    let v4 = (DataType::Address(Family::V4), Datum::Address(address("192.0.2.1")));
    let v6 = (DataType::Address(Family::V6), Datum::Address(address("2001:db8::1")));
    let ether = (DataType::Ether, Datum::Mac(mac("06:e6:00:00:00:07")));
    let mark = (DataType::Mark, Datum::Mark(0x0100_0002));
    let index = (DataType::IfIndex, Datum::IfIndex(IfIndex(1)));
    for (name, one) in [("a", v4), ("b", v6), ("c", ether), ("d", mark), ("e", index)] {
        add(&format!("{name}1"), vec![one], None);
        add(&format!("{name}2"), vec![one, one], None);
        add(&format!("{name}3"), vec![mark], Some(one));
        add(&format!("{name}4"), vec![ether, v6, one], Some(one));
    }
    socket.ensure(&all).unwrap();
    assert_eq!(socket.differences(&all).unwrap(), Vec::<String>::new());
    let text = nft("list ruleset");
    for (number, printed) in
        ["192.0.2.1", "2001:db8::1", "06:e6:00:00:00:07", "0x01000002", "\"lo\""].iter().enumerate()
    {
        for line in [
            format!("elements = {{ {printed} }}"),
            format!("elements = {{ {printed} . {printed} }}"),
            format!("elements = {{ 0x01000002 : {printed} }}"),
            format!("elements = {{ 06:e6:00:00:00:07 . 2001:db8::1 . {printed} : {printed} }}"),
        ] {
            assert!(text.contains(&line), "{number}: {line} in {text}");
        }
    }
}

/// A map of one owner, whose only entry leads to a chain of this name.
fn leads_to(name: &str) -> Ruleset {
    let mut all = ruleset(TableFamily::Netdev);
    let key = vec![Datum::Mac(mac("06:e6:00:00:00:08"))];
    let entry = Entry { key, value: Value::Jump(name.to_owned()) };
    let content = Content::Exact(vec![entry]);
    all.sets.push(set("nodes", &[DataType::Ether], ValueType::Verdict, content));
    all.chains.push(chain(name, vec![vec![Expr::Counter, Expr::Accept]], Removal::Delete));
    all
}

#[test]
fn an_entry_that_leads_to_a_new_chain_is_changed_when_the_chain_is_there() {
    let mut socket = namespace();
    let before = generation(&mut socket);
    socket.ensure(&leads_to("frame")).unwrap();
    assert_eq!(generation(&mut socket), before + 1, "nobody looks into a map that is new");
    socket.ensure(&leads_to("node-8")).unwrap();
    assert_eq!(generation(&mut socket), before + 3, "the chain first, then the entry");
    let text = nft("list ruleset");
    assert!(text.contains("jump node-8") && !text.contains("frame"), "{text}");
}

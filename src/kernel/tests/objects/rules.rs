//! Rules of routing policy.

use egret_egress::object::{Mark, Object, Place, Rule};
use egret_types::{Family, ours};
use rstest::rstest;
use serde_json::Value;

use crate::lab::Lab;

fn rule(family: Family, mark: Option<Mark>, table: u32) -> Object {
    Object::Rule(Rule { family, priority: ours::RULE_STEERING, mark, table })
}

const INBOUND: Mark = Mark { value: ours::MARK_INBOUND, mask: ours::MARK_INBOUND };

fn shown(lab: &Lab, family: Family) -> Vec<Value> {
    let flag = if family == Family::V4 { "-4" } else { "-6" };
    let all: Vec<Value> =
        serde_json::from_str(&lab.run(Place::Pod, &format!("ip -j -d {flag} rule show"))).unwrap();
    all.into_iter().filter(|rule| rule["priority"] == 1000).collect()
}

#[rstest]
fn a_rule_is_as_ip_shows_it(
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(None, Some(INBOUND))] mark: Option<Mark>,
    #[values(230, 254, 7000)] table: u32,
) {
    let mut lab = Lab::new();
    let object = rule(family, mark, table);
    lab.round(Place::Pod, &object);
    let found = shown(&lab, family);
    assert_eq!(found.len(), 1, "{found:?}");
    let name = if table == 254 { "main".to_owned() } else { table.to_string() };
    assert_eq!(found[0]["table"], name);
    assert_eq!(found[0]["protocol"], "230");
    if mark.is_some() {
        assert_eq!(found[0]["fwmark"], "0x40000000");
        assert_eq!(found[0]["fwmask"], "0x40000000");
    }
    lab.end(Place::Pod, &object);
    assert_eq!(shown(&lab, family), [""; 0]);
}

#[rstest]
#[case::v4(Family::V4, "ip -4")]
#[case::v6(Family::V6, "ip -6")]
fn a_rule_is_there_once(#[case] family: Family, #[case] ip: &str) {
    let mut lab = Lab::new();
    let object = rule(family, None, 230);
    lab.ensure(Place::Pod, &object);
    let file = lab.directory.path().join("rules");
    // `restore` adds what is there again.
    let twice = format!("{ip} rule save > {f}; {ip} rule restore < {f}", f = file.display());
    let path = format!("--net={}", lab.path(Place::Pod).display());
    crate::lab::run(&["nsenter", &path, "sh", "-c", &twice].map(str::to_owned));
    assert_eq!(shown(&lab, family).len(), 2, "the test does not test");

    let differences = lab.differences(Place::Pod, &object);
    assert_eq!(differences, [format!("{object}: there 2 times")]);
    lab.ensure(Place::Pod, &object);
    assert_eq!(shown(&lab, family).len(), 1);

    crate::lab::run(&["nsenter", &path, "sh", "-c", &twice].map(str::to_owned));
    lab.end(Place::Pod, &object);
}

#[rstest]
#[case::another_protocol("ip rule add pref 1000 lookup 230")]
#[case::another_selector("ip rule add pref 1000 from 192.0.2.7 lookup 230 protocol 230")]
#[case::another_link("ip rule add pref 1000 iif lo lookup 230 protocol 230")]
#[case::inverted("ip rule add not pref 1000 fwmark 0x1 lookup 230 protocol 230")]
#[case::another_mark("ip rule add pref 1000 fwmark 0x1/0x1 lookup 230 protocol 230")]
fn a_rule_that_is_not_equal_is_not_taken_for_ours(#[case] theirs: &str) {
    let mut lab = Lab::new();
    lab.run(Place::Pod, theirs);
    let object = rule(Family::V4, None, 230);
    assert_eq!(lab.differences(Place::Pod, &object), [format!("{object}: missing")]);
    let before = lab.everything();
    lab.remove(Place::Pod, &object);
    assert_eq!(lab.everything(), before);
    lab.ensure(Place::Pod, &object);
    assert_eq!(shown(&lab, Family::V4).len(), 2);
    assert_eq!(lab.differences(Place::Pod, &object), [""; 0]);
}

//! Routes.

use std::net::IpAddr;

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place, Route, RouteAction};
use egret_types::{Family, Prefix, ours};
use rstest::rstest;
use serde_json::Value;

use crate::lab::{Lab, sentence, veth};

fn lab_with_link() -> Lab {
    let mut lab = Lab::new();
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    lab.run(Place::Pod, "ip addr add 192.0.2.7/32 dev lo");
    lab.run(Place::Pod, "ip addr add 2001:db8::7/128 dev lo nodad");
    lab
}

fn hop(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => ours::pod_hop_v4(n).into(),
        Family::V6 => ours::pod_hop_v6(n).into(),
    }
}

fn via(family: Family, n: u8) -> RouteAction {
    let source = match family {
        Family::V4 => "192.0.2.7",
        Family::V6 => "2001:db8::7",
    };
    RouteAction::Via {
        hop: hop(family, n),
        link: "egr0".parse().unwrap(),
        source: Some(source.parse().unwrap()),
    }
}

fn network(family: Family) -> Prefix {
    match family {
        Family::V4 => "203.0.113.0/24".parse().unwrap(),
        Family::V6 => "2001:db8:1::/48".parse().unwrap(),
    }
}

fn route(destination: Prefix, action: RouteAction) -> Route {
    Route { table: ours::ROUTE_TABLE, destination, action, metric: 0 }
}

fn shown(lab: &Lab, family: Family, table: u32) -> Vec<Value> {
    let flag = if family == Family::V4 { "-4" } else { "-6" };
    let text = lab.run(Place::Pod, &format!("ip -j -d {flag} route show table {table}"));
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    all.into_iter().filter(|route| route["protocol"] == "230").collect()
}

#[rstest]
fn each_action_is_as_ip_shows_it(
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(0, 7)] metric: u32,
    #[values(230, 254, 7000)] table: u32,
    #[values("unicast", "direct", "throw", "prohibit", "unreachable")] kind: &str,
) {
    let mut lab = lab_with_link();
    let action = match kind {
        "unicast" => via(family, 1),
        "direct" => RouteAction::Direct { link: "egr0".parse().unwrap() },
        "throw" => RouteAction::Throw,
        "prohibit" => RouteAction::Prohibit,
        _ => RouteAction::Unreachable,
    };
    let route = Route { table, metric, ..route(network(family), action) };
    lab.round(Place::Pod, &Object::Route(route.clone()));
    let found = shown(&lab, family, table);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["dst"], network(family).to_string());
    let default_metric = if family == Family::V4 { Value::Null } else { 1024.into() };
    assert_eq!(found[0]["metric"], if metric == 0 { default_metric } else { metric.into() });
    match kind {
        "unicast" => {
            assert_eq!(found[0]["gateway"], hop(family, 1).to_string());
            assert_eq!(found[0]["dev"], "egr0");
            assert!(found[0]["flags"].as_array().unwrap().contains(&"onlink".into()));
            assert!(!found[0]["prefsrc"].is_null());
        }
        "direct" => {
            assert_eq!(found[0]["dev"], "egr0");
            assert_eq!(found[0]["gateway"], Value::Null);
            if family == Family::V4 {
                assert_eq!(found[0]["scope"], "link");
            }
        }
        kind => assert_eq!(found[0]["type"], kind),
    }
    lab.end(Place::Pod, &Object::Route(route));
    assert_eq!(shown(&lab, family, table), [""; 0]);
}

#[rstest]
fn a_route_of_ours_becomes_another(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = lab_with_link();
    let actions = [
        via(family, 1),
        via(family, 2),
        RouteAction::Throw,
        RouteAction::Prohibit,
        via(family, 1),
        RouteAction::Unreachable,
    ];
    for action in actions {
        let object = Object::Route(route(Prefix::all(family), action));
        lab.round(Place::Pod, &object);
        assert_eq!(shown(&lab, family, 230).len(), 1, "{object}");
    }
}

#[rstest]
#[case::v4(Family::V4, "ip -4", "via 169.254.230.2 dev egr0 proto 3")]
#[case::v6(Family::V6, "ip -6", "via fe80::e6:2 dev egr0 proto 3")]
fn in_our_table_the_route_of_others_is_replaced_and_in_main_it_is_not(
    #[case] family: Family,
    #[case] ip: &str,
    #[case] found: &str,
) {
    let mut lab = lab_with_link();
    let theirs = format!("{} via {} dev egr0 onlink", network(family), hop(family, 2));
    let mut wanted = route(network(family), via(family, 1));
    lab.run(Place::Pod, &format!("{ip} route add {theirs} table 230"));
    let differences = lab.differences(Place::Pod, &Object::Route(wanted.clone()));
    assert_eq!(differences, [format!("{wanted}: is {found}")]);
    lab.remove(Place::Pod, &Object::Route(wanted.clone()));
    assert!(lab.run(Place::Pod, &format!("{ip} route show table 230")).contains("egr0"));
    lab.ensure(Place::Pod, &Object::Route(wanted.clone()));
    assert_eq!(lab.differences(Place::Pod, &Object::Route(wanted.clone())), [""; 0]);

    wanted.table = 254;
    lab.run(Place::Pod, &format!("{ip} route add {theirs}"));
    let failure = lab.refusal(Place::Pod, &Object::Route(wanted));
    assert!(matches!(failure, Failure::Foreign { .. }), "{failure}");
    assert!(sentence(&failure).contains(found), "{failure}");
}

/// To the kernel a metric of 0 means "any" when it deletes.
#[rstest]
fn removing_a_route_twice_spares_the_last_route(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = lab_with_link();
    let first = Object::Route(route(Prefix::all(family), via(family, 1)));
    let last = Object::Route(Route {
        metric: ours::METRIC_LAST,
        ..route(Prefix::all(family), RouteAction::Unreachable)
    });
    lab.ensure(Place::Pod, &last);
    lab.ensure(Place::Pod, &first);
    lab.end(Place::Pod, &first);
    assert_eq!(lab.differences(Place::Pod, &last), [""; 0]);
    lab.end(Place::Pod, &last);
}

#[rstest]
fn without_its_link_a_route_is_gone(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = Lab::new();
    let object = Object::Route(route(network(family), via(family, 1)));
    lab.end(Place::Pod, &object);
    let failure = lab.kernel.ensure(Place::Pod, &object).unwrap_err();
    assert!(sentence(&failure).contains("link egr0 does not exist"), "{failure}");
}

#[test]
fn an_ipv6_route_over_a_link_without_ipv6_names_the_switch() {
    let mut lab = lab_with_link();
    lab.run(Place::Pod, "sysctl -w net.ipv6.conf.egr0.disable_ipv6=1");
    let object = Object::Route(route(network(Family::V6), via(Family::V6, 1)));
    let failure = lab.refusal(Place::Pod, &object);
    assert!(sentence(&failure).contains("net.ipv6.conf.egr0.disable_ipv6 = 1"), "{failure}");
}

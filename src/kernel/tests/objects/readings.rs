//! What the planner asks: links, routes of table main, where packets would leave.

use egret_egress::kernel::{Failure, Kernel, Link, MainRoute};
use egret_egress::object::{Object, Place};
use egret_kernel::{LinuxKernel, Places};
use egret_types::IfIndex;
use rstest::rstest;

use crate::lab::{Lab, sentence, veth};

fn lab_with_network() -> Lab {
    let mut lab = Lab::new();
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    lab.run(Place::Pod, "ip addr add 192.0.2.7/24 dev egr0");
    lab.run(Place::Pod, "ip addr add 2001:db8::7/64 dev egr0 nodad");
    lab.run(Place::Pod, "ip route add default via 192.0.2.1 metric 5");
    lab.run(Place::Pod, "ip route add default via 2001:db8::1");
    lab
}

fn egr0(lab: &mut Lab) -> Link {
    let links = lab.kernel.list_links(Place::Pod).unwrap();
    links.into_iter().find(|link| link.name.as_str() == "egr0").unwrap()
}

#[test]
fn links_are_listed_with_their_addresses() {
    let mut lab = lab_with_network();
    let shown = lab.json(Place::Pod, "ip -j link show dev egr0");
    let link = egr0(&mut lab);
    assert_eq!(shown[0]["ifindex"], link.index.0);
    assert_eq!(link.kind.as_deref(), Some("veth"));
    assert_eq!(link.mac, Some(veth().mac));
    assert_eq!(link.mtu, 1400);
    assert!(link.up);
    let addresses: Vec<_> = link.addresses.iter().map(|(a, n)| format!("{a}/{n}")).collect();
    assert_eq!(addresses, ["192.0.2.7/24", "2001:db8::7/64"]);
    let links = lab.kernel.list_links(Place::Pod).unwrap();
    let lo = links.iter().find(|link| link.name.as_str() == "lo").unwrap();
    assert_eq!((lo.kind.as_deref(), lo.index), (None, IfIndex(1)));
}

#[test]
fn main_routes_are_listed_with_their_hops() {
    let mut lab = lab_with_network();
    let link = egr0(&mut lab).index;
    let routes = lab.kernel.list_main_routes(Place::Pod).unwrap();
    let route = |destination: &str, hop: Option<&str>, metric| MainRoute {
        destination: destination.parse().unwrap(),
        hop: hop.map(|hop| hop.parse().unwrap()),
        link,
        metric,
    };
    for expected in [
        route("192.0.2.0/24", None, 0),
        route("0.0.0.0/0", Some("192.0.2.1"), 5),
        route("2001:db8::/64", None, 256),
        route("::/0", Some("2001:db8::1"), 1024),
    ] {
        assert!(routes.contains(&expected), "{expected:?} is not in {routes:?}");
    }
}

#[rstest]
#[case::v4("ip route add 203.0.113.0/24", "192.0.2.1", "192.0.2.2")]
#[case::v6("ip route add 2001:db8:1::/48", "2001:db8::1", "2001:db8::2")]
fn each_hop_of_a_multipath_route_is_listed(
    #[case] add: &str,
    #[case] one: &str,
    #[case] two: &str,
) {
    let mut lab = lab_with_network();
    lab.run(Place::Pod, &format!("{add} nexthop via {one} nexthop via {two}"));
    let destination = add.split(' ').next_back().unwrap().parse().unwrap();
    let routes = lab.kernel.list_main_routes(Place::Pod).unwrap();
    let hops: Vec<_> =
        routes.iter().filter(|route| route.destination == destination).map(|r| r.hop).collect();
    assert_eq!(hops, [Some(one.parse().unwrap()), Some(two.parse().unwrap())]);
}

#[rstest]
#[case::v4("203.0.113.9")]
#[case::v6("2001:db8:1::9")]
fn packets_leave_on_the_link_of_the_default_route(#[case] address: &str) {
    let mut lab = lab_with_network();
    let link = egr0(&mut lab).index;
    assert_eq!(lab.kernel.link_toward(Place::Pod, address.parse().unwrap()).unwrap(), link);
    let failure = lab.kernel.link_toward(Place::Egret, address.parse().unwrap()).unwrap_err();
    assert!(sentence(&failure).contains("Network is unreachable"), "{failure}");
}

#[test]
fn traffic_is_counted() {
    let mut lab = lab_with_network();
    lab.run(Place::Egret, "ip addr add 192.0.2.1/24 dev egr0123456789ab");
    lab.run(Place::Pod, "ping -c 2 -i 0.01 192.0.2.1");
    let traffic = lab.kernel.traffic(Place::Pod, &veth().name).unwrap().unwrap();
    assert!(traffic.received_packets >= 2 && traffic.sent_packets >= 2, "{traffic:?}");
    assert!(traffic.received_bytes >= 2 * 98 && traffic.sent_bytes >= 2 * 98, "{traffic:?}");
    assert_eq!(lab.kernel.traffic(Place::Root, &veth().name).unwrap(), None);
}

/// A list of several datagrams changes while it is read: it is read again, and nothing is lost.
#[test]
fn a_list_is_complete_while_others_change_it() {
    let mut lab = Lab::new();
    let add = |n: u8| format!("link add z{n} type veth peer name y{n}\n");
    lab.batch(Place::Pod, &(0..150).map(add).collect::<String>());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let places = Places { egret: lab.path(Place::Egret), pod: Some(lab.path(Place::Pod)) };
    let changes = std::thread::spawn(move || {
        let mut kernel = LinuxKernel::new(places);
        let pause = std::time::Duration::from_millis(1);
        let mut changes = 0;
        while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            kernel.ensure(Place::Pod, &Object::Veth(veth())).unwrap();
            kernel.remove(Place::Pod, &Object::Veth(veth())).unwrap();
            changes += 1;
        }
        changes
    });
    for _ in 0..100 {
        let links = lab.kernel.list_links(Place::Pod).unwrap();
        let lasting = links.iter().filter(|link| link.name.as_str() != "egr0");
        assert_eq!(lasting.count(), 301);
    }
    drop(stop);
    assert!(changes.join().unwrap() > 1, "nothing changed meanwhile");
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let mut kernel = LinuxKernel::new(Places { egret: "/run/netns/no/such".into(), pod: None });
    for place in [Place::Egret, Place::Pod] {
        let failure = kernel.list_links(place).unwrap_err();
        assert!(matches!(failure, Failure::NoNamespace { .. }), "{failure}");
        kernel.remove(place, &Object::Veth(veth())).unwrap();
    }
}

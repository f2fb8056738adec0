//! The egress IPs move to another gateway node, by hand and under a thousand datagrams a second in
//! each direction: answers alone are lost, in a silence as long as the commands; nothing ever leaves
//! with another source. And what it means to take them without being the first member.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use egret_tests::{Families, Lab, Lost, Node, Packet, egress_ip, link_mac, resources};
use egret_types::{Family, MacAddr, ours};
use rstest::rstest;

use crate::ride::{Ride, Strangers, has_address, say};
use crate::world::{self, BILLING, SHOP};

const DEFAULTS: &str = "10-defaults.yaml";
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The one phase in which answers are lost.
const MOVE: &str = "the new one comes, the workers follow";

/// Whether a frame tells neighbours that an address is at its sender.
fn announces(packet: &Packet, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            packet.ether_type == 0x0806 && packet.payload.get(14..18) == Some(&address.octets())
        }
        IpAddr::V6(_) => {
            packet.source == Some(address)
                && packet.protocol == Some(ICMPV6)
                && packet.payload.first() == Some(&NEIGHBOUR_ADVERTISEMENT)
        }
    }
}

/// A filter for who announces what, and every fourth datagram of a stream, by its number.
fn sample(family: Family) -> String {
    let last = match family {
        Family::V4 => "udp[15]",
        Family::V6 => "ip6[55]",
    };
    format!("arp or icmp6 or (udp and {last} & 3 = 0)")
}

fn reorder(lab: &Lab, from: &str, to: &str) {
    let defaults = resources::defaults(lab.nodes(), lab.families());
    let reordered = defaults.replace(from, to);
    assert_ne!(reordered, defaults);
    lab.write_resources(DEFAULTS, &reordered);
}

fn uplink_mac(node: &Node) -> MacAddr {
    node.egress_ns().inside(|| link_mac(ours::UPLINK)).unwrap()
}

/// The middle one of five.
fn time_of_a_repair(node: &Node) -> Duration {
    let mut times = [(); 5].map(|()| {
        let begin = Instant::now();
        node.egretctl("repair").success();
        begin.elapsed()
    });
    times.sort();
    times[2]
}

/// From the first announcement of an egress IP by the new member to the first datagram through it.
fn silence(seen: &[(Duration, Packet)], member: MacAddr, egress: IpAddr) -> Duration {
    let first = |what: &str, is_it: &dyn Fn(&Packet) -> bool| {
        let found = seen.iter().find(|(_, p)| p.source_mac == member && is_it(p));
        found.unwrap_or_else(|| panic!("no {what} of {egress} by {member}")).0
    };
    let announced = first("announcement", &|packet| announces(packet, egress));
    let used = first("datagram", &|p| p.protocol == Some(UDP) && p.source == Some(egress));
    used.saturating_sub(announced)
}

#[rstest]
fn failover_by_hand_loses_answers_for_as_long_as_a_repair_takes_and_nothing_else(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).gateway("g2").start();
    world::open(&lab);
    let family = families.list()[0];
    let [w1, w2, g1, g2] = ["w1", "w2", "g1", "g2"].map(|name| lab.node(name));
    let shop = lab.add_pod("w1", "shop", "cart");
    let billing = lab.add_pod("w2", "billing", "b");
    let pods = [(&shop, SHOP), (&billing, BILLING)];
    let egress = [SHOP, BILLING].map(|index| egress_ip(family, index));
    let strangers = Strangers::watch(&lab, egress);
    let capture = lab.external().capture("eth0", &sample(family));
    let mut ride = Ride::of(&lab, &pods);
    ride.control();
    let repair = time_of_a_repair(w1);

    reorder(&lab, "[\"g1\", \"g2\"]", "[\"g2\", \"g1\"]");
    let wrote = ride.during(MOVE, || {
        g2.egretctl("gateway up").success();
        [w1, w2].map(|worker| worker.egretctl("repair").success())
    });
    assert!(wrote.iter().all(|said| said.contains("1 entries written")), "{wrote:?}");
    // A person may take a while; the old member still has the addresses.
    ride.during("both are still up", || std::thread::sleep(Duration::from_millis(500)));
    ride.during("the old one goes", || g1.egretctl("gateway down").success());
    ride.control();
    // New flows beside the old ones.
    let mut fresh = Ride::of(&lab, &pods);
    fresh.control();
    assert_eq!(fresh.end(), []);

    let losses = ride.end();
    say(&format!("lost by a failover over {family}: {losses:?}"));
    assert!(losses.iter().all(|(_, lost)| lost.outward == 0), "{losses:?}");
    assert!(losses.iter().all(|(name, _)| name.starts_with(MOVE)), "{losses:?}");
    // Control: between announcement and repair answers go where nobody knows them.
    assert!(losses.iter().all(|(_, lost)| lost.inward > 0), "{losses:?}");
    assert_eq!(losses.len(), 2);
    let seen = capture.stop_timed();
    strangers.saw_nobody("w1");
    let silence = egress.map(|egress| silence(&seen, uplink_mac(g2), egress));
    let multiple = silence.map(|silence| silence.as_secs_f64() / repair.as_secs_f64());
    say(&format!(
        "silence over {family}: {silence:?}, {multiple:.1?} times one repair ({repair:?})"
    ));
    // The first worker's is one command, the second's two. The machine may be busy.
    assert!(multiple.iter().all(|multiple| *multiple < 100.0), "{multiple:?}");
    for pod in [&shop, &billing] {
        pod.check().unwrap();
    }
}

/// The resources with the gateway `edge` of g1, then g2, and the gateway `other` of g2 alone, which
/// has the second pool. Policies: `shop` leaves through the first, `billing` through the second.
fn two_gateways(lab: &Lab) {
    let families = lab.families();
    let nodes: String = lab.nodes().iter().map(resources::node).collect();
    let second = resources::pool("second", 2, families, "  node: w1\n");
    let defaults = resources::cluster(families, "  guard: \"off\"\n")
        + &nodes
        + &resources::gateway("edge", &["g1", "g2"])
        + &resources::gateway("other", &["g2"])
        + &resources::pool("tenants", 1, families, "  node: w1\n")
        + &second.replace("gateway: edge", "gateway: other");
    lab.write_resources(DEFAULTS, &defaults);
    let policies = resources::policy("shop", "p", "tenants", &resources::egress_pair(0, families))
        + &resources::policy("billing", "p", "second", &resources::egress_pair(10, families));
    lab.write_resources("20-policies.yaml", &policies);
}

#[rstest]
fn gateway_up_gives_up_what_was_taken_and_says_so(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = Lab::builder(families).worker("w1").gateway("g1").gateway("g2").start();
    two_gateways(&lab);
    let family = families.list()[0];
    let (g1, g2) = (lab.node("g1"), lab.node("g2"));
    let [edge, other] = [0, 10].map(|index| egress_ip(family, index));
    for gateway in [g1, g2] {
        gateway.egretctl("gateway up").success();
    }
    let pods = [lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "b")];
    let strangers = Strangers::watch(&lab, [edge, other]);
    let mut ride = Ride::of(&lab, &[(&pods[0], 0), (&pods[1], 10)]);
    ride.control();
    assert_eq!([edge, other].map(|address| has_address(g2, address)), [false, true]);

    // Taken: answers come to a node to which no worker sends.
    ride.during("taken", || g2.egretctl("gateway up --take").success());
    assert_eq!([edge, other].map(|address| has_address(g2, address)), [true, true]);
    let said = ride.during("given up", || g2.egretctl("gateway up").success());
    let line = "gateway edge: gave up 10 egress pairs, its first member is g1";
    assert_eq!(said.lines().filter(|said| *said == line).count(), 1, "{said}");
    assert_eq!([edge, other].map(|address| has_address(g2, address)), [false, true]);
    // Who answers is who spoke last.
    ride.during("announced again", || g1.egretctl("gateway up").success());
    let said = ride.during("no change", || g2.egretctl("gateway up").success());
    assert!(!said.contains("gave up"), "{said}");
    ride.control();
    let losses = ride.end();
    let taken =
        |(name, lost): &(String, Lost)| name.ends_with(&edge.to_string()) && lost.outward == 0;
    assert!(!losses.is_empty() && losses.iter().all(taken), "{losses:?}");
    strangers.saw_nobody("w1");
}

#[test]
fn what_was_taken_stays_when_gateway_up_is_refused_and_goes_with_gateway_down() {
    let lab = world::builder(Families::Dual).gateway("g2").start();
    world::open(&lab);
    let g2 = lab.node("g2");
    let has = || Family::BOTH.map(|family| has_address(g2, egress_ip(family, SHOP)));
    let refused = g2.egretctl("gateway up").exits(2);
    assert!(refused.stderr.contains("g1") && refused.stderr.contains("--take"), "{refused}");
    assert!(!g2.egress_ns().exists(), "a refused gateway up made something");
    g2.egretctl("gateway up --take").success();
    assert_eq!(has(), [true, true]);
    let refused = g2.egretctl("gateway up").exits(2);
    assert!(refused.stderr.contains("`egretctl gateway down` gives"), "{refused}");
    assert_eq!(has(), [true, true]);
    g2.egretctl("gateway up --take").success();
    g2.egretctl("gateway down").success();
    assert_eq!(has(), [false, false]);
    let refused = g2.egretctl("gateway up").exits(2);
    assert!(!refused.stderr.contains("gateway down"), "{refused}");
}

/// The old member has the addresses until `gateway down`. When its own neighbour entries grow old it
/// asks in the name of the first of them, and the neighbour believes it. So the new one has the last
/// word.
#[test]
fn an_old_member_that_speaks_up_is_answered_by_gateway_up_again() {
    let lab = world::builder(Families::V4).gateway("g2").start();
    world::open(&lab);
    let pair = resources::egress_pair(0, Families::V4);
    lab.write_resources("20-policies.yaml", &resources::policy("shop", "p", "tenants", &pair));
    let [w1, g1, g2] = ["w1", "g1", "g2"].map(|name| lab.node(name));
    let pod = lab.add_pod("w1", "shop", "cart");
    let mut ride = Ride::of(&lab, &[(&pod, 0)]);
    ride.control();
    reorder(&lab, "[\"g1\", \"g2\"]", "[\"g2\", \"g1\"]");
    ride.during(MOVE, || {
        g2.egretctl("gateway up").success();
        w1.egretctl("repair").success();
    });
    ride.during("both are up", || std::thread::sleep(Duration::from_millis(200)));
    // What happens by itself some seconds after the last packet to the server.
    let server = lab.external_address(Family::V4);
    let mac = lab.external().inside(|| link_mac("eth0")).unwrap();
    let line = format!("neigh replace {server} dev {} lladdr {mac} nud probe", ours::UPLINK);
    ride.during("the old one speaks", || {
        g1.egress_ns().ip(&line);
        std::thread::sleep(Duration::from_millis(200));
        g1.egretctl("gateway down").success();
    });
    ride.during("the old one is gone", || std::thread::sleep(Duration::from_millis(200)));
    ride.during("the new one speaks", || g2.egretctl("gateway up").success());
    ride.control();
    let losses = ride.end();
    say(&format!("an old member that speaks: {losses:?}"));
    assert!(losses.iter().all(|(_, lost)| lost.outward == 0), "{losses:?}");
    assert!(losses.iter().any(|(name, _)| name.starts_with("the old one is gone")), "{losses:?}");
}

//! The path itself: sizes, fragments, path MTU discovery before, at and behind the gateway, errors
//! of routers on the way. The reverse path filter of every pod is strict before ADD, and the same
//! must hold when a policy names neither the gateway nor the routers that send such errors.

use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{Client, Families, Lab, Ns, Question, egress_ip, external, far, resources};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::hygiene::{Numbers, Outside};
use crate::world::{self, SHOP};

const MEGABYTE: u64 = 1_000_000;
/// Of the link in front of the far host.
const FAR_MTU: usize = 1300;

/// What the policy of namespace `shop` sends through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destinations {
    /// All that is outside the cluster.
    Everything,
    /// The network of the far host alone.
    Far,
}

impl Destinations {
    fn lines(self) -> &'static str {
        match self {
            Destinations::Everything => "",
            Destinations::Far => "  destinations: [\"198.51.100.0/24\", \"2001:db8:51::/64\"]\n",
        }
    }
}

/// A laboratory with a far host whose policy for `shop` has these destinations.
fn far_lab(families: Families, destinations: Destinations) -> Lab {
    let lab = world::builder(families).far_host().start();
    world::open(&lab);
    let more = resources::egress_pair(SHOP, families) + destinations.lines();
    lab.write_resources(
        "20-policies.yaml",
        &resources::policy("shop", "partners", "tenants", &more),
    );
    lab
}

fn patient(server: IpAddr) -> Client {
    Client { patience: Duration::from_secs(20), ..Client::new(server) }
}

fn transfer(pod: &Ns, server: IpAddr, bytes: u64) {
    let client = patient(server);
    pod.inside(|| client.upload(bytes)).unwrap_or_else(|e| panic!("upload to {server}: {e}"));
    pod.inside(|| client.download(bytes)).unwrap_or_else(|e| panic!("download of {server}: {e}"));
}

/// Of the tunnel, over an underlay of 1500 bytes in the first of these families.
fn tunnel_mtu(families: Families) -> usize {
    if families.has(Family::V4) { 1450 } else { 1430 }
}

/// The path MTU that a namespace has learnt.
fn learnt_mtu(ns: &Ns, destination: IpAddr) -> Option<usize> {
    let route = ns.exec(&format!("ip route get {destination}")).success();
    route.split("mtu ").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// Who answers an echo request with this time to live.
fn hop(ns: &Ns, ttl: u8, destination: IpAddr) -> Option<IpAddr> {
    let said = ns.exec(&format!("ping -n -c1 -W1 -t {ttl} {destination}")).stdout;
    let named = said.lines().find_map(|line| {
        let (_, rest) = line.split_once("From ").or_else(|| line.split_once("bytes from "))?;
        rest.split_whitespace().next().map(|word| word.trim_end_matches(':').to_owned())
    });
    named.and_then(|name| name.parse().ok())
}

/// An echo request of this length in all, which must not be fragmented on the way.
fn ping_unfragmented(ns: &Ns, length: usize, destination: IpAddr) -> egret_tests::Finished {
    let headers = if destination.is_ipv4() { 28 } else { 48 };
    ns.exec(&format!("ping -n -c2 -i0.2 -W1 -M do -s {} {destination}", length - headers))
}

#[rstest]
#[case(Families::V4, Destinations::Everything)]
#[case(Families::V6, Destinations::Everything)]
#[case(Families::Dual, Destinations::Far)]
fn every_size_reaches_the_far_host_and_comes_back(
    #[case] families: Families,
    #[case] destinations: Destinations,
) {
    let lab = far_lab(families, destinations);
    let numbers = Numbers::count(&lab, &["w1", "g1"]);
    let outside = Outside::watch(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in families.list() {
        let far = far(*family);
        // Nothing is known of the path yet: these find it out.
        let refused = ping_unfragmented(&pod, 1400, far);
        assert!(!refused.succeeded(), "1400 bytes went through {FAR_MTU}: {refused}");
        assert_eq!(learnt_mtu(&pod, far), Some(FAR_MTU), "{family}: {refused}");
        assert!(ping_unfragmented(&pod, FAR_MTU, far).succeeded(), "{FAR_MTU} bytes to {far}");
        for question in [Question::Tcp, Question::Udp, Question::Big(1460), Question::Big(8000)] {
            let seen = pod.who(question, far).unwrap_or_else(|e| panic!("{question:?} {far}: {e}"));
            assert_eq!(seen.address, egress_ip(*family, SHOP), "{question:?} to {far}");
        }
        transfer(&pod, far, 10 * MEGABYTE);
    }
    outside.saw_exactly(families.list().iter().map(|family| egress_ip(*family, SHOP)));
    numbers.stayed_inside(lab.external_address(families.list()[0]));
    // The same from an unselected pod, and so from elsewhere: the path is what it is without us.
    let other = lab.add_pod("w1", "other", "plain");
    for family in families.list() {
        let seen = other.who(Question::Big(8000), far(*family)).unwrap();
        assert_eq!(seen.address, external(*family, 11));
    }
}

#[rstest]
fn routers_behind_the_gateway_are_heard(
    #[values(Destinations::Everything, Destinations::Far)] destinations: Destinations,
) {
    let lab = far_lab(Families::Dual, destinations);
    let pod = lab.pod("w1", "shop", "cart").sysctl("net.ipv4.conf.all.rp_filter", "1");
    let pod = pod.sysctl("net.ipv4.conf.default.rp_filter", "1").add().unwrap();
    assert_eq!(pod.sysctl("net.ipv4.conf.eth0.rp_filter"), "1", "eth0 is as strict as before");
    for family in Family::BOTH {
        let far = far(family);
        let hops = [1, 2, 3].map(|ttl| hop(&pod, ttl, far));
        assert!(hops[0].is_some(), "the gateway of {far} is silent: {hops:?}");
        assert_eq!(hops[1..], [Some(lab.external_address(family)), Some(far)], "{hops:?}");
        let udp = pod.exec(&format!("traceroute -n -w1 -q1 -m5 {far}")).success();
        let tcp = pod.exec(&format!("traceroute -n -T -p 8000 -w1 -q1 -m5 {far}")).success();
        for said in [udp, tcp] {
            let last = said.lines().last().unwrap_or_default();
            assert!(
                last.trim_start().starts_with("3 ") && last.contains(&far.to_string()),
                "{said}"
            );
            assert!(said.contains(&lab.external_address(family).to_string()), "{said}");
        }
    }
    // Control: with the filter strict on egr0 again, the router's errors are dropped, as long as
    // the routes do not lead to it through egr0.
    pod.set_sysctl(&format!("net.ipv4.conf.{}.rp_filter", ours::POD_LINK), "1");
    let heard = hop(&pod, 2, far(Family::V4)).is_some();
    assert_eq!(heard, destinations == Destinations::Everything);
}

#[rstest]
fn ten_megabytes_and_replies_larger_than_the_tunnel_pass_the_gateway(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let numbers = Numbers::count(&lab, &["w1", "g1"]);
    let outside = Outside::watch(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in families.list() {
        let server = lab.external_address(*family);
        assert_eq!(learnt_mtu(lab.external(), egress_ip(*family, SHOP)), None);
        for length in [1400, 1440, 1460, 8000] {
            let seen = pod.who(Question::Big(length), server).unwrap();
            assert_eq!((seen.address, seen.answer), (egress_ip(*family, SHOP), length));
        }
        // The server sends with "don't fragment": the gateway has told it what the tunnel takes.
        assert_eq!(
            learnt_mtu(lab.external(), egress_ip(*family, SHOP)),
            Some(tunnel_mtu(families))
        );
        transfer(&pod, server, 10 * MEGABYTE);
    }
    outside.saw_exactly(families.list().iter().map(|family| egress_ip(*family, SHOP)));
    numbers.stayed_inside(lab.external_address(families.list()[0]));
}

/// A gateway whose way out is narrower than the tunnel must say so itself, and only the mark of the
/// forwarded packet says to whom.
#[test]
fn a_gateway_with_an_uplink_narrower_than_the_given_tunnel_tells_the_pod() {
    let (tunnel, uplink) = (1400, 1320);
    let lab = world::builder(Families::Dual).start();
    let text = resources::defaults(lab.nodes(), Families::Dual)
        .replace("  guard:", &format!("  tunnel: {{ mtu: {tunnel} }}\n  guard:"));
    lab.write_resources("10-defaults.yaml", &text);
    for (ns, link) in [(lab.node("g1").ns(), "ext0"), (lab.external(), "eth0")] {
        ns.ip(&format!("link set {link} mtu {uplink}"));
    }
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let link = pod.exec(&format!("ip link show {}", ours::POD_LINK)).success();
    assert!(link.contains(&format!("mtu {tunnel} ")), "{link}");
    for family in Family::BOTH {
        let server = lab.external_address(family);
        let local = ping_unfragmented(&pod, tunnel + 1, server);
        let said = format!("{}{}", local.stdout, local.stderr);
        assert!(said.contains("message too long"), "{local}");
        assert_eq!(learnt_mtu(&pod, server), None);
        let refused = ping_unfragmented(&pod, tunnel, server);
        assert!(!refused.succeeded(), "{tunnel} bytes went through {uplink}: {refused}");
        assert_eq!(learnt_mtu(&pod, server), Some(uplink), "{family}: {refused}");
        assert!(ping_unfragmented(&pod, uplink, server).succeeded());
        let seen = pod.who(Question::Big(8000), server).unwrap();
        assert_eq!((seen.address, seen.answer), (egress_ip(family, SHOP), 8000));
        transfer(&pod, server, 2 * MEGABYTE);
    }
}

//! The rulesets of the product, whole: each as `nft` lists it, in a file to read, right at the first
//! reading, and gone afterwards.

use egret_egress::decision::{Claim, decide};
use egret_egress::desired::{
    GatewayFacts, HostEnd, Names, NodeFacts, OwnedPair, Peer, PodFacts, UplinkFacts,
    attachment_by_name, gateway, pod_filter, pod_guard, pod_guard_tables, pod_steering, space,
    tunnel_guard, worker,
};
use egret_egress::nft::Ruleset;
use egret_egress::object::{Object, Placed};
use egret_types::{
    Attachment, DualStack, Family, Identity, IfIndex, NodeId, PairIndex, PoolId, Prefix,
};

use crate::nft::Socket;

use super::testbed::{address, generation, ip, link, listing, namespace, nft};

fn node(number: u16) -> NodeId {
    NodeId::try_from(u32::from(number)).unwrap()
}

fn identity(index: u32) -> Identity {
    Identity::new(PoolId::try_from(1).unwrap(), PairIndex::try_from(index).unwrap())
}

fn pair(index: u32) -> DualStack<std::net::IpAddr> {
    let last = u128::from(index);
    DualStack {
        v4: Some(Family::V4.address(0xc000_0200 + last)),
        v6: Some(Family::V6.address((0x2001_0db8 << 96) + last)),
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn names() -> Names {
    names_of("c1")
}

fn names_of(container: &str) -> Names {
    Names::of(&Attachment {
        network: "net".parse().unwrap(),
        container_id: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    })
}

fn pod() -> PodFacts {
    let claim = Claim {
        policy: egret_types::PolicyName { namespace: None, name: "all".parse().unwrap() },
        destinations: None,
        except: vec![prefix("198.51.100.0/24")],
        identity: identity(1),
        pair: pair(1),
    };
    let cluster = [prefix("10.0.0.0/8"), prefix("fd00::/8")];
    PodFacts {
        names: names(),
        primary: link("eth0"),
        addresses: vec![address("10.244.0.5"), address("fd00::5")],
        decision: decide(&[claim], &cluster),
        node: node(7),
        mtu: 1450.try_into().unwrap(),
        reverse_path: vec![],
    }
}

fn gateway_facts() -> GatewayFacts {
    let (id, vtep, port) = (node(9), address("192.0.2.109"), 7790);
    let (vni, mtu) = (230.try_into().unwrap(), 1450.try_into().unwrap());
    let peer = |number: u16, pod_cidrs| {
        let vtep = Family::V4.address(0xc000_0264 + u128::from(number));
        Peer { id: node(number), vtep, pod_cidrs }
    };
    GatewayFacts {
        node: NodeFacts { id, vtep, vni, port, mtu },
        peers: vec![
            peer(7, vec![]),
            peer(8, vec![prefix("10.244.8.0/24"), prefix("fd00:0:0:8::/64")]),
        ],
        pods: vec![prefix("10.244.0.0/16")],
        uplink: UplinkFacts {
            parent: link("eth1"),
            addresses: vec![],
            connected: vec![],
            next_hops: vec![],
        },
        pairs: vec![OwnedPair { identity: identity(1), pair: pair(1) }],
        flows: 262_144,
    }
}

fn nft_of(objects: impl IntoIterator<Item = Placed>) -> Vec<Ruleset> {
    let nft = |placed: Placed| match placed.object {
        Object::Nft(ruleset) => Some(ruleset),
        _ => None,
    };
    objects.into_iter().filter_map(nft).collect()
}

/// Ensures rulesets in turn, compares the listing, and removes them in the opposite order.
fn check(rulesets: &[Ruleset], golden: &str) {
    let mut socket = namespace();
    for name in ["egret0", "egru0", names().node.as_str()] {
        ip(&format!("link add {name} type veth peer name x-{}", &name[..5]));
    }
    for ruleset in rulesets {
        socket.ensure(ruleset).unwrap();
    }
    let text = listing();
    assert!(text == golden, "the listing is not the golden one but:\n{text}");
    let before = generation(&mut socket);
    for ruleset in rulesets {
        assert_eq!(socket.differences(ruleset).unwrap(), Vec::<String>::new());
        socket.ensure(ruleset).unwrap();
    }
    assert_eq!(generation(&mut socket), before);
    for ruleset in rulesets.iter().rev() {
        socket.remove(ruleset).unwrap();
    }
    let left = listing();
    assert!(!left.contains("hook") && !left.contains("counter"), "{left}");
}

#[test]
fn worker_with_a_pod() {
    let mut rulesets = nft_of([space(node(7)), worker(node(7))]);
    rulesets.extend(nft_of([pod_filter(&pod(), IfIndex(101), IfIndex(1))]));
    check(&rulesets, include_str!("../../../../testdata/nft/worker.nft"));
}

#[test]
fn gateway_with_a_checked_node() {
    let rulesets = nft_of([space(node(9))].into_iter().chain(gateway(&gateway_facts())));
    check(&rulesets, include_str!("../../../../testdata/nft/gateway.nft"));
}

#[test]
fn node_that_is_both() {
    let mut rulesets = nft_of([space(node(9)), worker(node(9))]);
    rulesets.extend(nft_of([pod_filter(&pod(), IfIndex(101), IfIndex(1))]));
    rulesets.extend(nft_of(gateway(&gateway_facts())));
    check(&rulesets, include_str!("../../../../testdata/nft/both.nft"));
}

#[test]
fn guard_of_the_tunnel() {
    let nodes = [(address("192.0.2.107"), node(7)), (address("192.0.2.109"), node(9))];
    let members = [address("192.0.2.109")];
    let guard = tunnel_guard(node(7), 7790, Family::V4, &nodes, &members);
    check(&nft_of([guard]), include_str!("../../../../testdata/nft/guard.nft"));
}

#[test]
fn guard_of_a_tunnel_over_ipv6() {
    let nodes = [(address("2001:db8::7"), node(7)), (address("2001:db8::9"), node(9))];
    let guard = tunnel_guard(node(7), 7790, Family::V6, &nodes, &[address("2001:db8::9")]);
    check(&nft_of([guard]), include_str!("../../../../testdata/nft/guard6.nft"));
}

#[test]
fn answers_of_a_pod() {
    let steering = nft_of(pod_steering(&pod()));
    check(&steering, include_str!("../../../../testdata/nft/pod.nft"));
}

fn guard(container: &str, last: u8) -> Vec<Ruleset> {
    let end = HostEnd { name: link("veth1"), index: IfIndex(17) };
    let addresses = [format!("10.244.0.{last}"), format!("fd00::{last}")];
    let addresses = addresses.map(|text| address(&text));
    nft_of(pod_guard(&names_of(container), &end, &addresses, &pod().decision))
}

#[test]
fn guard_of_a_pod() {
    let mut socket = namespace();
    ip("link add veth1 type veth peer name x-veth1");
    for ruleset in &guard("c1", 5) {
        socket.ensure(ruleset).unwrap();
        assert_eq!(socket.differences(ruleset).unwrap(), Vec::<String>::new());
    }
    let text = listing();
    let golden = include_str!("../../../../testdata/nft/pod-guard.nft");
    assert!(text == golden, "the listing is not the golden one but:\n{text}");
}

/// The guard of one pod comes and goes beside that of another with the same decision; the tables go
/// with the last.
#[test]
fn guards_of_two_pods_share_a_decision_until_the_last_goes() {
    let mut socket = namespace();
    ip("link add veth1 type veth peer name x-veth1");
    let (one, other) = (guard("c1", 5), guard("c2", 6));
    let ensure = |socket: &mut Socket, rulesets: &[Ruleset]| {
        for ruleset in rulesets {
            socket.ensure(ruleset).unwrap();
        }
    };
    let remove = |socket: &mut Socket, rulesets: &[Ruleset]| {
        for ruleset in rulesets.iter().rev() {
            socket.remove(ruleset).unwrap();
        }
    };
    let decisions = || listing().matches("chain g").count();
    ensure(&mut socket, &one);
    let before = generation(&mut socket);
    ensure(&mut socket, &other);
    assert_eq!(generation(&mut socket), before + 2, "one transaction for each table");
    assert_eq!(decisions(), 2);
    remove(&mut socket, &one);
    for ruleset in &other {
        assert_eq!(socket.differences(ruleset).unwrap(), Vec::<String>::new());
    }
    assert!(!listing().contains(names_of("c1").node.as_str()));
    remove(&mut socket, &other);
    assert_eq!(listing(), "");
    // Whatever is in them, and again.
    ensure(&mut socket, &one);
    nft("add chain inet egret-guard others");
    for table in nft_of(pod_guard_tables()).iter().cycle().take(4) {
        socket.remove(table).unwrap();
    }
    assert_eq!(listing(), "");
}

#[test]
fn the_guard_of_an_address_that_a_newer_pod_has_is_left_to_it() {
    let mut socket = namespace();
    ip("link add veth1 type veth peer name x-veth1");
    let (old, new) = (guard("c1", 5), guard("c2", 5));
    for ruleset in old.iter().chain(&new) {
        socket.ensure(ruleset).unwrap();
    }
    for ruleset in old.iter().rev() {
        socket.remove(ruleset).unwrap();
    }
    let text = listing();
    assert_eq!(socket.differences(&new[1]).unwrap(), Vec::<String>::new());
    assert!(!text.contains(names_of("c1").node.as_str()), "{text}");
}

/// Without its record: by the name of its chain the addresses are found that lead there.
#[test]
fn a_guard_without_a_record_goes_by_name() {
    let mut socket = namespace();
    ip("link add veth1 type veth peer name x-veth1");
    for ruleset in guard("c1", 5).iter().chain(&guard("c2", 6)) {
        socket.ensure(ruleset).unwrap();
    }
    for placed in attachment_by_name(&names_of("c1")) {
        let Object::Nft(ruleset) = placed.object else { continue };
        socket.remove(&ruleset).unwrap();
    }
    let text = listing();
    assert!(!text.contains(names_of("c1").node.as_str()), "{text}");
    assert!(!text.contains("10.244.0.5 :") && text.contains("10.244.0.6 :"), "{text}");
    assert_eq!(socket.differences(&guard("c2", 6)[1]).unwrap(), Vec::<String>::new());
}

//! Who shares an egress IP and who does not: namespaces, workers, pod addresses, destinations; and
//! what never leaves through the tunnel.

use std::net::{IpAddr, UdpSocket};
use std::sync::Barrier;
use std::time::Duration;

use egret_tests::{
    Client, Families, Frame, Lab, Pod, Question, Transport, egress_ip, external, far, link_mac,
    pod_network, resources, send_frame, underlay,
};
use egret_types::{Family, ours};
use rstest::rstest;

use crate::hygiene::{Numbers, Outside};
use crate::world::{self, BILLING, SHOP};

#[rstest]
fn the_same_namespace_on_other_workers_has_the_same_egress_ip(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let outside = Outside::watch(&lab);
    let nodes = ["w1", "w2", "g1"];
    let pods =
        nodes.map(|node| [lab.add_pod(node, "shop", "s"), lab.add_pod(node, "billing", "b")]);
    for [shop, billing] in &pods {
        for family in families.list() {
            for (pod, index) in [(shop, SHOP), (billing, BILLING)] {
                let seen = pod.who(Question::Tcp, lab.external_address(*family)).unwrap();
                assert_eq!(seen.address, egress_ip(*family, index), "on {}", pod.node().name());
            }
        }
    }
    let pairs = |index| families.list().iter().map(move |family| egress_ip(*family, index));
    outside.saw_exactly(pairs(SHOP).chain(pairs(BILLING)));
}

/// Gives worker w2 the pod network of w1.
fn share_pod_network(lab: &Lab) {
    let w2 = lab.node("w2");
    let networks = lab.families().list().iter().map(|family| pod_network(*family, 11));
    for (place, network) in networks.enumerate() {
        w2.edit_conflist(|list| {
            list["plugins"][0]["ipam"]["ranges"][place][0]["subnet"] = network.to_string().into();
        });
        // As a worker among others it had a route there; its own bridge has one now.
        w2.ns().ip(&format!("route del {network}"));
    }
}

/// All pods ask at once from one source port; gives the address and port that the server saw.
fn ask_from_one_port(pods: &[&Pod], server: IpAddr, question: Question) -> Vec<(IpAddr, u16)> {
    let barrier = Barrier::new(pods.len());
    let ask = |pod: &Pod| {
        // Two that choose one port at one moment lose their first packet, and TCP waits a second.
        let patience = Duration::from_secs(6);
        let client = Client { source_port: 5555, patience, ..Client::new(server) };
        barrier.wait();
        let seen = pod.ask(&client, question).unwrap();
        (seen.address, seen.port)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(|| ask(pod))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[rstest]
fn pods_with_one_address_on_two_workers_are_told_apart(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    share_pod_network(&lab);
    world::open(&lab);
    let family = families.list()[0];
    let server = lab.external_address(family);
    let (shop, billing) = (lab.add_pod("w1", "shop", "a"), lab.add_pod("w2", "billing", "b"));
    assert_eq!(shop.address(family), billing.address(family));
    // And two that share even the egress IP, so that the gateway must choose another port for one.
    let (first, second) = (lab.add_pod("w1", "shop", "c"), lab.add_pod("w2", "shop", "d"));
    assert_eq!(first.address(family), second.address(family));
    let pods = [&shop, &billing, &first, &second];
    // Not `Udp`, which asks once: the kernel drops the first packet of a flow that chose its port at
    // the same moment as another.
    for question in [Question::Big(200), Question::Big(8000), Question::Tcp] {
        let seen = ask_from_one_port(&pods, server, question);
        let addresses: Vec<IpAddr> = seen.iter().map(|(address, _)| *address).collect();
        let expected = [SHOP, BILLING, SHOP, SHOP].map(|index| egress_ip(family, index));
        assert_eq!(addresses, expected, "{question:?}");
        assert_eq!(seen[1].1, 5555, "{question:?}: nobody else had this egress IP: {seen:?}");
        if question != Question::Tcp {
            let mut ports = [seen[0].1, seen[2].1, seen[3].1];
            ports.sort_unstable();
            assert!(
                ports[0] != ports[1] && ports[1] != ports[2],
                "two flows with one port: {seen:?}"
            );
        }
    }
    let barrier = Barrier::new(pods.len());
    std::thread::scope(|scope| {
        for pod in pods {
            scope.spawn(|| {
                let patience = Duration::from_secs(20);
                let client = Client { source_port: 5556, patience, ..Client::new(server) };
                barrier.wait();
                pod.inside(|| client.upload(1_000_000)).unwrap();
            });
        }
    });
}

/// Two nodes, one pod address, one IP identification: nothing in the IP header tells the fragments
/// of the two apart.
#[test]
fn fragments_of_two_workers_are_never_put_together() {
    let lab = world::builder(Families::V4).start();
    share_pod_network(&lab);
    world::open(&lab);
    let pods = [lab.add_pod("w1", "shop", "a"), lab.add_pod("w2", "billing", "b")];
    assert_eq!(pods[0].address(Family::V4), pods[1].address(Family::V4));
    let outside = lab.external_address(Family::V4);
    let socket = lab.external().inside(|| UdpSocket::bind("0.0.0.0:9999")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let payloads = ["a".repeat(64), "b".repeat(64)];
    let fragments = [0, 1].map(|n| {
        let hop = pods[n].exec("ip neigh show 169.254.230.1").success();
        let identity = hop.split("lladdr ").nth(1).and_then(|rest| rest.split(' ').next());
        let own = pods[n].inside(|| link_mac(ours::POD_LINK)).unwrap();
        let macs = [own, identity.unwrap().parse().unwrap()];
        let addresses = [pods[n].address(Family::V4), outside];
        Frame::new(macs, addresses, Transport::udp(&payloads[n])).fragments(0x7777, 32)
    });
    for (pod, part) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
        pods[pod].inside(|| send_frame(ours::POD_LINK, &fragments[pod][part])).unwrap();
    }
    let mut received = [(); 2].map(|()| {
        let mut buffer = [0; 100];
        let (length, peer) = socket.recv_from(&mut buffer).expect("two datagrams");
        (peer.ip(), String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    received.sort();
    let [shop, billing] = [SHOP, BILLING].map(|index| egress_ip(Family::V4, index));
    let [a, b] = payloads;
    assert_eq!(received, [(shop, a), (billing, b)]);
}

#[test]
fn each_policy_of_a_pod_gives_its_destinations_their_own_egress_ip() {
    let lab = world::builder(Families::Dual).far_host().start();
    lab.external().ip("addr add 203.0.113.20/24 dev eth0
        addr add 2001:db8:ff::20/64 dev eth0 nodad");
    let pair = |index| resources::egress_pair(index, Families::Dual);
    let partners = pair(SHOP) + "  destinations: [\"198.51.100.0/24\", \"2001:db8:51::/64\"]\n";
    let rest = "  except: [\"203.0.113.20/32\", \"2001:db8:ff::20/128\"]\n";
    let text = resources::pool("second", 2, Families::Dual, "  node: w1\n")
        + &resources::policy("shop", "partners", "tenants", &partners)
        + &resources::policy("shop", "rest", "second", rest)
        + &resources::cluster_policy("bills", &["billing"], "tenants", &pair(BILLING))
        + &resources::cluster_policy("rest", &["ledger", "archive"], "tenants", "");
    lab.write_resources("20-policies.yaml", &text);
    lab.node("g1").egretctl("gateway up").success();
    let shop = lab.add_pod("w1", "shop", "cart");
    let billing = lab.add_pod("w1", "billing", "b");
    let named = ["ledger", "archive"].map(|namespace| lab.add_pod("w1", namespace, "a"));
    let other = lab.add_pod("w1", "other", "plain");
    for family in Family::BOTH {
        let outside = lab.external_address(family);
        let spared = external(family, 20);
        let node = external(family, 11);
        for (pod, destination, address) in [
            (&shop, far(family), egress_ip(family, SHOP)),
            // The first pair of the second pool.
            (&shop, outside, egress_ip(family, 10)),
            (&shop, spared, node),
            (&billing, outside, egress_ip(family, BILLING)),
            (&billing, spared, egress_ip(family, BILLING)),
            (&other, outside, node),
        ] {
            let seen = pod.who(Question::Tcp, destination).unwrap();
            assert_eq!(seen.address, address, "to {destination}");
        }
        // A pair for each namespace that the cluster's policy names, out of those nobody names.
        let theirs = named.each_ref().map(|pod| pod.who(Question::Tcp, outside).unwrap().address);
        let free: Vec<IpAddr> = (0..10)
            .filter(|i| ![SHOP, BILLING].contains(i))
            .map(|i| egress_ip(family, i))
            .collect();
        assert!(theirs[0] != theirs[1] && theirs.iter().all(|a| free.contains(a)), "{theirs:?}");
    }
}

#[test]
fn traffic_in_the_cluster_never_enters_the_tunnel() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let tunnel = lab.node("w1").ns().capture("eth0", "udp port 7790");
    let pod = lab.add_pod("w1", "shop", "cart");
    let (near, distant) = (lab.add_pod("w1", "billing", "b"), lab.add_pod("w2", "billing", "b"));
    for server in [near.ns(), distant.ns(), lab.node("g1").ns()] {
        lab.serve(server);
    }
    // What kube-proxy does.
    let service = format!(
        "table inet service {{ chain c {{ type nat hook prerouting priority dstnat;
        ip daddr 10.96.0.5 dnat ip to {};
        ip6 daddr fd00:10:96::5 dnat ip6 to {}; }}; }}",
        distant.address(Family::V4),
        distant.address(Family::V6)
    );
    lab.node("w1").ns().program("nft").args([service]).run().success();
    for (family, service) in [(Family::V4, "10.96.0.5"), (Family::V6, "fd00:10:96::5")] {
        let service: IpAddr = service.parse().unwrap();
        // bridge masquerades everything but its own subnet: beyond it, the node is seen.
        let node = underlay(family, 11);
        for (destination, address) in [
            (near.address(family), pod.address(family)),
            (distant.address(family), node),
            (underlay(family, 21), node),
            (service, node),
        ] {
            for question in [Question::Tcp, Question::Udp] {
                let seen = pod.who(question, destination);
                let seen = seen.unwrap_or_else(|e| panic!("{question:?} {destination}: {e}"));
                assert_eq!(seen.address, address, "{question:?} to {destination}");
            }
            assert!(pod.ping(destination), "ping to {destination}");
        }
    }
    assert_eq!(tunnel.packets(), []);
    // The last thing that the capture sees is the first that goes through the tunnel.
    pod.who(Question::Udp, lab.external_address(Family::V4)).unwrap();
    let first = tunnel.wait_for("a tunnelled packet", |packet| packet.inner().is_some());
    assert_eq!(tunnel.packets().first(), Some(&first));
    let inner = first.inner().unwrap();
    assert_eq!(inner.destination, Some(lab.external_address(Family::V4)));
}

#[test]
fn a_lease_outlives_the_pods_that_held_it() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    // No pair is given here: the lease is what makes it stable.
    let policy = |namespace| resources::policy(namespace, "p", "tenants", "");
    lab.write_resources("30-more.yaml", &(policy("first") + &policy("second")));
    let leaves_as = |pod: &Pod| {
        Family::BOTH.map(|f| pod.who(Question::Tcp, lab.external_address(f)).unwrap().address)
    };
    let pods = [lab.add_pod("w1", "first", "a"), lab.add_pod("w1", "first", "b")];
    let was = leaves_as(&pods[0]);
    assert_eq!(leaves_as(&pods[1]), was, "one namespace, one egress IP");
    for index in [SHOP, BILLING] {
        assert_ne!(
            was[0],
            egress_ip(Family::V4, index),
            "a pair that a policy names was given out"
        );
    }
    for pod in &pods {
        pod.del().unwrap();
    }
    let other = lab.add_pod("w1", "second", "c");
    let others = leaves_as(&other);
    assert!(others[0] != was[0] && others[1] != was[1], "{others:?} belonged to another: {was:?}");
    let again = lab.add_pod("w1", "first", "a");
    assert_eq!(leaves_as(&again), was);
    // Only spec.node gives out addresses of the pool: two workers could choose the same one.
    let refused = lab.pod("w2", "first", "d").add().err().expect("w2 gave out an address");
    assert!(refused.message.contains("w1"), "{refused}");
}

#[test]
fn a_gateway_needs_nothing_to_be_done_for_a_pod_and_keeps_nothing_of_it() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (numbers, outside) = (Numbers::count(&lab, &["w1", "w2", "g1"]), Outside::watch(&lab));
    let before = lab.node("g1").egress_ns().snapshot();
    for number in 0..50 {
        let node = if number % 2 == 0 { "w1" } else { "w2" };
        let (namespace, index) = [("shop", SHOP), ("billing", BILLING)][number / 2 % 2];
        let pod = lab.add_pod(node, namespace, &format!("p-{number}"));
        for family in Family::BOTH {
            let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
            assert_eq!(seen.address, egress_ip(family, index), "pod {number}");
        }
    }
    assert_eq!(before.changes_to(&lab.node("g1").egress_ns().snapshot()), "");
    outside.saw_exactly(
        Family::BOTH.iter().flat_map(|f| [SHOP, BILLING].map(|index| egress_ip(*f, index))),
    );
    numbers.stayed_inside(lab.external_address(Family::V4));
}

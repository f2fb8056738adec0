//! The testkit itself: the laboratory carries traffic, and each observer sees what is there and
//! reports what should not be. Without these, a green test of the product would mean little.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use egret_tests::resources;
use egret_tests::{
    Checksum, Client, Families, Fault, Frame, Lab, PluginRun, PluginSet, Question, Snapshot,
    Transport, assert_no_leftovers, at_each_changing_call, external, link_mac, send_frame,
    underlay,
};
use egret_types::Family;
use nix::sys::signal::Signal;
use rstest::rstest;

#[rstest]
fn an_unselected_pod_leaves_with_its_nodes_address(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(PluginSet::Debian, PluginSet::Newest)] plugins: PluginSet,
) {
    let lab = Lab::builder(families).worker("w1").worker("w2").plugins(plugins).unchained().start();
    let pod = lab.add_pod("w2", "shop", "cart");
    for family in families.list() {
        for question in Question::ALL {
            let seen = pod.who(question, lab.external_address(*family)).unwrap();
            assert_eq!(seen.address, external(*family, 12), "{question:?}");
        }
        assert!(pod.ping(lab.external_address(*family)), "ping over {family}");
    }
    pod.check().unwrap();
    pod.del().unwrap();
}

#[rstest]
fn a_family_that_the_laboratory_lacks_does_not_work(
    #[values((Families::V4, Family::V6), (Families::V6, Family::V4))] mode: (Families, Family),
) {
    let lab = Lab::builder(mode.0).worker("w1").unchained().start();
    let pod = lab.add_pod("w1", "shop", "cart");
    let mut client = Client::new(lab.external_address(mode.1));
    client.patience = Duration::from_millis(500);
    pod.ask(&client, Question::Udp).unwrap_err();
}

#[test]
fn pods_of_two_nodes_reach_each_other() {
    let lab = Lab::builder(Families::Dual).worker("w1").worker("w2").unchained().start();
    let server = lab.add_pod("w1", "shop", "cart");
    lab.serve(server.ns());
    let client = lab.add_pod("w2", "shop", "till");
    // bridge masquerades towards everything but its own subnet, so the node's address is right.
    for family in Family::BOTH {
        let seen = client.who(Question::Tcp, server.address(family)).unwrap();
        assert_eq!(seen.address, underlay(family, 12));
    }
}

#[test]
fn the_far_host_is_reached_over_a_smaller_mtu() {
    let lab = Lab::builder(Families::Dual).worker("w1").far_host().unchained().start();
    let pod = lab.add_pod("w1", "shop", "cart");
    for family in Family::BOTH {
        let far = egret_tests::far(family);
        let seen = pod.who(Question::Big(4000), far).unwrap();
        assert_eq!((seen.address, seen.answer), (external(family, 11), 4000));
        let refused = pod.exec(&format!("ping -n -c1 -W1 -M do -s 1400 {far}"));
        assert!(!refused.succeeded(), "1400 bytes went through a link with MTU 1300");
    }
}

#[test]
fn ten_megabytes_arrive_as_they_were_sent() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    for family in Family::BOTH {
        let client = Client::new(lab.external_address(family));
        let node = lab.node("w1").ns();
        node.inside(|| client.upload(10_000_000)).unwrap();
        node.inside(|| client.download(10_000_000)).unwrap();
    }
}

#[test]
fn a_client_uses_the_link_and_the_port_it_is_told() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    for family in Family::BOTH {
        let mut client = Client::new(lab.external_address(family));
        client.source_port = 4242;
        client.device = Some("ext0".to_owned());
        for question in [Question::Tcp, Question::Udp] {
            let seen = lab.node("w1").ns().ask(&client, question).unwrap();
            assert_eq!((seen.address, seen.port), (external(family, 11), 4242));
        }
        // The underlay knows no way to the outside host.
        client.device = Some("eth0".to_owned());
        client.patience = Duration::from_millis(300);
        lab.node("w1").ns().ask(&client, Question::Udp).unwrap_err();
    }
}

#[test]
fn the_probe_program_says_what_the_library_says() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    let probe = env!("CARGO_BIN_EXE_egret-probe");
    let node = lab.node("w1").ns();
    for question in ["tcp", "udp", "big"] {
        let seen = node.exec(&format!("{probe} who {question} 203.0.113.10")).success();
        assert_eq!(seen.trim(), "203.0.113.11");
    }
    let refused = node.exec(&format!("{probe} who tcp 203.0.113.10 --colour red")).exits(1);
    assert!(refused.stderr.contains("--colour"), "{refused}");
    let moved = node.exec(&format!("{probe} download 203.0.113.10 100000")).success();
    assert_eq!(moved.trim(), "100000 bytes");
}

/// A frame from the node to the outside host, addressed by hand.
fn frame_to_outside(lab: &Lab, family: Family, transport: Transport) -> Frame {
    let own = lab.node("w1").ns().inside(|| link_mac("ext0")).unwrap();
    let other = lab.external().inside(|| link_mac("eth0")).unwrap();
    Frame::new([own, other], [external(family, 11), external(family, 10)], transport)
}

#[test]
fn a_hand_made_datagram_is_delivered_and_one_with_a_wrong_checksum_is_not() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    let socket = lab.external().inside(|| UdpSocket::bind("[::]:9999")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for family in Family::BOTH {
        let wrong = Frame {
            checksum: Checksum::Wrong,
            ..frame_to_outside(&lab, family, Transport::udp("wrong"))
        };
        let right = frame_to_outside(&lab, family, Transport::udp("right"));
        for frame in [&wrong, &right] {
            lab.node("w1").ns().inside(|| send_frame("ext0", &frame.encode())).unwrap();
        }
        let mut received = [0; 100];
        let (length, peer) = socket.recv_from(&mut received).unwrap();
        assert_eq!(&received[..length], b"right");
        let peer = SocketAddr::from((peer.ip().to_canonical(), peer.port()));
        assert_eq!(peer, SocketAddr::from((external(family, 11), 40_000)));
    }
}

#[test]
fn hand_made_tcp_and_echo_requests_are_answered() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    let node = lab.node("w1").ns();
    for family in Family::BOTH {
        let capture = node.capture("ext0", "ip or ip6");
        let syn = Transport::Tcp { source: 5555, destination: egret_tests::ECHO_PORT, flags: 2 };
        let echo = Transport::Echo { id: 7, sequence: 1 };
        for transport in [syn, echo] {
            let frame = frame_to_outside(&lab, family, transport).encode();
            node.inside(|| send_frame("ext0", &frame)).unwrap();
        }
        let outside = Some(external(family, 10));
        let answer = capture.wait_for("the answer to SYN", |packet| {
            packet.source == outside && packet.protocol == Some(6)
        });
        assert_eq!(answer.destination_port, Some(5555));
        capture.wait_for("the echo reply", |packet| {
            packet.source == outside && matches!(packet.payload.first(), Some(0 | 129))
        });
    }
}

#[test]
fn a_capture_sees_what_passes_and_nothing_else() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let capture = lab.external().capture("eth0", "udp port 8000");
    let node = lab.node("w1").ns();
    node.who(Question::Tcp, lab.external_address(Family::V4)).unwrap();
    node.who(Question::Udp, lab.external_address(Family::V4)).unwrap();
    let packet = capture.wait_for("the question", |packet| packet.destination_port == Some(8000));
    assert_eq!(packet.source, Some(external(Family::V4, 11)));
    let all = capture.stop();
    assert!(all.iter().all(|packet| packet.protocol == Some(17)), "{all:#?}");
}

#[test]
fn a_capture_that_was_held_up_knows_what_it_missed() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let capture = lab.external().capture("eth0", "udp");
    let datagrams = |count| {
        let to = (lab.external_address(Family::V4), 9999);
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            (0..count).for_each(|_| drop(socket.send_to(b"counted", to)));
        };
        lab.node("w1").ns().inside(send);
    };
    datagrams(20);
    capture.wait_for("a datagram", |packet| packet.payload == b"counted");
    assert_eq!(capture.missed(), 0);
    capture.program().signal(Signal::SIGSTOP);
    datagrams(20_000);
    capture.program().signal(Signal::SIGCONT);
    assert!(capture.missed() > 0);
}

#[test]
fn a_tagged_frame_keeps_its_tags_on_the_way() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let capture = lab.external().capture("eth0", "vlan 7");
    let mut frame = frame_to_outside(&lab, Family::V4, Transport::udp("tagged"));
    frame.vlans = vec![7];
    lab.node("w1").ns().inside(|| send_frame("ext0", &frame.encode())).unwrap();
    let packet = capture.wait_for("the tagged frame", |packet| packet.payload == b"tagged");
    assert_eq!(packet.vlans, [7]);
}

#[test]
fn planted_leftovers_are_each_reported() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    let node = lab.node("w1");
    let before = lab.snapshot();
    assert_no_leftovers(&before, &lab.snapshot());
    let fence = "table inet planted { chain c { counter drop; }; }";
    node.ns().program("nft").args([fence]).run().success();
    node.ns().ip("link add planted0 type bridge
        addr add 192.0.2.1/32 dev planted0
        link set planted0 up
        route add 192.0.2.9/32 dev planted0 table 230
        rule add pref 1000 lookup 230
        neigh add 192.0.2.5 lladdr 02:e6:01:00:00:01 dev planted0 nud permanent");
    node.ns().exec("ip -6 rule add pref 1000 lookup 230").success();
    node.ns().set_sysctl("net.ipv4.fwmark_reflect", "1");
    node.write_resources("planted.yaml", "");
    let egress = lab.namespace("w1-egret");
    let changes = before.changes_to(&lab.snapshot());
    for planted in [
        "nft table inet planted chain c counter drop",
        "link planted0 bridge",
        "address planted0 192.0.2.1/32",
        "route -4 192.0.2.9 dev planted0 table 230",
        "rule -4 1000: from all lookup 230",
        "rule -6 1000: from all lookup 230",
        "neighbour 192.0.2.5",
        "sysctl ipv4/fwmark_reflect = 1",
        "planted.yaml 0 bytes",
        &format!("[{}] link lo", egress.name()),
    ] {
        assert!(
            changes.lines().any(|l| l.starts_with('+') && l.contains(planted)),
            "{planted}: {changes}"
        );
    }
}

#[test]
fn a_dropped_laboratory_leaves_nothing() {
    let before = Snapshot::of_machine();
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").unchained().start();
    let tag = lab.network().to_owned();
    lab.add_pod("w1", "shop", "cart");
    drop(lab);
    assert_eq!(remains(&tag), Vec::<String>::new());
    assert_no_leftovers(&before, &Snapshot::of_machine());
}

#[test]
fn a_laboratory_whose_test_panics_leaves_nothing() {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
        lab.add_pod("w1", "shop", "cart");
        send.send(lab.network().to_owned()).unwrap();
        lab.node("w1").ns().inside(|| panic!("inside a namespace"));
    });
    let tag = receive.recv().unwrap();
    panicked.join().unwrap_err();
    assert_eq!(remains(&tag), Vec::<String>::new());
}

/// Namespaces, directories and cache files that carry a laboratory's tag.
fn remains(tag: &str) -> Vec<String> {
    let places = ["/run/netns", "/var/lib/cni/results", "/tmp"];
    let entries =
        places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name == tag || name.starts_with(&format!("{tag}-"))).collect()
}

#[test]
fn the_outside_reaches_a_pod_at_its_own_address() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    let pod = lab.add_pod("w1", "shop", "cart");
    lab.serve(pod.ns());
    lab.route_pods_from_outside();
    for family in Family::BOTH {
        for question in [Question::Tcp, Question::Udp] {
            let seen = lab.external().who(question, pod.address(family)).unwrap();
            assert_eq!(seen.address, lab.external_address(family));
        }
    }
}

#[test]
fn a_warm_laboratory_is_the_same_after_a_pod() {
    let lab = Lab::builder(Families::Dual).worker("w1").unchained().start();
    lab.warm_up();
    let before = lab.snapshot();
    let pod = lab.add_pod("w1", "shop", "cart");
    assert_ne!(before.changes_to(&lab.snapshot()), "");
    pod.del().unwrap();
    lab.assert_as_before(&before, &[]);
}

#[test]
fn counters_are_read_by_rule() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let node = lab.node("w1").ns();
    let rules = "table inet t { chain c { type filter hook output priority 0; \
                 udp dport 8000 counter accept; udp dport 8001 counter drop; }; }";
    node.program("nft").args([rules]).run().success();
    node.who(Question::Udp, lab.external_address(Family::V4)).unwrap();
    assert_eq!(node.counted("chain inet t c", "accept"), 1);
    assert_eq!(node.counted("table inet t", "drop"), 0);
}

#[test]
fn a_process_without_capabilities_cannot_send_raw_frames_but_can_send_datagrams() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let node = lab.node("w1").ns();
    let probe = env!("CARGO_BIN_EXE_egret-probe");
    let fields = "--src-mac 02:00:00:00:00:01 --dst-mac 02:00:00:00:00:02 --src 192.0.2.1 \
                  --dst 192.0.2.2 --payload inside";
    let run = |words: &str| node.unprivileged(probe).args(words.split_whitespace()).run();
    let refused = run(&format!("frame ext0 {fields}")).exits(1);
    assert!(refused.stderr.contains("not permitted"), "{refused}");
    let capture = lab.external().capture("eth0", "udp port 7790");
    run(&format!("vxlan 203.0.113.10 {fields}")).success();
    let outer = capture.wait_for("the datagram", |packet| packet.destination_port == Some(7790));
    assert_eq!(outer.inner().unwrap().payload, b"inside");
}

/// host-local, executed without a runtime, with its state in the laboratory's directory.
fn host_local(lab: &Lab, operation: &str) -> PluginRun {
    let node = lab.node("w1");
    let config = serde_json::json!({
        "cniVersion": "1.0.0", "name": lab.network(), "type": "host-local",
        "ipam": { "type": "host-local", "dataDir": node.host_local_dir(),
                  "ranges": [[{ "subnet": "10.9.0.0/24" }]] }
    });
    PluginRun::new(PluginSet::Newest.directory().join("host-local"), operation)
        .variable("CNI_CONTAINERID", "c1")
        .variable("CNI_NETNS", &node.ns().path().display().to_string())
        .variable("CNI_IFNAME", "eth0")
        .variable("CNI_PATH", &node.cni_path())
        .config(&config)
}

#[test]
fn a_plugin_is_executed_as_a_runtime_does() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let result = host_local(&lab, "ADD").run().result();
    assert_eq!(result["ips"][0]["address"], "10.9.0.2/24");
    let (code, sentence) = host_local(&lab, "ADD").without("CNI_IFNAME").run().error();
    assert_eq!(code, 4, "{sentence}");
    assert!(sentence.contains("CNI_IFNAME"), "{sentence}");
}

#[test]
fn a_fault_happens_at_the_call_that_was_named() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let full = host_local(&lab, "ADD").fault(Fault::Error("ENOSPC"), "mkdirat", 1).run();
    assert!(full.interrupted);
    let (_, sentence) = full.error();
    assert!(sentence.contains("no space left"), "{sentence}");
    let killed = host_local(&lab, "ADD").fault(Fault::Kill, "mkdirat", 1).run();
    assert_eq!((killed.interrupted, killed.finished.code()), (true, None));
    let spared = host_local(&lab, "ADD").fault(Fault::Kill, "mkdirat", 99).run();
    assert!(!spared.interrupted);
    spared.result();
}

#[test]
fn a_plugin_is_interrupted_at_each_of_its_changing_calls() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    let faults = at_each_changing_call(|call, number| {
        let outcome = host_local(&lab, "ADD").fault(Fault::Kill, call, number).run();
        assert_ne!(outcome.finished.succeeded(), outcome.interrupted, "{call} {number}");
        host_local(&lab, "DEL").run();
        outcome.interrupted
    });
    assert!(faults > 5, "host-local makes a directory and writes two files, but {faults} faults");
    let result = host_local(&lab, "ADD").run().result();
    assert!(result["ips"][0]["address"].is_string());
}

#[rstest]
fn the_resources_that_a_laboratory_writes_are_valid(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = Lab::builder(families).worker("w1").worker("w2").gateway("g1").gateway("g2").start();
    let pinned = resources::egress_pair(3, families);
    let mut text = resources::policy("shop", "partners", "tenants", &pinned);
    text += &resources::cluster_policy("others", &["billing"], "second", "");
    text += &resources::pool("second", 2, families, "");
    lab.write_resources("20-policies.yaml", &text);
    let directory = std::fs::read_dir(lab.node("w2").resources_dir()).unwrap();
    let files: Vec<_> = directory
        .map(|entry| entry.unwrap().path())
        .map(|path| egret_resources::SourceFile {
            name: path.display().to_string(),
            text: std::fs::read_to_string(path).unwrap(),
        })
        .collect();
    assert_eq!(files.len(), 2);
    let problems = egret_resources::parse(&files).err();
    assert!(problems.is_none(), "{problems:#?}");
}

#[test]
fn failures_of_the_runtimes_call_carry_the_plugins_sentence() {
    let lab = Lab::builder(Families::V4).worker("w1").unchained().start();
    lab.node("w1").edit_conflist(|list| list["plugins"][0]["ipam"]["ranges"] = "none".into());
    let failure = lab.pod("w1", "shop", "cart").add().err().expect("ADD with a broken list");
    assert!(
        failure.message.contains("host-local") || failure.message.contains("ranges"),
        "{failure}"
    );
}

//! The attacks, all of them: who makes each, what it does, and what is expected of it. The names
//! stand in docs/security.md.

use egret_tests::{Checksum, Frame, Transport, egress_ip, external, link_mac, underlay, vxlan};
use egret_types::{Family, MacAddr, ours};

use super::attack::{
    Attack,
    Control::{Refused, Sent},
    Who::{Pod, PodAdmin, PodRaw, Process, Underlay, Worker},
    attack,
};
use super::packet::{
    ADVERTISEMENT, ALL_NODES, BROADCAST, HOP_BY_HOP, REDIRECT, ROUTER_ADVERTISEMENT, ROUTING,
    all_nodes, better_hop, claim, cut_before_transport, discovery, hop, of_protocol, redirect,
    source_route, with_extension, with_options,
};
use super::stage::{CLUSTER_MAC, CLUSTER_NETWORK, CLUSTER_PORT};
use crate::forgery::{identity, node_mac};
use crate::segment::{REPLY, arp};
use crate::world::{BILLING, SHOP};

const V4: Family = Family::V4;
const V6: Family = Family::V6;
const NOBODYS_MAC: MacAddr = MacAddr([2, 0xaa, 0, 0, 0, 1]);
const WORKER: &str = "**Root on a worker** can use every identity of its gateways.";
const UNDERLAY: &str = "Who can send with a node's address, on the links where that node is \
                        expected, can speak for it";
const UNGUARDED: &str = "its pods and processes can forge frames";
const BRIDGE: &str = "a pod can use another's MAC, or answer for a link-local IPv6 address";
const SPOKE_FIRST: &str = "A guarded pod answers a connection from outside with its own address";
const CLUSTER: &str = "Another tunnel that ends on the node";

/// All attacks.
pub(super) const ATTACKS: &[Attack] = &[
    // A process of a pod, past its routes.
    attack(Pod, "bound-tcp", |it| {
        let options = format!("--bind-device eth0 --source-port {} --patience 80", it.port);
        it.probe(&format!("who tcp {} {options}", it.server()));
    }),
    attack(Pod, "bound-udp", |it| {
        let line = format!("datagram {} --bind-device eth0 NAMED", it.server());
        it.probe(&line).success();
    }),
    attack(Pod, "bound-fragments", |it| {
        let options = format!("--bind-device eth0 --source-port {} --patience 20", it.port);
        it.probe(&format!("who big {} {options}", it.server()));
    }),
    attack(Pod, "packet-info", |it| {
        it.probe(&format!("datagram {} --out-of eth0 NAMED", it.server())).success();
    }),
    attack(Pod, "mark-without-rights", |it| {
        let mark = ours::MARK_INBOUND;
        let refused = it.probe(&format!("datagram {} --mark {mark} NAMED", it.server())).exits(1);
        assert!(refused.stderr.contains("not permitted"), "{refused}");
    })
    .control(Refused),
    attack(Pod, "tunnel-port-of-gateway", |it| {
        let vtep = underlay(it.stage.family, 21);
        it.probe(&format!("vxlan {vtep} {}", it.forged_words(11, BILLING))).success();
    }),
    attack(Pod, "tunnel-port-of-worker", |it| {
        let vtep = underlay(it.stage.family, 12);
        it.probe(&format!("vxlan {vtep} {}", it.forged_words(21, BILLING))).success();
    }),
    attack(Pod, "tunnel-port-of-own-node", |it| {
        let vtep = underlay(it.stage.family, 11);
        let macs = format!("--src-mac {} --dst-mac {}", identity(BILLING), node_mac(11));
        let ends = format!("--src {} --dst {} --sport {}", it.server(), it.victims(), it.port);
        it.probe(&format!("vxlan {vtep} {macs} {ends} NAMED")).success();
    }),
    attack(Pod, "egress-ip-of-another", |it| {
        let theirs = egress_ip(it.stage.family, BILLING);
        it.probe(&format!("datagram {theirs} --source-port {} NAMED", it.port)).success();
    })
    .own_traffic()
    .control(Sent),
    attack(Pod, "cluster-tunnel", |it| {
        let vtep = underlay(it.stage.family, 11);
        let macs = format!("--src-mac {NOBODYS_MAC} --dst-mac {CLUSTER_MAC}");
        let ends = format!("--src {} --dst {}", it.stage.nobodys(), it.server());
        let tunnel = format!("--port {CLUSTER_PORT} --vni {CLUSTER_NETWORK}");
        it.probe(&format!("vxlan {vtep} {tunnel} {macs} {ends} --sport {} NAMED", it.port))
            .success();
    })
    .open(CLUSTER),
    // Hand-made frames on the egress segment.
    attack(PodRaw, "source-of-another-pod", |it| {
        let theirs = it.victims();
        it.on_segment(|frame| frame.source = theirs);
    }),
    attack(PodRaw, "source-nobodys", |it| {
        let arbitrary = it.stage.of("192.0.2.66", "2001:db8:66::66");
        it.on_segment(|frame| frame.source = arbitrary);
    }),
    attack(PodRaw, "source-egress-ip", |it| {
        let theirs = egress_ip(it.stage.family, BILLING);
        it.on_segment(|frame| frame.source = theirs);
    }),
    attack(PodRaw, "source-of-node", |it| {
        let nodes = external(it.stage.family, 11);
        it.on_segment(|frame| frame.source = nodes);
    }),
    attack(PodRaw, "identity-of-another", |it| {
        it.on_segment(|frame| frame.destination_mac = identity(BILLING));
    }),
    attack(PodRaw, "identity-nobodys", |it| {
        it.on_segment(|frame| frame.destination_mac = identity(9));
    }),
    attack(PodRaw, "identity-and-source-of-another", |it| {
        let theirs = it.victims();
        it.on_segment(|frame| {
            (frame.destination_mac, frame.source) = (identity(BILLING), theirs);
        });
    }),
    attack(PodRaw, "mac-nobodys", |it| {
        it.on_segment(|frame| frame.source_mac = NOBODYS_MAC);
    }),
    attack(PodRaw, "mac-of-another-node", |it| {
        it.on_segment(|frame| frame.source_mac = node_mac(12));
    }),
    attack(PodRaw, "to-own-node-mac", |it| {
        it.on_segment(|frame| frame.destination_mac = node_mac(11));
    }),
    attack(PodRaw, "to-gateway-node-mac", |it| {
        it.on_segment(|frame| frame.destination_mac = node_mac(21));
    }),
    attack(PodRaw, "to-gateway-mac", |it| {
        it.on_segment(|frame| frame.destination_mac = ours::GATEWAY_MAC);
    }),
    attack(PodRaw, "to-everybody", |it| {
        it.on_segment(|frame| frame.destination_mac = BROADCAST);
    }),
    attack(PodRaw, "vlan-tag", |it| it.on_segment(|frame| frame.vlans = vec![7])),
    attack(PodRaw, "two-vlan-tags", |it| it.on_segment(|frame| frame.vlans = vec![0, 7])),
    attack(PodRaw, "pod-on-segment", |it| {
        let theirs = it.victims();
        it.on_segment(|frame| frame.destination = theirs);
    }),
    attack(PodRaw, "pod-on-segment-directly", |it| {
        let theirs = it.victims();
        it.on_segment(|frame| {
            (frame.destination_mac, frame.destination) = (node_mac(11), theirs);
        });
    }),
    attack(PodRaw, "multicast-on-segment", |it| {
        let group = it.stage.of("224.0.0.251", "ff02::fb");
        it.on_segment(|frame| frame.destination = group);
    }),
    attack(PodRaw, "announcement-on-segment", |it| {
        it.out(ours::POD_LINK, &it.announcement(ours::POD_LINK, it.victims()));
    }),
    attack(PodRaw, "tunnel-port-through-segment", |it| {
        let inner = it.tunnelled(11, |_| ()).encode();
        let to = underlay(it.stage.family, 21);
        let payload = vxlan(ours::VNI, &inner);
        let transport = Transport::Udp { source: it.port, destination: ours::PORT, payload };
        it.on_segment(|frame| (frame.destination, frame.transport) = (to, transport));
    }),
    attack(PodRaw, "wrong-checksum-udp", |it| {
        it.on_segment(|frame| frame.checksum = Checksum::Wrong);
    })
    .own_traffic(),
    attack(PodRaw, "wrong-checksum-tcp", |it| {
        let syn = Transport::Tcp { source: it.port, destination: 9999, flags: 2 };
        it.on_segment(|frame| (frame.checksum, frame.transport) = (Checksum::Wrong, syn));
    })
    .own_traffic(),
    attack(PodRaw, "answer-without-connection", |it| {
        let ack = Transport::Tcp { source: it.port, destination: 9999, flags: 0x14 };
        it.on_segment(|frame| frame.transport = ack);
    })
    .own_traffic()
    .control(Sent),
    attack(PodRaw, "source-route-on-segment", |it| {
        it.out(ours::POD_LINK, &source_route(&it.steered(|_| ()), underlay(V4, 12)));
    })
    .only(V4)
    .own_traffic()
    .control(Sent),
    attack(PodRaw, "routing-header-on-segment", |it| {
        let theirs = it.victims();
        it.out(ours::POD_LINK, &with_extension(&it.steered(|_| ()), ROUTING, &hop(0, theirs)));
    })
    .only(V6)
    .own_traffic()
    .control(Sent),
    attack(PodRaw, "fragments-of-another", |it| {
        let theirs = it.victims();
        for part in it.in_fragments(it.steered(|frame| frame.source = theirs)) {
            it.out(ours::POD_LINK, &part);
        }
    }),
    attack(PodRaw, "options-of-another", |it| {
        let theirs = it.victims();
        let frame = it.steered(|frame| frame.source = theirs);
        let bytes = match it.stage.family {
            V4 => with_options(&frame, &[7, 7, 4, 0, 0, 0, 0, 0]),
            V6 => with_extension(&frame, HOP_BY_HOP, &[0, 1, 4, 0, 0, 0, 0]),
        };
        it.out(ours::POD_LINK, &bytes);
    }),
    // Hand-made frames on the primary link.
    attack(PodRaw, "primary-wrong-checksum-udp", |it| {
        it.on_primary(|frame| frame.checksum = Checksum::Wrong);
    }),
    attack(PodRaw, "primary-wrong-checksum-tcp", |it| {
        let syn = Transport::Tcp { source: it.port, destination: 9999, flags: 2 };
        it.on_primary(|frame| (frame.checksum, frame.transport) = (Checksum::Wrong, syn));
    }),
    attack(PodRaw, "primary-answer-without-connection", |it| {
        let ack = Transport::Tcp { source: it.port, destination: 9999, flags: 0x14 };
        it.on_primary(|frame| frame.transport = ack);
    }),
    attack(PodRaw, "primary-source-of-another-pod", |it| {
        let theirs = it.stage.plain.address(it.stage.family);
        it.on_primary(|frame| frame.source = theirs);
    }),
    attack(PodRaw, "primary-source-of-another-tenant", |it| {
        let theirs = egress_ip(it.stage.family, BILLING);
        it.on_primary(|frame| frame.source = theirs);
    }),
    attack(PodRaw, "primary-source-own-egress-ip", |it| {
        let own = egress_ip(it.stage.family, SHOP);
        it.on_primary(|frame| frame.source = own);
    }),
    attack(PodRaw, "primary-source-nobodys", |it| {
        let nobodys = it.stage.nobodys();
        it.on_primary(|frame| frame.source = nobodys);
    }),
    attack(PodRaw, "primary-link-local-source", |it| {
        let link_local = it.stage.of("169.254.7.7", "fe80::7");
        it.on_primary(|frame| frame.source = link_local);
    })
    .only(V6)
    .control(Sent),
    attack(PodRaw, "primary-vlan-tag", |it| it.on_primary(|frame| frame.vlans = vec![7]))
        .control(Sent),
    attack(PodRaw, "primary-to-everybody", |it| {
        it.on_primary(|frame| frame.destination_mac = BROADCAST);
    })
    .control(Sent),
    attack(PodRaw, "primary-mac-of-another-pod", |it| {
        let theirs = it.stage.victim.inside(|| link_mac("eth0")).unwrap();
        it.on_primary(|frame| frame.source_mac = theirs);
    }),
    attack(PodRaw, "primary-fragments", |it| {
        for part in it.in_fragments(it.primary(|_| ())) {
            it.out("eth0", &part);
        }
    }),
    attack(PodRaw, "primary-another-protocol", |it| {
        it.out("eth0", &of_protocol(&it.primary(|_| ()), 253));
    }),
    attack(PodRaw, "primary-packet-in-packet", |it| {
        let protocol = if it.stage.family == V4 { 4 } else { 41 };
        it.out("eth0", &of_protocol(&it.primary(|_| ()), protocol));
    }),
    attack(PodRaw, "primary-options", |it| {
        let bytes = match it.stage.family {
            V4 => with_options(&it.primary(|_| ()), &[7, 7, 4, 0, 0, 0, 0, 0]),
            V6 => with_extension(&it.primary(|_| ()), HOP_BY_HOP, &[0, 1, 4, 0, 0, 0, 0]),
        };
        it.out("eth0", &bytes);
    }),
    attack(PodRaw, "primary-source-route", |it| {
        let node = it.stage.bridge();
        let frame = it.primary(|frame| frame.destination = node);
        it.out("eth0", &source_route(&frame, it.server()));
    })
    .only(V4),
    attack(PodRaw, "primary-routing-header", |it| {
        let node = it.stage.bridge();
        let frame = it.primary(|frame| frame.destination = node);
        for kind in [0, 2, 4] {
            it.out("eth0", &with_extension(&frame, ROUTING, &hop(kind, it.server())));
        }
    })
    .only(V6)
    .control(Sent),
    // The tunnel's port, with more than a socket.
    attack(PodRaw, "tunnel-port-as-another-node", |it| {
        let (gateway, own) = (underlay(it.stage.family, 21), underlay(it.stage.family, 11));
        let payload = vxlan(ours::VNI, &it.answer(|_| ()).encode());
        let transport = Transport::Udp { source: 50_000, destination: ours::PORT, payload };
        it.on_primary(|frame| {
            (frame.source, frame.destination, frame.transport) = (gateway, own, transport);
        });
    }),
    attack(PodRaw, "tunnel-port-in-fragments", |it| {
        let payload = vxlan(ours::VNI, &it.tunnelled(11, |_| ()).encode());
        let transport = Transport::Udp { source: 50_000, destination: ours::PORT, payload };
        let to = underlay(it.stage.family, 21);
        let frame = it.primary(|frame| (frame.destination, frame.transport) = (to, transport));
        for part in frame.fragments(0x4711, 64) {
            it.out("eth0", &part);
        }
    }),
    attack(PodRaw, "tunnel-port-behind-a-fragment", |it| {
        let payload = vxlan(ours::VNI, &it.tunnelled(11, |_| ()).encode());
        let transport = Transport::Udp { source: 50_000, destination: ours::PORT, payload };
        let to = underlay(it.stage.family, 21);
        let frame = it.primary(|frame| (frame.destination, frame.transport) = (to, transport));
        for part in cut_before_transport(&frame, 0x4712) {
            it.out("eth0", &part);
        }
    })
    .only(V6)
    .control(Sent),
    attack(PodRaw, "forged-connection-from-outside", |it| {
        it.forge_connection(it.stage.plain.ns(), "eth0", it.bridge_mac());
    }),
    // A pod that changes its own namespace.
    attack(PodAdmin, "rules-removed", |it| {
        it.ip("rule del pref 990\nrule del pref 1000");
        it.ask(|_| ());
    }),
    attack(PodAdmin, "table-flushed", |it| {
        it.ip("route flush table 230");
        it.ask(|_| ());
    }),
    attack(PodAdmin, "link-removed", |it| {
        it.ip(&format!("link del {}", ours::POD_LINK));
        it.ip("rule del pref 1000");
        it.ask(|_| ());
    }),
    attack(PodAdmin, "inbound-mark", |it| it.ask(|it| it.mark = Some(ours::MARK_INBOUND))),
    attack(PodAdmin, "own-route", |it| {
        let (to, hop) = (it.server(), it.stage.bridge());
        it.ip(&format!(
            "route add {to} via {hop} dev eth0 table 77\nrule add pref 1 to {to} table 77"
        ));
        it.ask(|_| ());
    }),
    attack(PodAdmin, "neighbour-replaced", |it| {
        it.ip(&format!(
            "route add {} dev {link} table 77
            rule add pref 1 to {0} table 77
            link set {link} arp off
            neigh replace {0} lladdr {} dev {link} nud permanent",
            it.server(),
            identity(BILLING),
            link = ours::POD_LINK
        ));
        it.ask(|_| ());
    }),
    attack(PodAdmin, "link-address-changed", |it| {
        it.ip(&format!("link set {} address {}", ours::POD_LINK, node_mac(12)));
        it.on_segment(|_| ());
    }),
    attack(PodAdmin, "address-of-another", |it| {
        let theirs = it.victims();
        it.ip(&format!("addr add {theirs} dev {}", ours::POD_LINK));
        it.on_segment(|frame| frame.source = theirs);
    }),
    attack(PodAdmin, "one-more-address", |it| {
        let more = it.stage.nobodys();
        let macs = it.primary(|_| ());
        it.ip(&format!("addr add {more} dev eth0"));
        it.out("eth0", &Frame { source: more, ..macs }.encode());
    }),
    attack(PodAdmin, "own-tunnel", |it| {
        let server = it.server();
        it.ip(&format!(
            "link add own0 address {} type vxlan id {} dstport {} remote {} dev eth0
            link set own0 up
            neigh add {server} lladdr {} dev own0 nud permanent
            route add {server} dev own0 table 77
            rule add pref 1 to {server} table 77",
            node_mac(11),
            ours::VNI,
            ours::PORT,
            underlay(it.stage.family, 21),
            identity(BILLING),
        ));
        it.ask(|_| ());
    }),
    attack(PodAdmin, "own-macvlan", |it| {
        it.ip("link add own1 link eth0 type macvlan mode bridge\nlink set own1 up");
        let own = it.pod.inside(|| link_mac("own1")).unwrap();
        let frame = it.primary(|frame| frame.source_mac = own);
        it.out("own1", &frame.encode());
    }),
    attack(PodAdmin, "macvlan-on-segment", |it| {
        it.ip(&format!(
            "link add own2 link {} type macvlan mode bridge\nlink set own2 up",
            ours::POD_LINK
        ));
        let own = it.pod.inside(|| link_mac("own2")).unwrap();
        it.out("own2", &it.steered(|frame| frame.source_mac = own).encode());
    }),
    attack(PodAdmin, "bridge-of-both-links", |it| {
        it.ip(&format!(
            "link add own3 type bridge
            link set eth0 master own3
            link set {} master own3
            link set own3 up",
            ours::POD_LINK
        ));
        // Flooded by the node's bridge, then by the pod's.
        let macs = [it.stage.plain.inside(|| link_mac("eth0")).unwrap(), identity(BILLING)];
        let addresses = [it.stage.plain.address(it.stage.family), it.server()];
        it.out_of_plain(&it.frame(macs, addresses, |_| ()));
    })
    .with_another_pod(),
    attack(PodAdmin, "router-for-another", |it| {
        for (parameter, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.eth0.rp_filter", "0"),
            ("net.ipv6.conf.all.forwarding", "1"),
        ] {
            it.pod.set_sysctl(parameter, value);
        }
        it.pod.exec("nft flush ruleset");
        let macs = [&it.stage.plain, it.pod].map(|pod| pod.inside(|| link_mac("eth0")).unwrap());
        let addresses = [it.stage.plain.address(it.stage.family), it.server()];
        it.out_of_plain(&it.frame(macs, addresses, |_| ()));
    })
    .with_another_pod(),
    // What neighbours believe. Behind the others: it is believed.
    attack(PodRaw, "announcement-of-another-pod", |it| {
        it.out("eth0", &it.announcement("eth0", it.victims()));
    })
    .for_neighbours(),
    attack(PodRaw, "announcement-of-the-node", |it| {
        it.out("eth0", &it.announcement("eth0", it.stage.bridge()));
    })
    .for_neighbours(),
    attack(PodRaw, "answer-for-the-node", |it| {
        let own = it.pod.inside(|| link_mac("eth0")).unwrap();
        let macs = [own, it.stage.victim.inside(|| link_mac("eth0")).unwrap()];
        let node = it.stage.bridge();
        let bytes = match it.stage.family {
            V4 => [arp(REPLY, macs, node, it.victims()), it.text.clone().into_bytes()].concat(),
            V6 => discovery(macs, [node, it.victims()], ADVERTISEMENT, &claim(node, own), &it.text),
        };
        it.out("eth0", &bytes);
    })
    .for_neighbours(),
    attack(PodRaw, "router-advertisement", |it| {
        let own = it.pod.inside(|| link_mac("eth0")).unwrap();
        let between = [it.stage.of("169.254.7.7", "fe80::7"), all_nodes()];
        // A router for half an hour.
        let content = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let macs = [own, ALL_NODES];
        it.out("eth0", &discovery(macs, between, ROUTER_ADVERTISEMENT, &content, &it.text));
    })
    .only(V6)
    .for_neighbours(),
    attack(PodRaw, "redirect", |it| {
        let macs = [
            it.pod.inside(|| link_mac("eth0")).unwrap(),
            it.stage.victim.inside(|| link_mac("eth0")).unwrap(),
        ];
        let between = [it.stage.bridge(), it.victims()];
        let bytes = match it.stage.family {
            V4 => {
                let question = it.frame(macs, [it.victims(), it.server()], |_| ()).encode();
                let error = Transport::Unreachable { quoted: question[14..].to_vec() };
                redirect(&it.frame(macs, between, |frame| frame.transport = error), it.own())
            }
            V6 => {
                let content = better_hop(it.own(), it.server());
                discovery(macs, between, REDIRECT, &content, &it.text)
            }
        };
        it.out("eth0", &bytes);
    })
    .for_neighbours(),
    attack(PodRaw, "advertisement-behind-options", |it| {
        let plain = it.announcement("eth0", it.victims());
        let options = [vec![58], vec![0, 1, 4, 0, 0, 0, 0]].concat();
        let mut bytes = plain[..14 + 40].to_vec();
        (bytes[14 + 5], bytes[14 + 6]) = (bytes[14 + 5] + 8, HOP_BY_HOP);
        it.out("eth0", &[bytes, options, plain[14 + 40..].to_vec()].concat());
    })
    .only(V6)
    .for_neighbours(),
    attack(PodRaw, "to-a-pod-as-another", |it| {
        let family = it.stage.family;
        let (theirs, to) = (it.victims(), it.stage.plain.address(family));
        let mac = it.stage.plain.inside(|| link_mac("eth0")).unwrap();
        it.on_primary(|frame| {
            (frame.source, frame.destination, frame.destination_mac) = (theirs, to, mac);
        });
    }),
    attack(PodRaw, "multicast-as-another", |it| {
        let (theirs, group) = (it.victims(), it.stage.of("224.0.0.251", "ff02::fb"));
        let mac = it.stage.family;
        it.on_primary(|frame| {
            (frame.source, frame.destination) = (theirs, group);
            frame.destination_mac = match mac {
                V4 => MacAddr([1, 0, 0x5e, 0, 0, 0xfb]),
                V6 => MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]),
            };
        });
    })
    .for_neighbours(),
    attack(PodRaw, "mac-of-another-pod-to-a-pod", |it| {
        let theirs = it.stage.victim.inside(|| link_mac("eth0")).unwrap();
        let (to, mac) = (
            it.stage.plain.address(it.stage.family),
            it.stage.plain.inside(|| link_mac("eth0")).unwrap(),
        );
        it.on_primary(|frame| {
            (frame.source_mac, frame.destination, frame.destination_mac) = (theirs, to, mac);
        });
    })
    .open(BRIDGE),
    attack(PodRaw, "link-local-of-another", |it| {
        it.out("eth0", &it.announcement("eth0", "fe80::77".parse().unwrap()));
    })
    .only(V6)
    .for_neighbours()
    .open(BRIDGE),
    // A process of the node.
    attack(Process, "process-as-node", |it| {
        let vtep = underlay(it.stage.family, 21);
        it.probe(&format!("vxlan {vtep} {}", it.forged_words(11, BILLING)));
    }),
    attack(Process, "process-to-own-vtep", |it| {
        let vtep = underlay(it.stage.family, 11);
        let macs = format!("--src-mac {} --dst-mac {}", identity(BILLING), node_mac(11));
        let ends = format!("--src {} --dst {} --sport {}", it.server(), it.victims(), it.port);
        it.probe(&format!("vxlan {vtep} {macs} {ends} NAMED"));
    }),
    attack(Process, "process-to-loopback", |it| {
        let loopback = it.stage.of("127.0.0.1", "::1");
        let macs = format!("--src-mac {} --dst-mac {}", identity(BILLING), node_mac(11));
        let ends = format!("--src {} --dst {} --sport {}", it.server(), it.victims(), it.port);
        it.probe(&format!("vxlan {loopback} {macs} {ends} NAMED"));
    }),
    attack(Process, "process-of-unguarded-node", |it| {
        let vtep = underlay(it.stage.family, 21);
        it.probe_in(it.w2(), &format!("vxlan {vtep} {}", it.forged_words(12, SHOP))).success();
    })
    .open(UNGUARDED),
    attack(Pod, "pod-of-unguarded-node", |it| {
        let vtep = underlay(it.stage.family, 21);
        let words = it.forged_words(12, SHOP);
        it.probe_in(it.stage.loose.ns(), &format!("vxlan {vtep} {words}")).success();
    })
    .open(UNGUARDED),
    // Root on another worker.
    attack(Worker, "worker-as-another", |it| {
        it.send_tunnelled(it.w2(), 21, &it.tunnelled(11, |_| ()).encode());
    }),
    attack(Worker, "worker-as-gateway", |it| {
        it.send_tunnelled(it.w2(), 11, &it.answer(|_| ()).encode());
    }),
    attack(Worker, "worker-as-nobody", |it| {
        let frame = it.tunnelled(12, |frame| frame.source_mac = NOBODYS_MAC);
        it.send_tunnelled(it.w2(), 21, &frame.encode());
    })
    .control(Sent),
    attack(Worker, "worker-to-node-macs", |it| {
        for mac in [node_mac(21), ours::GATEWAY_MAC, ours::RETURN_HOP_MAC, BROADCAST] {
            let frame = it.tunnelled(12, |frame| frame.destination_mac = mac);
            it.send_tunnelled(it.w2(), 21, &frame.encode());
        }
    })
    .control(Sent),
    attack(Worker, "worker-identity-nobodys", |it| {
        let frame = it.tunnelled(12, |frame| frame.destination_mac = identity(200));
        it.send_tunnelled(it.w2(), 21, &frame.encode());
    })
    .control(Sent),
    attack(Worker, "worker-vlan-tag", |it| {
        let frame = it.tunnelled(12, |frame| frame.vlans = vec![7]);
        it.send_tunnelled(it.w2(), 21, &frame.encode());
    })
    .control(Sent),
    attack(Worker, "worker-to-a-pod", |it| {
        let theirs = it.victims();
        let frame = it.tunnelled(12, |frame| frame.destination = theirs);
        it.send_tunnelled(it.w2(), 21, &frame.encode());
    })
    .control(Sent),
    attack(Worker, "worker-wrong-checksum", |it| {
        let frame = it.tunnelled(12, |frame| frame.checksum = Checksum::Wrong);
        it.send_tunnelled(it.w2(), 21, &frame.encode());
    }),
    attack(Worker, "worker-source-route", |it| {
        let frame = it.tunnelled(12, |_| ());
        it.send_tunnelled(it.w2(), 21, &source_route(&frame, external(V4, 12)));
    })
    .only(V4)
    .control(Sent),
    attack(Worker, "worker-source-of-another-pod", |it| {
        it.send_tunnelled(it.w2(), 21, &it.tunnelled(12, |_| ()).encode());
    })
    .open(WORKER)
    .closed_by_pod_cidrs(),
    attack(Worker, "worker-identity-of-another", |it| {
        let own = it.stage.loose.address(it.stage.family);
        it.send_tunnelled(it.w2(), 21, &it.tunnelled(12, |frame| frame.source = own).encode());
    })
    .open(WORKER),
    attack(Worker, "worker-with-vtep-of-another", |it| {
        it.send_tunnelled_as(it.w2(), [11, 21], &it.tunnelled(11, |_| ()).encode());
    })
    .open(UNDERLAY),
    attack(Worker, "forged-connection-on-the-link-outside", |it| {
        let node = it.stage.lab.node("w1").ns();
        let mac = node.inside(|| link_mac("ext0")).unwrap();
        it.forge_connection(it.w2(), "ext0", mac);
    })
    .open(SPOKE_FIRST),
    // A host on the underlay that is no node.
    attack(Underlay, "stranger-to-gateway", |it| {
        it.send_tunnelled(&it.stage.stranger, 21, &it.tunnelled(11, |_| ()).encode());
    }),
    attack(Underlay, "stranger-to-worker", |it| {
        it.send_tunnelled(&it.stage.stranger, 11, &it.answer(|_| ()).encode());
    }),
    attack(Underlay, "stranger-with-own-vtep", |it| {
        // The id that such a VTEP would have by default.
        let frame = it.tunnelled(99, |_| ()).encode();
        it.send_tunnelled(&it.stage.stranger, 21, &frame);
    })
    .control(Sent),
    attack(Underlay, "forged-connection-from-underlay", |it| {
        let node = it.stage.lab.node("w1").ns();
        let mac = node.inside(|| link_mac("eth0")).unwrap();
        it.forge_connection(&it.stage.stranger, "eth0", mac);
    }),
    attack(Underlay, "stranger-with-vtep-of-worker", |it| {
        it.send_tunnelled_as(&it.stage.stranger, [11, 21], &it.tunnelled(11, |_| ()).encode());
    })
    .open(UNDERLAY),
    attack(Underlay, "stranger-with-vtep-of-gateway", |it| {
        it.send_tunnelled_as(&it.stage.stranger, [21, 11], &it.answer(|_| ()).encode());
    })
    .open(UNDERLAY),
];

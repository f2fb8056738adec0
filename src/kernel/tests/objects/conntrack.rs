//! Connection tracking: flows by mark and statistics, against what the kernel's files and the tool
//! `conntrack` say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use egret_egress::kernel::Kernel;
use egret_egress::object::Place;
use rstest::rstest;

use crate::lab::Lab;

/// Everything that leaves gets this mark, by the highest bit of the destination port.
const MARKS: [u32; 2] = [0x0100_0003, 0x0200_0004];

fn marking(lab: &Lab) {
    let [low, high] = MARKS;
    let rules = format!(
        "table inet t {{
            chain o {{ type filter hook output priority 0;
                udp dport < 0x8000 ct mark set {low:#x}
                udp dport >= 0x8000 ct mark set {high:#x}; }}
        }}"
    );
    let file = lab.directory.path().join("rules");
    write(&file, &rules);
    lab.run(Place::Root, &format!("nft -f {}", file.display()));
}

#[expect(clippy::disallowed_methods, reason = "input of the test")]
fn write(file: &std::path::Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

/// One datagram makes one flow. Nobody listens: the answer is an error, which is part of the flow.
fn send(to: impl Iterator<Item = SocketAddr>) {
    let sockets = ["0.0.0.0:0", "[::]:0"].map(|any| UdpSocket::bind(any).unwrap());
    for address in to {
        // An error that came for an earlier datagram is not this one's.
        let socket = &sockets[usize::from(address.is_ipv6())];
        while socket.send_to(b"x", address).is_err() {}
    }
}

fn count(lab: &mut Lab) -> u64 {
    let path = "net/netfilter/nf_conntrack_count";
    lab.kernel.get_sysctl(Place::Root, path).unwrap().unwrap().parse().unwrap()
}

#[rstest]
#[case::v4("127.0.0.1")]
#[case::v6("::1")]
fn flows_are_counted_by_mark(#[case] address: &str) {
    let mut lab = Lab::new();
    assert!(lab.kernel.flows_by_mark(Place::Root).unwrap().is_empty());
    marking(&lab);
    let address: IpAddr = address.parse().unwrap();
    let ports = (1..=3).chain(0x8000..0x8007);
    send(ports.map(|port| SocketAddr::new(address, port)));
    let flows = lab.kernel.flows_by_mark(Place::Root).unwrap();
    assert_eq!(flows.into_iter().collect::<Vec<_>>(), [(MARKS[0], 3), (MARKS[1], 7)]);
    assert!(lab.kernel.flows_by_mark(Place::Egret).unwrap().is_empty(), "another namespace's");
}

#[test]
fn a_table_of_a_hundred_thousand_flows_is_counted() {
    const ADDRESSES: u8 = 100;
    let mut lab = Lab::new();
    marking(&lab);
    let addresses = (1..=ADDRESSES).map(|host| IpAddr::from(Ipv4Addr::new(127, 0, 1, host)));
    let ports = (1..=400).chain(0x8000..0x8000 + 600);
    send(addresses.flat_map(|a| ports.clone().map(move |port| SocketAddr::new(a, port))));
    let (before, flows) = (count(&mut lab), lab.kernel.flows_by_mark(Place::Root).unwrap());
    let after = count(&mut lab);
    // They end after half a minute: on a slow machine some are gone by now.
    let counted: u64 = flows.values().sum();
    assert!((after..=before).contains(&counted), "{counted}, the kernel says {before} to {after}");
    assert!(counted > 50_000, "{counted}");
    assert_eq!(flows.keys().copied().collect::<Vec<_>>(), MARKS);
}

/// Two flows, one port: the second one finds no place.
#[test]
fn a_clash_behind_source_nat_is_counted_as_one() {
    let mut lab = Lab::new();
    let none = lab.kernel.conntrack_statistics(Place::Root).unwrap();
    assert_eq!((none.clashes(), none.table_full(), none.evicted), (0, 0, 0));
    let rules = "table ip t { chain p { type nat hook postrouting priority 100;
        udp dport 9 snat to 127.0.0.9:5000-5001; }; }";
    let file = lab.directory.path().join("rules");
    write(&file, rules);
    lab.run(Place::Root, &format!("nft -f {}", file.display()));
    let to = SocketAddr::from(([127, 0, 0, 1], 9));
    let sockets: Vec<UdpSocket> = (0..6).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let refused = sockets.iter().filter(|socket| socket.send_to(b"x", to).is_err()).count();
    let statistics = lab.kernel.conntrack_statistics(Place::Root).unwrap();
    assert_eq!((refused, statistics.clashes(), statistics.table_full()), (4, 4, 0));
    let shown = lab.run(Place::Root, "conntrack -S");
    let failed = shown.split("insert_failed=").skip(1);
    let failed: u64 = failed.map(|s| s.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(statistics.insert_failed, failed, "{shown}");
}

//! What a hand-made frame of the testkit does not have: IPv4 options, IPv6 extension headers, other
//! protocols, and what neighbours say to each other.

use std::net::IpAddr;

use egret_tests::Frame;
use egret_types::{Family, MacAddr};

use crate::segment::checksum;

/// 33:33 and the end of `ff02::1`, all nodes.
pub(super) const ALL_NODES: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
pub(super) const BROADCAST: MacAddr = MacAddr([0xff; 6]);
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
pub(super) const ADVERTISEMENT: u8 = 136;
pub(super) const REDIRECT: u8 = 137;
pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const ETHERNET: usize = 14;

/// The frame of an IPv4 packet with these options, a multiple of four bytes.
pub(super) fn with_options(frame: &Frame, options: &[u8]) -> Vec<u8> {
    let mut bytes = frame.encode();
    let end = ETHERNET + 20;
    let rest = bytes.split_off(end);
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    bytes[ETHERNET] = 0x40 | words;
    let length = u16::try_from(20 + options.len() + rest.len()).unwrap();
    bytes[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&length.to_be_bytes());
    bytes.extend(options);
    sum_v4(&mut bytes);
    [bytes, rest].concat()
}

/// A loose source route (131) by way of `hop`; the packet's own destination comes first.
pub(super) fn source_route(frame: &Frame, hop: IpAddr) -> Vec<u8> {
    let IpAddr::V4(hop) = hop else { panic!("source routes are IPv4's") };
    with_options(frame, &[[131, 7, 4].as_slice(), &hop.octets(), &[0]].concat())
}

/// The frame of an IPv6 packet with an extension header: all of it but the number of what follows.
pub(super) fn with_extension(frame: &Frame, kind: u8, header: &[u8]) -> Vec<u8> {
    extended(&frame.encode(), kind, header)
}

fn extended(frame: &[u8], kind: u8, header: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let rest = bytes.split_off(ETHERNET + 40);
    let next = std::mem::replace(&mut bytes[ETHERNET + 6], kind);
    let length = u16::try_from(1 + header.len() + rest.len()).unwrap();
    bytes[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length.to_be_bytes());
    [bytes, vec![next], header.to_vec(), rest].concat()
}

/// The same packet, said to be of another protocol.
pub(super) fn of_protocol(frame: &Frame, protocol: u8) -> Vec<u8> {
    let mut bytes = frame.encode();
    match Family::of(frame.source) {
        Family::V4 => {
            bytes[ETHERNET + 9] = protocol;
            sum_v4(&mut bytes);
        }
        Family::V6 => bytes[ETHERNET + 6] = protocol,
    }
    bytes
}

fn sum_v4(frame: &mut [u8]) {
    frame[ETHERNET + 10..ETHERNET + 12].fill(0);
    let end = ETHERNET + usize::from(frame[ETHERNET] & 15) * 4;
    let sum = checksum(&frame[ETHERNET..end]);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
}

/// Two fragments of an IPv6 packet of which the first ends before the transport begins: an empty
/// header of destination options is all that it has.
pub(super) fn cut_before_transport(frame: &Frame, identification: u32) -> [Vec<u8>; 2] {
    const DESTINATION_OPTIONS: u8 = 60;
    let whole = extended(&frame.encode(), DESTINATION_OPTIONS, &[0, 1, 4, 0, 0, 0, 0]);
    let (head, body) = whole.split_at(ETHERNET + 40);
    let (first, second) = body.split_at(8);
    [(first, 0_u16, 1_u16), (second, 8, 0)].map(|(part, at, more)| {
        let mut fragment = vec![DESTINATION_OPTIONS, 0];
        fragment.extend((at | more).to_be_bytes());
        fragment.extend(identification.to_be_bytes());
        let mut bytes = head.to_vec();
        bytes[ETHERNET + 6] = FRAGMENT;
        let length = u16::try_from(fragment.len() + part.len()).unwrap();
        bytes[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length.to_be_bytes());
        [bytes.as_slice(), &fragment, part].concat()
    })
}

/// A message of `ICMPv6` between neighbours, and at its end an option that nobody knows (RFC 4861,
/// 4.6: to be ignored) with a text.
pub(super) fn discovery(
    macs: [MacAddr; 2],
    between: [IpAddr; 2],
    kind: u8,
    content: &[u8],
    text: &str,
) -> Vec<u8> {
    let [IpAddr::V6(from), IpAddr::V6(to)] = between else { panic!("IPv6 only") };
    let units = (text.len() + 2).div_ceil(8);
    let mut option = vec![253, u8::try_from(units).unwrap()];
    option.extend(text.bytes());
    option.resize(units * 8, b' ');
    let mut body = [&[kind, 0, 0, 0], content, &option].concat();
    let length = u8::try_from(body.len()).unwrap();
    let pseudo = [from.octets(), to.octets()].concat();
    let sum = checksum(&[pseudo.as_slice(), &[0, 0, 0, length, 0, 0, 0, ICMPV6], &body].concat());
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = [0x86, 0xdd, 0x60, 0, 0, 0, 0, length, ICMPV6, 255];
    [macs[1].0.as_slice(), &macs[0].0, &header, &pseudo, &body].concat()
}

/// The content of an advertisement: `target` is at `mac`, whatever was known before.
pub(super) fn claim(target: IpAddr, mac: MacAddr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_ADDRESS: u8 = 2;
    let IpAddr::V6(target) = target else { panic!("IPv6 only") };
    let mut content = vec![OVERRIDE, 0, 0, 0];
    content.extend(target.octets());
    content.extend([TARGET_LINK_ADDRESS, 1]);
    content.extend(mac.0);
    content
}

/// The content of a redirect: the way to `destination` leads through `target`.
pub(super) fn better_hop(target: IpAddr, destination: IpAddr) -> Vec<u8> {
    let [IpAddr::V6(target), IpAddr::V6(destination)] = [target, destination] else {
        panic!("IPv6 only");
    };
    [[0; 4].as_slice(), &target.octets(), &destination.octets()].concat()
}

/// An ICMP redirect (RFC 792) about a packet: the way of that leads through `target`. `about` is a
/// frame of an error that quotes it.
pub(super) fn redirect(about: &Frame, target: IpAddr) -> Vec<u8> {
    let IpAddr::V4(target) = target else { panic!("IPv4 only") };
    let mut bytes = about.encode();
    let message = &mut bytes[ETHERNET + 20..];
    message[..4].copy_from_slice(&[5, 1, 0, 0]);
    message[4..8].copy_from_slice(&target.octets());
    let sum = checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A routing header of this type, without its first byte: one hop is left.
pub(super) fn hop(kind: u8, to: IpAddr) -> Vec<u8> {
    let IpAddr::V6(to) = to else { panic!("IPv6 only") };
    [[2, kind, 1, 0, 0, 0, 0].as_slice(), &to.octets()].concat()
}

pub(super) fn all_nodes() -> IpAddr {
    "ff02::1".parse().unwrap()
}

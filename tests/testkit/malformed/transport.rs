//! What stands behind an IP header: good segments and messages, and bad ones.

use std::net::IpAddr;

use super::{Hostile, Sender};
use crate::Random;
use crate::frame::ones_complement;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP6: u8 = 58;

/// Flags without PSH, ECE and CWR that a TCP segment can lawfully have.
const LAWFUL: [u8; 9] = [0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30];

/// Something behind an IP header, with its protocol. `bytes` are not a frame yet.
pub(super) struct Body {
    pub(super) protocol: u8,
    pub(super) bytes: Hostile,
}

/// Writes the right checksum, never 0, which would mean that there is none.
pub(super) fn seal(addresses: [IpAddr; 2], protocol: u8, bytes: &mut [u8], at: usize) {
    let sum = checksum(addresses, protocol, bytes, at);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn checksum(addresses: [IpAddr; 2], protocol: u8, bytes: &mut [u8], at: usize) -> u16 {
    bytes[at..at + 2].fill(0);
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut summed = match addresses {
        [IpAddr::V4(_), _] if protocol == ICMP => Vec::new(),
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            [source.octets(), destination.octets()].concat()
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            [source.octets(), destination.octets()].concat()
        }
        [source, destination] => panic!("a packet from {source} to {destination}"),
    };
    if !summed.is_empty() {
        summed.extend([0, protocol]);
        summed.extend(length.to_be_bytes());
    }
    summed.extend_from_slice(bytes);
    match ones_complement(&summed) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The right checksum, made wrong: neither the right one nor none.
fn spoil(random: &mut Random, addresses: [IpAddr; 2], protocol: u8, bytes: &mut [u8], at: usize) {
    let right = checksum(addresses, protocol, bytes, at);
    // 0xffff and 0 are one number; a change of less than half never leads from one to the other.
    let wrong = (right ^ (1 + random.short() % 0x7ffe)).max(1);
    let wrong = if wrong == right || wrong == 0xffff { right ^ 0x0100 } else { wrong };
    bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
}

fn udp(random: &mut Random, sender: &Sender) -> Vec<u8> {
    let payload = match sender.payload.as_slice() {
        [] => random.some_bytes(64),
        given => given.to_vec(),
    };
    datagram(random, sender.port, &payload)
}

fn datagram(random: &mut Random, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (1024 + random.short() % 60_000).to_be_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    bytes.extend(u16::try_from(8 + payload.len()).unwrap_or(8).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

fn tcp(random: &mut Random, sender: &Sender, flags: u8) -> Vec<u8> {
    let mut bytes = (1024 + random.short() % 60_000).to_be_bytes().to_vec();
    bytes.extend(sender.port.to_be_bytes());
    bytes.extend(random.bytes(8));
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(random.some_bytes(32));
    bytes
}

/// A good datagram with a payload, to a port.
pub(super) fn carrying(random: &mut Random, sender: &Sender, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = datagram(random, port, payload);
    seal(sender.addresses, UDP, &mut bytes, 6);
    bytes
}

pub(super) fn sound_udp(random: &mut Random, sender: &Sender) -> Vec<u8> {
    let mut bytes = udp(random, sender);
    seal(sender.addresses, UDP, &mut bytes, 6);
    bytes
}

/// Something that is tracked and let through when all before it is right.
pub(super) fn sound(random: &mut Random, sender: &Sender) -> (u8, Vec<u8>) {
    if random.one_in(2) {
        return (UDP, sound_udp(random, sender));
    }
    let mut bytes = tcp(random, sender, 0x02);
    seal(sender.addresses, TCP, &mut bytes, 16);
    (TCP, bytes)
}

pub(super) fn bad(random: &mut Random, sender: &Sender) -> Body {
    match random.below(3) {
        0 => bad_udp(random, sender),
        1 => bad_tcp(random, sender),
        _ => other(random, sender),
    }
}

fn body(protocol: u8, bytes: Hostile) -> Body {
    Body { protocol, bytes }
}

fn bad_udp(random: &mut Random, sender: &Sender) -> Body {
    let addresses = sender.addresses;
    let mut bytes = udp(random, sender);
    let length = u16::try_from(bytes.len()).unwrap_or(8);
    let lie = |bytes: &mut Vec<u8>, length: u16| {
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        seal(addresses, UDP, bytes, 6);
    };
    let kind = match random.below(5) {
        0 => {
            spoil(random, addresses, UDP, &mut bytes, 6);
            "UDP checksum"
        }
        1 => {
            lie(&mut bytes, length + 1 + random.short() % 1000);
            "UDP length beyond the end"
        }
        2 => {
            lie(&mut bytes, random.short() % 8);
            "UDP length below a header"
        }
        3 => {
            bytes.truncate(random.below(8));
            "UDP header cut"
        }
        _ => return body(UDP, Hostile::open("UDP without checksum", bytes)),
    };
    body(UDP, Hostile::refused(kind, bytes))
}

fn bad_tcp(random: &mut Random, sender: &Sender) -> Body {
    let addresses = sender.addresses;
    let flags = random.byte() & 0x3f;
    let mut bytes = tcp(random, sender, flags);
    let kind = match random.below(6) {
        0 => {
            bytes[13] = 0x02;
            spoil(random, addresses, TCP, &mut bytes, 16);
            "TCP checksum"
        }
        1 => {
            bytes[12] = u8::try_from(random.below(5)).unwrap_or(0) << 4;
            seal(addresses, TCP, &mut bytes, 16);
            "TCP header shorter than a header"
        }
        2 => {
            bytes.truncate(20 + random.below(30));
            bytes[12] = 0xf0;
            seal(addresses, TCP, &mut bytes, 16);
            "TCP header beyond the end"
        }
        3 => {
            bytes.truncate(random.below(20));
            "TCP header cut"
        }
        _ => {
            seal(addresses, TCP, &mut bytes, 16);
            if LAWFUL.contains(&(flags & !0x08)) {
                return body(TCP, Hostile::open("TCP flags", bytes));
            }
            "TCP flags that nobody sends"
        }
    };
    body(TCP, Hostile::refused(kind, bytes))
}

/// ICMP, and protocols that are not tracked by what they carry.
fn other(random: &mut Random, sender: &Sender) -> Body {
    let six = sender.addresses[0].is_ipv6();
    let protocol = if six { ICMP6 } else { ICMP };
    let (errors, orphans): (&[u8], &[u8]) = if six {
        (&[1, 2, 3, 4], &[129, 140, 200, 255])
    } else {
        (&[3, 4, 11, 12, 5], &[0, 14, 16, 18, 40, 255])
    };
    let mut bytes = vec![0, 0, 0, 0];
    bytes.extend(random.bytes(4));
    let kind = match random.below(5) {
        0 => {
            bytes[0] = if six { 128 } else { 8 };
            bytes.extend(random.some_bytes(32));
            spoil(random, sender.addresses, protocol, &mut bytes, 2);
            "ICMP checksum"
        }
        1 => {
            bytes[0] = random.pick(errors);
            bytes[1] = random.byte() % 16;
            bytes.extend(quoted(random, sender));
            seal(sender.addresses, protocol, &mut bytes, 2);
            "ICMP error about a packet that never was"
        }
        2 => {
            bytes[0] = random.pick(orphans);
            seal(sender.addresses, protocol, &mut bytes, 2);
            "ICMP answer to nothing"
        }
        3 => {
            bytes.truncate(random.below(8));
            "ICMP header cut"
        }
        _ => {
            let protocol = random.pick(&[2_u8, 4, 41, 47, 50, 51, 89, 132, 143, 253, 254, 255]);
            let kind = "other protocol";
            return body(protocol, Hostile::open(kind, random.some_bytes(64)));
        }
    };
    body(protocol, Hostile::refused(kind, bytes))
}

/// The packet that an ICMP error quotes: from the right destination to somebody, as if that had
/// asked, or cut, or no packet.
fn quoted(random: &mut Random, sender: &Sender) -> Vec<u8> {
    let [_, outside] = sender.addresses;
    let victims = [sender.foreign_sources.clone(), vec![outside]].concat();
    let addresses = [outside, random.pick(&victims)];
    let sender = Sender { addresses, ..sender.clone() };
    let (protocol, transport) = sound(random, &sender);
    let mut bytes = super::Header::new(&sender, protocol).encode(&transport);
    match random.below(3) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => bytes = random.some_bytes(64),
        _ => {}
    }
    bytes
}

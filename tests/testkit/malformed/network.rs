//! IP headers: sound ones, and packets whose IP header has a fault.

use std::net::IpAddr;

use super::{Hostile, Sender, transport};
use crate::Random;
use crate::frame::ones_complement;

/// The fields of an IP header, all of which can be wrong.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) version: u8,
    /// Of IPv4, in words; what it is when not given.
    pub(super) words: Option<u8>,
    /// The length field, when it shall not be right.
    pub(super) length: Option<u16>,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) addresses: [IpAddr; 2],
    /// IPv4 type of service, IPv6 traffic class.
    pub(super) class: u8,
    pub(super) identification: u16,
    /// IPv4 flags and fragment offset.
    pub(super) place: u16,
    /// IPv4 options; their length is a multiple of 4.
    pub(super) options: Vec<u8>,
    /// What is changed in IPv4's checksum.
    pub(super) damage: u16,
}

impl Header {
    /// Nothing is wrong with it.
    pub(super) fn new(sender: &Sender, protocol: u8) -> Self {
        Self {
            version: if sender.addresses[0].is_ipv4() { 4 } else { 6 },
            words: None,
            length: None,
            ttl: 64,
            protocol,
            addresses: sender.addresses,
            class: 0,
            identification: 1,
            place: 0,
            options: Vec::new(),
            damage: 0,
        }
    }

    pub(super) fn encode(&self, body: &[u8]) -> Vec<u8> {
        let number = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        match self.addresses {
            [IpAddr::V4(source), IpAddr::V4(destination)] => {
                let size = 20 + self.options.len();
                let words = self.words.unwrap_or(u8::try_from(size / 4).unwrap_or(15));
                let mut header = vec![self.version << 4 | words, self.class];
                header.extend(self.length.unwrap_or(number(size + body.len())).to_be_bytes());
                header.extend(self.identification.to_be_bytes());
                header.extend(self.place.to_be_bytes());
                header.extend([self.ttl, self.protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend(&self.options);
                // What the reader sums up: as many words as the header says it has.
                let mut summed = [header.as_slice(), body].concat();
                summed.truncate(usize::from(words) * 4);
                let sum = ones_complement(&summed) ^ self.damage;
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                [header.as_slice(), body].concat()
            }
            [IpAddr::V6(source), IpAddr::V6(destination)] => {
                let mut header = vec![self.version << 4 | self.class >> 4, self.class << 4, 0, 0];
                header.extend(self.length.unwrap_or(number(body.len())).to_be_bytes());
                header.extend([self.protocol, self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
                [header.as_slice(), body].concat()
            }
            [source, destination] => panic!("a packet from {source} to {destination}"),
        }
    }
}

/// A good transport behind a bad header.
pub(super) fn bad(random: &mut Random, sender: &Sender) -> Hostile {
    let (protocol, body) = transport::sound(random, sender);
    let header = Header::new(sender, protocol);
    if random.one_in(2) {
        return either(random, sender, (header, body));
    }
    match sender.addresses[0] {
        IpAddr::V4(_) => v4(random, (header, body)),
        IpAddr::V6(_) => v6(random, (header, body)),
    }
}

type Parts = (Header, Vec<u8>);

/// Faults that both families can have.
fn either(random: &mut Random, sender: &Sender, (mut header, body): Parts) -> Hostile {
    let right = header.version;
    let kind = match random.below(7) {
        0 => {
            header.version = (right + 1 + u8::try_from(random.below(15)).unwrap_or(0)) % 16;
            "IP version"
        }
        1 => {
            let more = 1 + random.below(1000);
            header.length = u16::try_from(20 + header.options.len() + body.len() + more).ok();
            if right == 6 {
                header.length = u16::try_from(body.len() + more).ok();
            }
            "IP length beyond the end"
        }
        2 => {
            header.length = Some(0xffff - u16::from(random.byte()));
            "jumbo length"
        }
        3 => {
            // A datagram without its last bytes, or none of it: its own length says so.
            let body = transport::sound_udp(random, sender);
            let less = 1 + random.below(body.len());
            let size = if right == 4 { 20 } else { 0 };
            header.length = u16::try_from(size + body.len() - less).ok();
            header.protocol = transport::UDP;
            return Hostile::refused("IP length before the end", header.encode(&body));
        }
        4 => {
            header.ttl = u8::from(random.one_in(2));
            "no hop left"
        }
        5 if !sender.foreign_sources.is_empty() => {
            let source = random.pick(&sender.foreign_sources);
            return between(random, sender, "source address", [source, sender.addresses[1]]);
        }
        _ => {
            let destination = random.pick(&sender.foreign_destinations);
            let addresses = [sender.addresses[0], destination];
            return between(random, sender, "destination address", addresses);
        }
    };
    Hostile::refused(kind, header.encode(&body))
}

/// A packet whose fault is who sends it or to whom: its transport's checksum is right for them.
fn between(
    random: &mut Random,
    sender: &Sender,
    kind: &'static str,
    addresses: [IpAddr; 2],
) -> Hostile {
    let sender = Sender { addresses, ..sender.clone() };
    let (protocol, body) = transport::sound(random, &sender);
    Hostile::refused(kind, Header::new(&sender, protocol).encode(&body))
}

fn v4(random: &mut Random, (mut header, body): Parts) -> Hostile {
    let kind = match random.below(9) {
        0 => {
            header.words = Some(u8::try_from(random.below(5)).unwrap_or(0));
            "header shorter than a header"
        }
        1 => {
            let room = u8::try_from(body.len() / 4).unwrap_or(0);
            header.words = Some(15.min(6 + room));
            header.length = Some(u16::from(header.words.unwrap_or(15)) * 4 - 1);
            "header longer than the packet"
        }
        2 => {
            header.damage = random.short().max(1) & 0x7fff | 1;
            "header checksum"
        }
        3 => {
            let hops = random.bytes(8);
            let kind = random.pick(&[131_u8, 137]);
            header.options = [[kind, 11, 4].as_slice(), &hops, &[0]].concat();
            "source route"
        }
        4 => {
            let kind = random.pick(&[7_u8, 68, 131, 134, 148]);
            header.options = vec![kind, random.pick(&[0_u8, 1, 40, 255]), 0, 0];
            "option of a wrong length"
        }
        5 => {
            header.options = vec![7, 7, 4, 0, 0, 0, 0, 0];
            return Hostile::open("record route", header.encode(&body));
        }
        6 => {
            header.options = vec![1; 4 * (1 + random.below(10))];
            return Hostile::open("options that do nothing", header.encode(&body));
        }
        7 => {
            (header.class, header.place) = (random.byte(), random.pick(&[0x4000, 0x8000]));
            return Hostile::open("class and flags", header.encode(&body));
        }
        _ => {
            let padded = [header.encode(&body), random.some_bytes(60)].concat();
            return Hostile::open("padded", padded);
        }
    };
    Hostile::refused(kind, header.encode(&body))
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const NOTHING: u8 = 59;

fn v6(random: &mut Random, (mut header, body): Parts) -> Hostile {
    let next = std::mem::replace(&mut header.protocol, HOP_BY_HOP);
    let extended = |extension: &[u8]| header.encode(&[extension, &body].concat());
    let first = |kind: u8| {
        let header = Header { protocol: kind, ..header.clone() };
        move |bytes: Vec<u8>| header.encode(&bytes)
    };
    match random.below(9) {
        0 => {
            let option = random.pick(&[0x5e_u8, 0x9e, 0xde]);
            let bytes = [next, 0, option, 4, 0, 0, 0, 0];
            Hostile::refused("hop-by-hop option to be refused", extended(&bytes))
        }
        1 => {
            let bytes = [next, 0, 0xc2, 4, 0, 0, random.byte(), random.byte()];
            Hostile::refused("jumbo payload that is none", extended(&bytes))
        }
        2 => {
            let bytes = [next, 255, 1, 4, 0, 0, 0, 0];
            Hostile::refused("hop-by-hop header beyond the end", extended(&bytes))
        }
        3 => {
            let kind = random.pick(&[ROUTING, DESTINATION]);
            let bytes = vec![kind, 255, random.byte(), 0, 0, 0, 0, 0];
            Hostile::refused("extension header beyond the end", first(kind)(bytes))
        }
        4 => {
            let links = 1 + random.below(12);
            let chain = [DESTINATION, 0, 1, 4, 0, 0, 0, 0].repeat(links);
            Hostile::refused("chain that never ends", first(DESTINATION)(chain))
        }
        5 => {
            let chain = [DESTINATION, 0, 1, 4, 0, 0, 0, 0].repeat(random.below(12));
            let last = [next, 0, 1, 4, 0, 0, 0, 0];
            let bytes = [chain.as_slice(), &last, &body].concat();
            Hostile::open("chain of headers", first(DESTINATION)(bytes))
        }
        6 => {
            let hop = random.bytes(16);
            let bytes = [[next, 2, 0, 1, 0, 0, 0, 0].as_slice(), &hop, &body].concat();
            Hostile::open("routing header", first(ROUTING)(bytes))
        }
        7 => Hostile::open("nothing next", first(NOTHING)(body.clone())),
        _ => {
            let header = Header { protocol: next, class: random.byte(), ..header.clone() };
            let padded = [header.encode(&body), random.some_bytes(60)].concat();
            Hostile::open("class and padding", padded)
        }
    }
}

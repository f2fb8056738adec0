//! Frames with a fault in their link layer, and frames about neighbours.

use std::net::IpAddr;

use egret_types::MacAddr;

use super::network::Header;
use super::{Hostile, Sender, transport};
use crate::Random;

const ARP: [u8; 2] = [0x08, 0x06];
/// ARP again, RARP, MPLS, PPP over Ethernet, EAP, LLDP, `MACsec`, PTP, and no type but a length.
const OTHER_TYPES: [u16; 13] = [
    0x0806, 0x8035, 0x8847, 0x8848, 0x8863, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x88f7, 0, 0x05dc,
    0xffff,
];

fn ether_type(sender: &Sender) -> [u8; 2] {
    if sender.addresses[0].is_ipv4() { [0x08, 0] } else { [0x86, 0xdd] }
}

/// A good packet in a frame that is not.
pub(super) fn bad(random: &mut Random, sender: &Sender, packet: &[u8]) -> Hostile {
    let [mut source, mut destination] = sender.macs;
    let mut kind = ether_type(sender).to_vec();
    let tag = |random: &mut Random, kind: [u8; 2]| {
        let tag = random.short() | 1;
        [kind[0], kind[1], tag.to_be_bytes()[0], tag.to_be_bytes()[1]]
    };
    let vlan = [0x81, 0];
    let what = match random.below(11) {
        0 => {
            destination = random.pick(&sender.foreign_macs);
            "destination MAC"
        }
        1 => {
            source = random.pick(&sender.foreign_source_macs);
            "source MAC"
        }
        2 => {
            // Locally administered, but never one of ours: those begin with 02 or 06.
            source = MacAddr([0x0a, random.byte(), random.byte(), 0, 0, random.byte()]);
            "any source MAC"
        }
        3 => {
            destination = MacAddr([random.byte() | 1, random.byte(), 0, 0, 0, random.byte()]);
            "multicast MAC"
        }
        4 => {
            kind = random.pick(&OTHER_TYPES).to_be_bytes().to_vec();
            "ether type"
        }
        5 => {
            kind = if kind == [0x08, 0] { vec![0x86, 0xdd] } else { vec![0x08, 0] };
            "the other family's ether type"
        }
        6 => {
            kind.splice(..0, tag(random, vlan));
            "VLAN tag"
        }
        7 => {
            kind.splice(..0, [0x81, 0, random.pick(&[0_u8, 0x20, 0xe0]), 0]);
            "priority tag"
        }
        8 => {
            kind.splice(..0, [tag(random, vlan), tag(random, vlan)].concat());
            "two VLAN tags"
        }
        9 => {
            kind.splice(..0, [tag(random, [0x88, 0xa8]), tag(random, vlan)].concat());
            "provider's VLAN tag"
        }
        _ => {
            let end = random.below(4);
            let bytes = [destination.0.as_slice(), &source.0, &tag(random, vlan)[..=end]];
            return Hostile::refused("cut VLAN tag", bytes.concat());
        }
    };
    Hostile::refused(what, [destination.0.as_slice(), &source.0, &kind, packet].concat())
}

/// What is said to find neighbours, or to be taken for one: with all that a frame of the sender has
/// right, and with what it has not.
pub(super) fn neighbourly(random: &mut Random, sender: &Sender) -> Hostile {
    let [source, right] = sender.macs;
    let multicast = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let others = [right, right, multicast, MacAddr([0xff; 6]), random.pick(&sender.foreign_macs)];
    let destination = random.pick(&others);
    let bytes =
        |kind: [u8; 2], body: Vec<u8>| [destination.0.as_slice(), &source.0, &kind, &body].concat();
    match sender.addresses[0] {
        IpAddr::V4(_) => Hostile::refused("ARP", bytes(ARP, arp(random, sender))),
        IpAddr::V6(_) => {
            let packet = discovery(random, sender);
            Hostile::refused("neighbour discovery", bytes([0x86, 0xdd], packet))
        }
    }
}

/// RFC 826, with the right sizes and without, cut in one of four.
fn arp(random: &mut Random, sender: &Sender) -> Vec<u8> {
    let claimed = [sender.addresses.to_vec(), sender.foreign_sources.clone()].concat();
    let claimed = claimed.into_iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address.octets().to_vec()),
        IpAddr::V6(_) => None,
    });
    let claimed: Vec<Vec<u8>> = claimed.collect();
    let mut bytes = if random.one_in(4) { random.bytes(6) } else { vec![0, 1, 8, 0, 6, 4] };
    let operation = random.pick(&[1_u16, 2, 3, 4, 8, 9, 0, 0xffff]);
    bytes.extend(operation.to_be_bytes());
    for _ in 0..2 {
        bytes.extend(random.bytes(6));
        bytes.extend(random.pick(&claimed));
    }
    if random.one_in(4) {
        bytes.truncate(random.below(28));
    }
    bytes
}

/// Neighbour and router discovery, redirects and listener reports, their options random.
fn discovery(random: &mut Random, sender: &Sender) -> Vec<u8> {
    let kind = random.pick(&[133_u8, 134, 135, 136, 137, 130, 131, 132, 143]);
    let mut body = vec![kind, 0, 0, 0, random.byte(), 0, 0, 0];
    body.extend(random.some_bytes(48));
    transport::seal(sender.addresses, transport::ICMP6, &mut body, 2);
    let mut header = Header::new(sender, transport::ICMP6);
    header.ttl = random.pick(&[255, 255, 64, 1]);
    header.encode(&body)
}

//! Sets of fragments that never become a packet.

use std::net::IpAddr;

use super::network::Header;
use super::{Fate, Hostile, Sender, transport};
use crate::Random;

const FRAGMENT: u8 = 44;
/// For experiments (RFC 3692).
const UNKNOWN: u8 = 253;

/// A piece of a packet: where it is, whether more follow, and how long it is.
struct Piece(usize, More, usize);

#[derive(Clone, Copy)]
enum More {
    Follow,
    None,
}

/// The pieces of one packet with this identification. Each set lacks something, or has something
/// twice with another content, which both families refuse (RFC 5722; Linux does so for IPv4 too).
pub(super) fn bad(random: &mut Random, sender: &Sender, identification: u16) -> Vec<Hostile> {
    let size = 8 * (1 + random.below(20));
    let (kind, pieces) = match random.below(8) {
        0 => ("first fragment alone", vec![Piece(0, More::Follow, size)]),
        1 => ("tiny first fragment", vec![Piece(0, More::Follow, 8)]),
        2 => ("last fragment alone", vec![Piece(size, More::None, size)]),
        3 => ("fragment beyond the end", vec![Piece(65_528, More::None, 8 + size)]),
        4 => (
            "fragments that overlap",
            vec![Piece(0, More::Follow, size + 16), Piece(size + 8, More::None, size)],
        ),
        5 => (
            "fragment inside another",
            vec![Piece(0, More::Follow, size + 16), Piece(8, More::Follow, 8)],
        ),
        6 => ("fragment of nothing", vec![Piece(0, More::Follow, 0), Piece(8, More::None, 0)]),
        _ => (
            "fragment of odd length",
            vec![Piece(0, More::Follow, size + 3), Piece(size + 16, More::None, 8)],
        ),
    };
    let protocol = random.pick(&[transport::UDP, transport::TCP, UNKNOWN]);
    let made = pieces.into_iter().map(|piece| {
        let Piece(at, more, length) = piece;
        let body = random.bytes(length);
        let bytes = encode(sender, (protocol, identification), (at, more), &body);
        // Linux leaves it to the receiver of IPv6 to complain about such a length: a first fragment
        // whose header it cannot check passes as it is.
        let passes = sender.addresses[0].is_ipv6() && protocol == UNKNOWN;
        let open = passes && (length % 8 != 0 || length == 0);
        Hostile { kind, fate: if open { Fate::Open } else { Fate::Refused }, bytes }
    });
    made.collect()
}

fn encode(
    sender: &Sender,
    (protocol, identification): (u8, u16),
    (at, more): (usize, More),
    body: &[u8],
) -> Vec<u8> {
    let at = u16::try_from(at).unwrap_or(0xfff8);
    let header = Header::new(sender, protocol);
    match (sender.addresses[0], more) {
        (IpAddr::V4(_), more) => {
            let more = if let More::Follow = more { 0x2000 } else { 0 };
            Header { identification, place: (at / 8) | more, ..header }.encode(body)
        }
        (IpAddr::V6(_), more) => {
            let place = at | if let More::Follow = more { 1 } else { 0 };
            let mut bytes = vec![protocol, 0];
            bytes.extend(place.to_be_bytes());
            bytes.extend(u32::from(identification).to_be_bytes());
            bytes.extend(body);
            Header { protocol: FRAGMENT, ..header }.encode(&bytes)
        }
    }
}

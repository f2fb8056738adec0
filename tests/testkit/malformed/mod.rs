//! A generator of bad frames of every kind. One layer of each frame is at fault, the others are
//! sound, so that every check is reached and none is spared by an earlier one.
//!
//! A frame says what may become of it. [`Fate::Refused`] ones are refused by construction: if one
//! passes, something is wrong. The rest is odd but lawful somewhere on the way (a TCP segment in
//! the middle of a flow, an unknown protocol): it may pass, and then as the sender's own traffic.

mod fragment;
mod link;
mod network;
mod transport;
mod tunnel;

use std::collections::VecDeque;
use std::net::IpAddr;

use egret_types::MacAddr;

use crate::Random;
use network::Header;

pub use tunnel::Tunnelled;

/// What may become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nobody ever sees anything of it.
    Refused,
    /// It may pass as traffic of its sender.
    Open,
}

/// A frame, or a datagram, of the generator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostile {
    /// What is wrong with it.
    pub kind: &'static str,
    /// What may become of it.
    pub fate: Fate,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Hostile {
    fn refused(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { kind, fate: Fate::Refused, bytes }
    }

    fn open(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { kind, fate: Fate::Open, bytes }
    }
}

/// Whether the place where frames are sent knows which destination MACs are the sender's to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identities {
    /// One MAC is the sender's, every other is refused.
    Own,
    /// Any identity will do (root on a worker).
    Any,
}

/// Who sends: what is right for it, and what is refused from it.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Source and destination MAC that are right.
    pub macs: [MacAddr; 2],
    /// Source and destination address that are right.
    pub addresses: [IpAddr; 2],
    /// The destination port that is right.
    pub port: u16,
    /// What its good datagrams carry; random bytes if it is nothing.
    pub payload: Vec<u8>,
    /// Which destination MACs are its own.
    pub identities: Identities,
    /// Source MACs that are refused.
    pub foreign_source_macs: Vec<MacAddr>,
    /// Destination MACs that are refused.
    pub foreign_macs: Vec<MacAddr>,
    /// Source addresses that are refused.
    pub foreign_sources: Vec<IpAddr>,
    /// Destination addresses that are refused.
    pub foreign_destinations: Vec<IpAddr>,
}

/// The endless sequence of bad frames of a sender.
#[derive(Debug, Clone)]
pub struct BadFrames {
    sender: Sender,
    random: Random,
    made: usize,
    cut: usize,
    identification: u16,
    rest: VecDeque<Hostile>,
}

impl BadFrames {
    /// The sequence of a seed.
    pub fn new(sender: Sender, seed: u64) -> Self {
        Self {
            sender,
            random: Random::new(seed),
            made: 0,
            cut: 0,
            identification: 0,
            rest: VecDeque::new(),
        }
    }

    /// Goes on with another seed. Fragments go on with other identifications than before, so that
    /// none completes what an earlier one left.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// An IP packet that nothing is wrong with.
    fn sound_packet(&mut self) -> Vec<u8> {
        let (protocol, body) = transport::sound(&mut self.random, &self.sender);
        Header::new(&self.sender, protocol).encode(&body)
    }

    fn sound_udp(&mut self) -> Vec<u8> {
        let body = transport::sound_udp(&mut self.random, &self.sender);
        Header::new(&self.sender, transport::UDP).encode(&body)
    }

    /// An IP packet in a frame with the right MACs.
    fn framed(&self, packet: &[u8]) -> Vec<u8> {
        let [source, destination] = self.sender.macs;
        let kind: [u8; 2] = if self.sender.addresses[0].is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        [destination.0.as_slice(), &source.0, &kind, packet].concat()
    }

    /// Cut at every length in turn.
    fn truncated(&mut self) -> Hostile {
        let packet = self.sound_packet();
        let mut bytes = self.framed(&packet);
        self.cut = (self.cut + 1) % bytes.len();
        bytes.truncate(self.cut);
        Hostile::refused("truncated", bytes)
    }

    /// One bit of a good UDP datagram is another. Checksums find every such bit but those of the
    /// IPv6 header that no checksum covers.
    fn flipped(&mut self) -> Hostile {
        let packet = self.sound_udp();
        let mut bytes = self.framed(&packet);
        let bit = self.random.below(bytes.len() * 8);
        let (at, mask) = (bit / 8, 0x80_u8 >> (bit % 8));
        bytes[at] ^= mask;
        let six = self.sender.addresses[0].is_ipv6();
        let sum_at = if six { 60 } else { 40 };
        let open = match at {
            0..=5 => self.sender.identities == Identities::Any,
            14 => six && mask < 0x10,
            15..=17 | 20 | 21 => six,
            // A checksum that became 0 is none.
            _ if at == sum_at || at == sum_at + 1 => bytes[sum_at..sum_at + 2] == [0, 0],
            _ => false,
        };
        let fate = if open { Fate::Open } else { Fate::Refused };
        Hostile { kind: "bit flipped", fate, bytes }
    }

    fn network(&mut self) -> Hostile {
        let mut packet = network::bad(&mut self.random, &self.sender);
        packet.bytes = self.framed(&packet.bytes);
        packet
    }

    fn transport(&mut self) -> Hostile {
        let mut body = transport::bad(&mut self.random, &self.sender);
        let packet = Header::new(&self.sender, body.protocol).encode(&body.bytes.bytes);
        body.bytes.bytes = self.framed(&packet);
        body.bytes
    }

    /// A set of fragments that never becomes a packet: they come one after another.
    fn fragments(&mut self) -> Hostile {
        self.identification = self.identification.wrapping_add(1);
        let set = fragment::bad(&mut self.random, &self.sender, self.identification);
        for mut piece in set {
            piece.bytes = self.framed(&piece.bytes);
            self.rest.push_back(piece);
        }
        self.rest.pop_front().unwrap_or_else(|| self.truncated())
    }
}

impl Iterator for BadFrames {
    type Item = Hostile;

    fn next(&mut self) -> Option<Hostile> {
        if let Some(next) = self.rest.pop_front() {
            return Some(next);
        }
        self.made += 1;
        Some(match self.made % 8 {
            0 => self.truncated(),
            1 => self.flipped(),
            2 => {
                let packet = self.sound_packet();
                link::bad(&mut self.random, &self.sender, &packet)
            }
            3 => link::neighbourly(&mut self.random, &self.sender),
            4 | 5 => self.network(),
            6 => self.fragments(),
            _ => self.transport(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::underlay;
    use egret_types::Family;

    fn sender(family: Family) -> Sender {
        Sender {
            macs: [MacAddr([6, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])],
            addresses: [underlay(family, 1), underlay(family, 2)],
            port: 9999,
            payload: Vec::new(),
            identities: Identities::Own,
            foreign_source_macs: vec![MacAddr([6, 0, 0, 0, 0, 9])],
            foreign_macs: vec![MacAddr([2, 0, 0, 0, 0, 9])],
            foreign_sources: vec![underlay(family, 8)],
            foreign_destinations: vec![underlay(family, 9)],
        }
    }

    #[test]
    fn a_seed_gives_the_same_frames_again_and_another_seed_others() {
        for family in Family::BOTH {
            let take = |seed| BadFrames::new(sender(family), seed).take(500).collect::<Vec<_>>();
            assert_eq!(take(1), take(1));
            assert_ne!(take(1), take(2));
        }
    }

    /// No kind is forgotten by a wrong number in a choice among them.
    #[test]
    fn every_kind_is_made_within_ten_thousand_frames() {
        let kinds = |frames: &mut dyn Iterator<Item = Hostile>| {
            frames.take(10_000).map(|frame| frame.kind).collect::<BTreeSet<&str>>()
        };
        for (family, wanted) in [(Family::V4, 54), (Family::V6, 54)] {
            let frames = || BadFrames::new(sender(family), 7);
            let plain = kinds(&mut frames());
            assert_eq!(plain.len(), wanted, "{family}: {plain:?}");
            assert_eq!(kinds(&mut Tunnelled::new(frames())).len(), wanted + 8, "{family}");
        }
    }

    #[test]
    fn a_good_frame_is_cut_at_every_length() {
        for family in Family::BOTH {
            let frames = BadFrames::new(sender(family), 7).take(10_000);
            let cut = frames.filter(|frame| frame.kind == "truncated");
            let lengths: BTreeSet<usize> = cut.map(|frame| frame.bytes.len()).collect();
            let head = if family == Family::V4 { 14 + 20 + 8 } else { 14 + 40 + 8 };
            // A frame of no byte at all cannot be sent.
            assert!((1..head).all(|length| lengths.contains(&length)), "{lengths:?}");
        }
    }
}

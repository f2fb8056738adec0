//! Bad datagrams for the tunnel's port: a bad frame in a good VXLAN header, or a good one in a bad.

use egret_types::ours;

use super::network::Header;
use super::{BadFrames, Hostile, transport};
use crate::vxlan;

/// The endless sequence of payloads of datagrams for the tunnel's port, around the frames of a
/// generator.
#[derive(Debug, Clone)]
pub struct Tunnelled(BadFrames);

impl Tunnelled {
    /// Around these frames.
    pub fn new(frames: BadFrames) -> Self {
        Self(frames)
    }

    /// Goes on with another seed.
    pub fn reseed(&mut self, seed: u64) {
        self.0.reseed(seed);
    }

    /// A good frame in a bad header.
    fn bad_header(&mut self) -> Hostile {
        let packet = self.0.sound_packet();
        let mut bytes = vxlan(ours::VNI, &self.0.framed(&packet));
        let random = &mut self.0.random;
        let kind = match random.below(6) {
            0 => {
                bytes[0] = random.byte() & !0x08;
                "VXLAN without a network"
            }
            1 => {
                bytes[0] |= random.pick(&[0x80, 0x40, 0x20, 0x10, 0x04, 0x02, 0x01]);
                "VXLAN flags"
            }
            2 => {
                let at = 1 + random.below(3);
                bytes[at] = random.byte().max(1);
                "VXLAN reserved bytes"
            }
            3 => {
                bytes[7] = random.byte().max(1);
                "VXLAN reserved last byte"
            }
            4 => {
                let other = random.pick(&[0, 1, ours::VNI + 1, ours::VNI << 8, 0x00ff_ffff]);
                bytes[4..7].copy_from_slice(&other.to_be_bytes()[1..]);
                "VXLAN network"
            }
            _ => {
                bytes.truncate(random.below(8 + 14));
                "VXLAN cut"
            }
        };
        Hostile::refused(kind, bytes)
    }

    /// A tunnel in the tunnel: in place of the frame, or in a good datagram of it.
    fn nested(&mut self) -> Hostile {
        let packet = self.0.sound_packet();
        let inner = vxlan(ours::VNI, &self.0.framed(&packet));
        let BadFrames { random, sender, .. } = &mut self.0;
        if random.one_in(2) {
            return Hostile::refused("VXLAN in VXLAN", vxlan(ours::VNI, &inner));
        }
        let body = transport::carrying(random, sender, ours::PORT, &inner);
        let packet = Header::new(sender, transport::UDP).encode(&body);
        Hostile::open("VXLAN in a datagram", vxlan(ours::VNI, &self.0.framed(&packet)))
    }
}

impl Iterator for Tunnelled {
    type Item = Hostile;

    fn next(&mut self) -> Option<Hostile> {
        Some(match self.0.random.below(8) {
            0 | 1 => self.bad_header(),
            2 => self.nested(),
            _ => {
                let mut frame = self.0.next()?;
                frame.bytes = vxlan(ours::VNI, &frame.bytes);
                frame
            }
        })
    }
}

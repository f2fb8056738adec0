//! Frames as a capture saw them, taken apart as far as tests ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egret_types::MacAddr;

/// A captured Ethernet frame. What a frame does not have is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Source MAC.
    pub source_mac: MacAddr,
    /// Destination MAC.
    pub destination_mac: MacAddr,
    /// 802.1Q tags, outermost first.
    pub vlans: Vec<u16>,
    /// The type behind the tags: 0x0800 IPv4, 0x86dd IPv6, 0x0806 ARP.
    pub ether_type: u16,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// IP protocol: 6 TCP, 17 UDP, 1 ICMP, 58 `ICMPv6`.
    pub protocol: Option<u8>,
    /// Source port of TCP and UDP; absent in later fragments.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// What follows the UDP header, or else what follows the IP header.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Takes a frame apart; `None` if it is shorter than it claims.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut rest = frame.get(12..)?;
        let mut vlans = Vec::new();
        while matches!(short(rest, 0)?, 0x8100 | 0x88a8) {
            vlans.push(short(rest, 2)? & 0x0fff);
            rest = rest.get(4..)?;
        }
        let mut packet = Self {
            source_mac: MacAddr(frame.get(6..12)?.try_into().ok()?),
            destination_mac: MacAddr(frame.get(..6)?.try_into().ok()?),
            vlans,
            ether_type: short(rest, 0)?,
            source: None,
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            payload: Vec::new(),
        };
        let body = rest.get(2..)?;
        match packet.ether_type {
            0x0800 => packet.read_v4(body)?,
            0x86dd => packet.read_v6(body)?,
            _ => packet.payload = body.to_vec(),
        }
        Some(packet)
    }

    /// The frame inside a VXLAN datagram.
    pub fn inner(&self) -> Option<Self> {
        (self.protocol == Some(17)).then(|| self.payload.get(8..).and_then(Packet::parse)).flatten()
    }

    fn read_v4(&mut self, body: &[u8]) -> Option<()> {
        let header = usize::from(body.first()? & 0x0f) * 4;
        let length = usize::from(short(body, 2)?);
        self.source = Some(Ipv4Addr::from(bytes::<4>(body, 12)?).into());
        self.destination = Some(Ipv4Addr::from(bytes::<4>(body, 16)?).into());
        let fragment = short(body, 6)? & 0x1fff;
        self.read_transport(*body.get(9)?, fragment, body.get(header..length)?)
    }

    fn read_v6(&mut self, body: &[u8]) -> Option<()> {
        let length = usize::from(short(body, 4)?);
        self.source = Some(Ipv6Addr::from(bytes::<16>(body, 8)?).into());
        self.destination = Some(Ipv6Addr::from(bytes::<16>(body, 24)?).into());
        let rest = body.get(40..40 + length)?;
        match *body.get(6)? {
            44 => {
                let fragment = short(rest, 2)? >> 3;
                self.read_transport(*rest.first()?, fragment, rest.get(8..)?)
            }
            protocol => self.read_transport(protocol, 0, rest),
        }
    }

    fn read_transport(&mut self, protocol: u8, fragment: u16, rest: &[u8]) -> Option<()> {
        self.protocol = Some(protocol);
        let has_ports = matches!(protocol, 6 | 17) && fragment == 0;
        if has_ports {
            self.source_port = Some(short(rest, 0)?);
            self.destination_port = Some(short(rest, 2)?);
        }
        let skip = if has_ports && protocol == 17 { 8 } else { 0 };
        self.payload = rest.get(skip..)?.to_vec();
        Some(())
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checksum, Frame, Transport, vxlan};
    use egret_types::Family;

    fn frame(family: Family) -> Frame {
        let addresses = match family {
            Family::V4 => ["192.0.2.1", "192.0.2.2"],
            Family::V6 => ["2001:db8::1", "2001:db8::2"],
        };
        Frame {
            vlans: vec![7],
            ..Frame::new(
                [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])],
                addresses.map(|address| address.parse().unwrap()),
                Transport::udp("hello"),
            )
        }
    }

    #[test]
    fn an_encoded_frame_parses_to_its_fields() {
        for family in Family::BOTH {
            let frame = frame(family);
            let packet = Packet::parse(&frame.encode()).unwrap();
            assert_eq!(packet.source, Some(frame.source));
            assert_eq!(packet.destination, Some(frame.destination));
            assert_eq!(packet.source_mac, frame.source_mac);
            assert_eq!(packet.vlans, [7]);
            assert_eq!((packet.source_port, packet.destination_port), (Some(40_000), Some(9999)));
            assert_eq!(packet.payload, b"hello");
        }
    }

    #[test]
    fn a_cut_frame_is_no_packet() {
        let bytes = frame(Family::V4).encode();
        assert_eq!(Packet::parse(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn the_frame_inside_a_tunnel_datagram_is_found() {
        let inner = frame(Family::V6);
        let outer = Frame {
            transport: Transport::Udp {
                source: 1,
                destination: 7790,
                payload: vxlan(230, &inner.encode()),
            },
            ..frame(Family::V4)
        };
        let packet = Packet::parse(&outer.encode()).unwrap();
        assert_eq!(packet.inner().unwrap().payload, b"hello");
    }

    #[test]
    fn a_wrong_checksum_changes_nothing_else() {
        let right = frame(Family::V4);
        let wrong = Frame { checksum: Checksum::Wrong, ..right.clone() };
        assert_ne!(right.encode(), wrong.encode());
        assert_eq!(Packet::parse(&right.encode()), Packet::parse(&wrong.encode()));
    }
}

//! Telling the neighbours that an address is here now: gratuitous ARP (RFC 5227, section 3) and
//! unsolicited neighbour advertisements (RFC 4861, section 7.2.6). An own encoder, because the two
//! frames are shorter than the use of any library.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use egret_types::{IfIndex, LinkName, MacAddr};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};

use crate::error::Error;

const BROADCAST: MacAddr = MacAddr([0xff; 6]);
/// Of `ff02::1` (RFC 2464, section 7).
const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const NEXT_HEADER_ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Router and override: the gateway forwards, and what neighbours knew before is wrong now.
const FLAGS: u8 = 0xa0;
const OPTION_TARGET_LINK_ADDRESS: u8 = 2;

/// Sends frames on one link. Belongs to the namespace of the thread that opened it.
pub(crate) struct Speaker {
    socket: OwnedFd,
    to: LinkAddr,
    link: LinkName,
    mac: MacAddr,
}

impl Speaker {
    /// On a thread in the link's namespace.
    pub(crate) fn open(link: &LinkName, mac: MacAddr) -> Result<Self, Error> {
        let failed =
            |errno: nix::Error| Error::Announce { link: link.clone(), source: errno.into() };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None).map_err(failed)?;
        // Nothing safe makes the address of a link, but the list of addresses holds it.
        let to = getifaddrs().map_err(failed)?.find_map(|found| {
            let same = found.interface_name == link.as_str();
            found.address.filter(|_| same)?.as_link_addr().copied()
        });
        let to = to.ok_or_else(|| Error::NoLink { link: link.clone() })?;
        Ok(Self { socket, to, link: link.clone(), mac })
    }

    /// Whether it speaks on this link with this MAC.
    pub(crate) fn is_for(&self, index: IfIndex, mac: MacAddr) -> bool {
        self.to.ifindex() == index.0 as usize && self.mac == mac
    }

    /// Announces an address.
    pub(crate) fn announce(&self, address: IpAddr) -> Result<(), Error> {
        let frames = match address {
            // Some neighbours learn from requests only, some from replies only.
            IpAddr::V4(address) => {
                vec![arp(ARP_REQUEST, self.mac, address), arp(ARP_REPLY, self.mac, address)]
            }
            IpAddr::V6(address) => vec![advertisement(self.mac, address)],
        };
        for frame in frames {
            sendto(self.socket.as_raw_fd(), &frame, &self.to, MsgFlags::empty()).map_err(
                |errno| Error::Announce { link: self.link.clone(), source: io::Error::from(errno) },
            )?;
        }
        Ok(())
    }
}

fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16) -> Vec<u8> {
    [&to.0[..], &from.0, &ethertype.to_be_bytes()].concat()
}

/// Sender and target are the address itself.
fn arp(operation: u16, mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let target = if operation == ARP_REPLY { mac } else { MacAddr([0; 6]) };
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet, IPv4, and the lengths of their addresses.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    for (mac, address) in [(mac, address), (target, address)] {
        frame.extend(mac.0);
        frame.extend(address.octets());
    }
    frame
}

fn advertisement(mac: MacAddr, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, FLAGS, 0, 0, 0];
    message.extend(address.octets());
    message.extend([OPTION_TARGET_LINK_ADDRESS, 1]);
    message.extend(mac.0);
    let length = u16::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let checksum = checksum(&[
        &address.octets(),
        &ALL_NODES.octets(),
        &[0, 0],
        &length,
        &[0, 0, 0, NEXT_HEADER_ICMPV6],
        &message,
    ]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = ethernet(ALL_NODES_MAC, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length);
    // Neighbours accept only what no router has forwarded: hop limit 255.
    frame.extend([NEXT_HEADER_ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

/// The Internet checksum (RFC 1071) of parts that each have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0xe6, 0, 0, 0, 9]);

    #[test]
    fn gratuitous_arp_names_the_address_as_sender_and_as_target() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let head = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xe6, 0, 0, 0, 9, 8, 6];
        let sender = [2, 0xe6, 0, 0, 0, 9, 192, 0, 2, 7];
        let request = [&head[..], &[0, 1, 8, 0, 6, 4, 0, 1], &sender, &[0; 6], &sender[6..]];
        assert_eq!(arp(ARP_REQUEST, MAC, address), request.concat());
        let reply = [&head[..], &[0, 1, 8, 0, 6, 4, 0, 2], &sender, &sender];
        assert_eq!(arp(ARP_REPLY, MAC, address), reply.concat());
    }

    #[test]
    fn an_advertisement_goes_to_all_nodes_with_our_mac() {
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let frame = advertisement(MAC, address);
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(frame[12..14], [0x86, 0xdd]);
        assert_eq!(frame[18..22], [0, 32, 58, 255], "length, next header, hop limit");
        assert_eq!(frame[22..38], address.octets());
        assert_eq!(frame[38..54], ALL_NODES.octets());
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[58], 0xa0, "router and override, not solicited");
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[78..], [2, 1, 2, 0xe6, 0, 0, 0, 9]);
        // What is summed with its own checksum is all ones.
        let pseudo = [0, 0, 0, 32, 0, 0, 0, 58];
        assert_eq!(checksum(&[&frame[22..54], &pseudo, &frame[54..]]), 0);
    }
}

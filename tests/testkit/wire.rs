//! Sending hand-made frames: on a link as they are, or as VXLAN out of an ordinary UDP socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use egret_types::MacAddr;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};

/// The link-layer address of a link in the namespace of the calling thread.
fn link_address(link: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == link)
        .filter_map(|entry| entry.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .and_then(|address| address.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no link {link} here")))
}

/// The MAC of a link in the namespace of the calling thread.
pub fn link_mac(link: &str) -> io::Result<MacAddr> {
    let address = link_address(link)?.addr();
    address.map(MacAddr).ok_or_else(|| io::Error::other(format!("{link} has no MAC")))
}

/// A socket that sends frames on a link as they are (`AF_PACKET`; needs `CAP_NET_RAW`).
pub struct PacketSocket {
    socket: OwnedFd,
    link: LinkAddr,
}

impl PacketSocket {
    /// On a link in the namespace of the calling thread.
    pub fn open(link: &str) -> io::Result<Self> {
        // sendto on a packet socket takes its link from the address; that of getifaddrs has it.
        let link = link_address(link)?;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket, link })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        sendto(self.socket.as_raw_fd(), frame, &self.link, MsgFlags::empty())?;
        Ok(())
    }
}

/// Sends one frame on a link as it is.
pub fn send_frame(link: &str, frame: &[u8]) -> io::Result<()> {
    PacketSocket::open(link)?.send(frame)
}

/// Sends a frame to a VTEP as any process without privileges can, from an ordinary UDP socket.
pub fn send_vxlan(vtep: SocketAddr, vni: u32, frame: &[u8]) -> io::Result<()> {
    let any: IpAddr = match vtep {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0))?.send_to(&crate::vxlan(vni, frame), vtep)?;
    Ok(())
}

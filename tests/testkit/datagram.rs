//! One datagram out of an ordinary socket, with the options by which a process chooses its way.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};

/// What is to be sent, and how.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// To whom.
    pub to: SocketAddr,
    /// The local port, if it matters.
    pub source_port: u16,
    /// The link that the socket is bound to (`SO_BINDTODEVICE`).
    pub device: Option<String>,
    /// The socket's mark (`SO_MARK`; needs `CAP_NET_RAW` or `CAP_NET_ADMIN`).
    pub mark: Option<u32>,
    /// The link that this one datagram is to leave by (`IP_PKTINFO`).
    pub out_of: Option<String>,
}

impl Datagram {
    /// To an address and port, without options.
    pub fn new(to: impl Into<SocketAddr>) -> Self {
        Self { to: to.into(), source_port: 0, device: None, mark: None, out_of: None }
    }

    /// Sends it from the namespace of the calling thread.
    pub fn send(&self, payload: &[u8]) -> io::Result<()> {
        let any: IpAddr = match self.to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, self.source_port))?;
        if let Some(device) = &self.device {
            setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
        }
        if let Some(mark) = self.mark {
            setsockopt(&socket, sockopt::Mark, &mark)?;
        }
        let Some(link) = &self.out_of else {
            return socket.send_to(payload, self.to).map(drop);
        };
        let index = if_nametoindex(link.as_str())?;
        let (v4, v6) = (way4(index)?, way6(index));
        let way = match self.to {
            SocketAddr::V4(_) => ControlMessage::Ipv4PacketInfo(&v4),
            SocketAddr::V6(_) => ControlMessage::Ipv6PacketInfo(&v6),
        };
        let (parts, to) = ([IoSlice::new(payload)], SockaddrStorage::from(self.to));
        sendmsg(socket.as_raw_fd(), &parts, &[way], MsgFlags::empty(), Some(&to))?;
        Ok(())
    }
}

fn way4(index: u32) -> io::Result<in_pktinfo> {
    let any = in_addr { s_addr: 0 };
    let ipi_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    Ok(in_pktinfo { ipi_ifindex, ipi_spec_dst: any, ipi_addr: any })
}

fn way6(index: u32) -> in6_pktinfo {
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: [0; 16] }, ipi6_ifindex: index }
}

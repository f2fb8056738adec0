//! Links of any kind: found, listed, counted, set and deleted. What is particular to one kind is in
//! `veth.rs`, `vxlan.rs` and `macvlan.rs`.

use std::net::IpAddr;

use egret_egress::kernel::Link;
use egret_types::{IfIndex, LinkName, MacAddr};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkMessage,
};
use nix::errno::Errno;
use nix::libc;

use super::attribute::{Attributes, u32_at};
use super::{address, socket::Socket, vxlan};
use crate::error::{Error, refused_with};

const HEADER: usize = 16;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;

/// A link as it was found.
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Frames can leave; a link that does not say so can.
    pub(crate) carrier: bool,
    pub(crate) master: Option<u32>,
    /// The link below, or the other end, if there is one.
    pub(crate) below: Option<u32>,
    /// This namespace's number of the namespace in which that is, where it is another.
    pub(crate) below_namespace: Option<i32>,
    /// Absent where IPv6 is.
    pub(crate) addr_gen_mode: Option<u8>,
    /// What the kind says (`IFLA_INFO_DATA`).
    details: Vec<u8>,
}

impl Found {
    fn parse(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::behind(HEADER, payload);
        let kind = attributes.nested(libc::IFLA_LINKINFO);
        let inet6 = attributes.nested(libc::IFLA_AF_SPEC).nested(AF_INET6);
        Some(Self {
            index: u32_at(payload, 4)?,
            name: attributes.text(libc::IFLA_IFNAME)?,
            kind: kind.text(libc::IFLA_INFO_KIND),
            mac: attributes.mac(libc::IFLA_ADDRESS),
            mtu: attributes.u32(libc::IFLA_MTU)?,
            up: u32_at(payload, 8)? & libc::IFF_UP.cast_unsigned() != 0,
            carrier: attributes.u8(libc::IFLA_CARRIER) != Some(0),
            master: attributes.u32(libc::IFLA_MASTER),
            below: attributes.u32(libc::IFLA_LINK),
            below_namespace: attributes.i32(libc::IFLA_LINK_NETNSID),
            addr_gen_mode: inet6.u8(IFLA_INET6_ADDR_GEN_MODE),
            details: kind.bytes(libc::IFLA_INFO_DATA).unwrap_or_default().to_vec(),
        })
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    pub(crate) fn details(&self) -> Attributes<'_> {
        Attributes::behind(0, &self.details)
    }

    /// What an operator recognizes it by.
    pub(crate) fn describe(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or("hardware");
        match self.mac {
            Some(mac) => format!("a {kind} link with MAC {mac}"),
            None => format!("a {kind} link"),
        }
    }
}

const AF_INET6: u16 = 10;

/// What a link of ours should be like, whatever its kind; absent: as it is.
pub(crate) struct Wanted {
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: Option<u32>,
}

/// `ip link show NAME`; `None` if there is no such link.
pub(crate) fn find(socket: &Socket, name: &LinkName) -> Result<Option<Found>, Error> {
    get(socket, 0, Some(name))
}

/// The link with this number.
pub(crate) fn find_index(socket: &Socket, index: u32) -> Result<Option<Found>, Error> {
    get(socket, index, None)
}

/// The link, which must be there.
pub(crate) fn need(socket: &Socket, name: &LinkName) -> Result<Found, Error> {
    find(socket, name)?.ok_or_else(|| Error::NoLink { link: name.clone() })
}

fn get(socket: &Socket, index: u32, name: Option<&LinkName>) -> Result<Option<Found>, Error> {
    let mut message = question();
    message.header.index = index;
    message.attributes.extend(name.map(|name| LinkAttribute::IfName(name.to_string())));
    let answer = socket.get(libc::RTM_GETLINK, &message);
    if refused_with(&answer, &[Errno::ENODEV]) {
        return Ok(None);
    }
    Found::parse(&answer?).map(Some).ok_or(Error::Malformed { what: "link" })
}

/// All links of the namespace with their addresses.
pub(crate) fn list(socket: &Socket) -> Result<Vec<Link>, Error> {
    let links = all(socket)?;
    let addresses = address::list(socket)?;
    let of = |index| {
        let here = addresses.iter().filter(move |address| address.link == index);
        here.map(|address| (address.address, address.length)).collect::<Vec<(IpAddr, u8)>>()
    };
    let named = links.into_iter().filter_map(|link| {
        let vxlan = vxlan::in_use(&link);
        let here = link.is("veth") && link.below_namespace.is_none();
        let peer = link.below.filter(|_| here).map(IfIndex);
        Some(Link {
            index: IfIndex(link.index),
            name: link.name.parse().ok()?,
            kind: link.kind,
            mac: link.mac,
            mtu: link.mtu,
            up: link.up,
            master: link.master.map(IfIndex),
            peer,
            addresses: of(link.index),
            vxlan,
        })
    });
    Ok(named.collect())
}

/// All links of the namespace.
pub(crate) fn all(socket: &Socket) -> Result<Vec<Found>, Error> {
    socket.list(libc::RTM_GETLINK, &question(), Found::parse)
}

/// Counters take most of a link's message; nobody here reads them.
fn question() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    message
}

/// What a link carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets received.
    pub received_packets: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// `ip -s link show NAME`; `None` if there is no such link.
pub(crate) fn traffic(socket: &Socket, name: &LinkName) -> Result<Option<Traffic>, Error> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_string())];
    let answer = socket.get(libc::RTM_GETLINK, &message);
    if refused_with(&answer, &[Errno::ENODEV]) {
        return Ok(None);
    }
    let answer = answer?;
    let counters = Attributes::behind(HEADER, &answer).bytes(libc::IFLA_STATS64);
    let counter = |n: usize| {
        let bytes = counters?.get(8 * n..8 * n + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let read = || {
        Some(Traffic {
            received_packets: counter(0)?,
            sent_packets: counter(1)?,
            received_bytes: counter(2)?,
            sent_bytes: counter(3)?,
        })
    };
    read().map(Some).ok_or(Error::Malformed { what: "counters of the link" })
}

/// Whether a link can carry frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Administratively down.
    Down,
    /// Up, but nothing is at its other end.
    NoCarrier,
    /// It can.
    Up,
}

/// The state of a link; `None` if there is no such link.
pub(crate) fn state(socket: &Socket, name: &LinkName) -> Result<Option<LinkState>, Error> {
    let state = |link: Found| match (link.up, link.carrier) {
        (false, _) => LinkState::Down,
        (true, false) => LinkState::NoCarrier,
        (true, true) => LinkState::Up,
    };
    Ok(find(socket, name)?.map(state))
}

/// Makes what is changeable of a link what it should be, without automatic addresses, and up. The
/// mode of address generation comes before up: that is when the kernel makes one.
pub(crate) fn settle(socket: &Socket, found: &Found, wanted: &Wanted) -> Result<(), Error> {
    let mut attributes = vec![];
    let mac = wanted.mac.filter(|mac| found.mac != Some(*mac));
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    let mtu = wanted.mtu.filter(|mtu| found.mtu != *mtu);
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    if found.addr_gen_mode.is_some_and(|mode| mode != ADDR_GEN_MODE_NONE) {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
    }
    if !attributes.is_empty() {
        let mut message = LinkMessage::default();
        message.header.index = found.index;
        message.attributes = attributes;
        socket.change(libc::RTM_SETLINK, 0, &message)?;
    }
    if found.up { Ok(()) } else { set_up(socket, found.index) }
}

/// `ip link set up`
pub(crate) fn set_up(socket: &Socket, index: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    socket.change(libc::RTM_SETLINK, 0, &message)
}

/// How a link differs from what [`settle`] makes of it, one sentence each.
pub(crate) fn differences(name: &LinkName, found: &Found, wanted: &Wanted) -> Vec<String> {
    let mut sentences = vec![];
    if let Some(mac) = wanted.mac.filter(|mac| found.mac != Some(*mac)) {
        let is = found.mac.map_or("absent".to_owned(), |mac| mac.to_string());
        sentences.push(format!("link {name}: mac {is}, should be {mac}"));
    }
    if let Some(mtu) = wanted.mtu.filter(|mtu| found.mtu != *mtu) {
        sentences.push(format!("link {name}: mtu {}, should be {mtu}", found.mtu));
    }
    if found.addr_gen_mode.is_some_and(|mode| mode != ADDR_GEN_MODE_NONE) {
        sentences.push(format!("link {name}: makes IPv6 addresses by itself (addrgenmode)"));
    }
    if !found.up {
        sentences.push(format!("link {name}: down"));
    }
    sentences
}

/// Deletes a link of this kind; success when it is gone, and when the name is another's.
pub(crate) fn remove(socket: &Socket, name: &LinkName, kind: &str) -> Result<(), Error> {
    match find(socket, name)? {
        Some(found) if found.is(kind) => delete(socket, found.index),
        _ => Ok(()),
    }
}

/// `ip link del`; success when it is gone.
pub(crate) fn delete(socket: &Socket, index: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let result = socket.change(libc::RTM_DELLINK, 0, &message);
    if refused_with(&result, &[Errno::ENODEV]) { Ok(()) } else { result }
}

//! Addresses of links, without duplicate address detection: their owner is decided elsewhere.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use egret_egress::object::Address;
use egret_types::Family;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use nix::errno::Errno;
use nix::libc;

use super::attribute::{Attributes, u32_at};
use super::{address_family, link, route, socket::Socket};
use crate::error::{Error, refused_with};

const HEADER: usize = 8;
/// No such address, no such link; and no IPv6 at all, so no such address either.
const GONE: [Errno; 5] =
    [Errno::EADDRNOTAVAIL, Errno::ENODEV, Errno::ENXIO, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP];

/// How long the kernel's work may take on a busy machine. Later is late, and no failure.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_micros(200);

/// An address as it was found.
pub(crate) struct Found {
    pub(crate) link: u32,
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
    flags: u32,
}

impl Found {
    fn parse(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::behind(HEADER, payload);
        // On a point-to-point link IFA_ADDRESS is the other end's.
        let local = attributes.address(libc::IFA_LOCAL);
        Some(Self {
            link: u32_at(payload, 4)?,
            address: local.or_else(|| attributes.address(libc::IFA_ADDRESS))?,
            length: *payload.get(1)?,
            flags: attributes.u32(libc::IFA_FLAGS).unwrap_or(0),
        })
    }

    /// Not usable: still, or for ever, waiting for duplicate address detection.
    fn is_tentative(&self) -> bool {
        self.flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0
    }
}

/// All addresses of the namespace.
pub(crate) fn list(socket: &Socket) -> Result<Vec<Found>, Error> {
    socket.list(libc::RTM_GETADDR, &AddressMessage::default(), Found::parse)
}

/// A gateway has thousands of addresses, so none is looked for in a list. An IPv4 address is added
/// without looking, and "exists" means this one with this length. For IPv6 the kernel says so
/// whatever the length and state of the one that exists (and takes long to say it), but it looks up
/// single addresses.
pub(crate) fn ensure(socket: &Socket, index: u32, address: &Address) -> Result<(), Error> {
    if address.address.is_ipv6()
        && let Some(found) = find(socket, index, address)?
    {
        if found.length == address.length && !found.is_tentative() {
            return Ok(());
        }
        delete(socket, index, &Address { length: found.length, ..address.clone() })?;
    }
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let result = socket.change(libc::RTM_NEWADDR, flags, &message(index, address));
    let exists = address.address.is_ipv4() && refused_with(&result, &[Errno::EEXIST]);
    if exists { Ok(()) } else { result }
}

/// Waits until the kernel takes what is sent to an address of a link for its own. For IPv6 it does
/// not when it says that the address is there: the route comes by work that waits for its turn, and
/// until then the answer of a neighbour who was asked in the name of the address is not for us.
pub(crate) fn settle(socket: &Socket, link: &link::Found, address: IpAddr) -> Result<(), Error> {
    let answers = link.up && link.carrier;
    let end = Instant::now() + PATIENCE;
    while answers && address.is_ipv6() && !route::is_local(socket, address)? {
        if Instant::now() > end {
            log::warn!("{address} is there, but {} takes nothing for it yet", link.name);
            break;
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

pub(crate) fn remove(socket: &Socket, address: &Address) -> Result<(), Error> {
    match link::find(socket, &address.link)? {
        Some(link) => delete(socket, link.index, address),
        None => Ok(()),
    }
}

pub(crate) fn differences(socket: &Socket, address: &Address) -> Result<Vec<String>, Error> {
    let Address { link, address: ip, length, .. } = address;
    let name = format!("address {ip}/{length} dev {link}");
    let Some(link) = link::find(socket, link)? else {
        return Ok(vec![format!("{name}: missing, like its link")]);
    };
    Ok(match find(socket, link.index, address)? {
        None => vec![format!("{name}: missing")],
        Some(found) if found.length != *length => {
            vec![format!("{name}: has length {}", found.length)]
        }
        Some(found) if found.is_tentative() => vec![format!("{name}: tentative, not usable")],
        Some(_) => vec![],
    })
}

/// The address on this link, if it can be with the wanted length. The kernel looks up single
/// addresses for IPv6 only.
fn find(socket: &Socket, index: u32, address: &Address) -> Result<Option<Found>, Error> {
    let mut message = AddressMessage::default();
    message.header.family = address_family(Family::of(address.address));
    message.header.index = index;
    if address.address.is_ipv4() {
        let same = |found: &Found| found.link == index && found.address == address.address;
        let parse = |payload: &[u8]| Found::parse(payload).filter(same);
        let mut found = socket.list(libc::RTM_GETADDR, &message, parse)?;
        // IPv4 may have one address with several lengths.
        let exact = found.iter().position(|found| found.length == address.length).unwrap_or(0);
        return Ok((!found.is_empty()).then(|| found.swap_remove(exact)));
    }
    message.attributes = vec![AddressAttribute::Address(address.address)];
    let answer = socket.get(libc::RTM_GETADDR, &message);
    if refused_with(&answer, &GONE) {
        return Ok(None);
    }
    Ok(Found::parse(&answer?).filter(|found| found.link == index))
}

/// `ip addr del`; success when it is gone.
fn delete(socket: &Socket, index: u32, address: &Address) -> Result<(), Error> {
    let result = socket.change(libc::RTM_DELADDR, 0, &message(index, address));
    if refused_with(&result, &GONE) { Ok(()) } else { result }
}

/// `ADDRESS/LENGTH dev LINK`, for IPv6 with `nodad`.
fn message(index: u32, address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = address_family(Family::of(address.address));
    message.header.prefix_len = address.length;
    message.header.index = index;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    if address.address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

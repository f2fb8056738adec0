//! Forwarding entries of the tunnel link: to which VTEP frames for a MAC go. A failover is the
//! change of one of them.

use egret_egress::object::Fdb;
use egret_types::LinkName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use nix::errno::Errno;
use nix::libc;

use super::attribute::{Attributes, u32_at};
use super::{link, socket::Socket};
use crate::error::{Error, refused_with};

const HEADER: usize = 12;

/// `bridge fdb replace MAC dev LINK dst VTEP self permanent`: one VTEP for a MAC.
pub(crate) fn ensure(socket: &Socket, fdb: &Fdb) -> Result<(), Error> {
    let link = link::need(socket, &fdb.link)?;
    let mut message = key(link.index, fdb);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(fdb.vtep.into()));
    socket.change(libc::RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &message)
}

/// Only if frames still go to our VTEP: an entry that has moved is its mover's.
pub(crate) fn remove(socket: &Socket, fdb: &Fdb) -> Result<(), Error> {
    let Some(link) = link::find(socket, &fdb.link)? else { return Ok(()) };
    if find(socket, link.index, fdb)?.is_none_or(|found| found.vtep != fdb.vtep) {
        return Ok(());
    }
    let result = socket.change(libc::RTM_DELNEIGH, 0, &key(link.index, fdb));
    if refused_with(&result, &[Errno::ENOENT]) { Ok(()) } else { result }
}

pub(crate) fn differences(socket: &Socket, fdb: &Fdb) -> Result<Vec<String>, Error> {
    let Fdb { link, mac, vtep } = fdb;
    let name = format!("fdb entry {mac} dev {link}");
    let Some(link) = link::find(socket, link)? else {
        return Ok(vec![format!("{name}: missing, like its link")]);
    };
    Ok(match find(socket, link.index, fdb)? {
        None => vec![format!("{name}: missing")],
        Some(found) if found.vtep != *vtep => {
            vec![format!("{name}: dst {}, should be {vtep}", found.vtep)]
        }
        Some(_) => vec![],
    })
}

/// The entries of a link that name a VTEP; none if there is no such link.
pub(crate) fn list(socket: &Socket, name: &LinkName) -> Result<Vec<Fdb>, Error> {
    let Some(link) = link::find(socket, name)? else { return Ok(vec![]) };
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link.index;
    let parse = |payload: &[u8]| {
        let here = u32_at(payload, 4) == Some(link.index);
        if here { parse(name, payload) } else { None }
    };
    socket.list(libc::RTM_GETNEIGH, &message, parse)
}

fn find(socket: &Socket, index: u32, fdb: &Fdb) -> Result<Option<Fdb>, Error> {
    let answer = socket.get(libc::RTM_GETNEIGH, &key(index, fdb));
    if refused_with(&answer, &[Errno::ENOENT]) {
        return Ok(None);
    }
    Ok(parse(&fdb.link, &answer?))
}

fn parse(link: &LinkName, payload: &[u8]) -> Option<Fdb> {
    let attributes = Attributes::behind(HEADER, payload);
    Some(Fdb {
        link: link.clone(),
        mac: attributes.mac(libc::NDA_LLADDR)?,
        vtep: attributes.address(libc::NDA_DST)?,
    })
}

fn key(index: u32, fdb: &Fdb) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(fdb.mac.0.to_vec())];
    message
}

//! Permanent neighbours.

use egret_egress::object::Neighbour;
use egret_types::{Family, MacAddr};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteType;
use nix::errno::Errno;
use nix::libc;

use super::attribute::{Attributes, u16_at};
use super::{address_family, link, socket::Socket};
use crate::error::{Error, refused_with};

const HEADER: usize = 12;

struct Found {
    mac: Option<MacAddr>,
    permanent: bool,
}

pub(crate) fn ensure(socket: &Socket, neighbour: &Neighbour) -> Result<(), Error> {
    let link = link::need(socket, &neighbour.link)?;
    let mut message = key(link.index, neighbour);
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
    socket.change(libc::RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &message)
}

/// Only the permanent entry with our MAC: any other was put there by somebody else.
pub(crate) fn remove(socket: &Socket, neighbour: &Neighbour) -> Result<(), Error> {
    let Some(link) = link::find(socket, &neighbour.link)? else { return Ok(()) };
    match find(socket, link.index, neighbour)? {
        Some(found) if found.permanent && found.mac == Some(neighbour.mac) => {}
        _ => return Ok(()),
    }
    let result = socket.change(libc::RTM_DELNEIGH, 0, &key(link.index, neighbour));
    if refused_with(&result, &[Errno::ENOENT]) { Ok(()) } else { result }
}

pub(crate) fn differences(socket: &Socket, neighbour: &Neighbour) -> Result<Vec<String>, Error> {
    let Neighbour { link, address, mac } = neighbour;
    let name = format!("neighbour {address} dev {link}");
    let Some(link) = link::find(socket, link)? else {
        return Ok(vec![format!("{name}: missing, like its link")]);
    };
    Ok(match find(socket, link.index, neighbour)? {
        None => vec![format!("{name}: missing")],
        Some(found) if found.mac != Some(*mac) => {
            let is = found.mac.map_or("absent".to_owned(), |mac| mac.to_string());
            vec![format!("{name}: lladdr {is}, should be {mac}")]
        }
        Some(found) if !found.permanent => vec![format!("{name}: not permanent")],
        Some(_) => vec![],
    })
}

fn find(socket: &Socket, index: u32, neighbour: &Neighbour) -> Result<Option<Found>, Error> {
    let answer = socket.get(libc::RTM_GETNEIGH, &key(index, neighbour));
    if refused_with(&answer, &[Errno::ENOENT, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP]) {
        return Ok(None);
    }
    let answer = answer?;
    Ok(Some(Found {
        mac: Attributes::behind(HEADER, &answer).mac(libc::NDA_LLADDR),
        permanent: u16_at(&answer, 8).is_some_and(|state| state & libc::NUD_PERMANENT != 0),
    }))
}

fn key(index: u32, neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = address_family(Family::of(neighbour.address));
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(neighbour.address.into())];
    message
}

//! Pairs of veth links between a namespace and the egret namespace.

use std::os::fd::AsRawFd;

use egret_egress::object::Veth;
use egret_types::LinkName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::libc;

use super::attribute::Attributes;
use super::link::{self, Found, Wanted};
use crate::error::Error;
use crate::namespace::Namespace;

const KIND: &str = "veth";
const NSID_HEADER: usize = 4;
const NETNSA_NSID: u16 = 1;

/// # Guarantees
/// A link of the name that is not the other end of our peer is left as it is. A peer without its
/// near end (the pod's namespace of an earlier try is dying, say) is made again.
pub(crate) fn ensure(near: &Namespace, egret: &Namespace, veth: &Veth) -> Result<(), Error> {
    if let Some(found) = link::find(&near.route, &veth.name)? {
        if let Some(found) = stranger(near, egret, veth, &found)? {
            return Err(Error::Taken { found });
        }
    } else {
        if let Some(stale) = link::find(&egret.route, &veth.peer)? {
            if !stale.is(KIND) {
                return Err(Error::Taken {
                    found: format!("{} ({})", stale.describe(), veth.peer),
                });
            }
            link::delete(&egret.route, stale.index)?;
        }
        create(near, egret, veth)?;
    }
    let (wanted, peer) = (of_near(veth), of_peer(veth));
    link::settle(&egret.route, &link::need(&egret.route, &veth.peer)?, &peer)?;
    link::settle(&near.route, &link::need(&near.route, &veth.name)?, &wanted)
}

/// By the name of the peer alone: the pod's namespace may be gone. The near end goes with it.
pub(crate) fn remove(egret: &Namespace, veth: &Veth) -> Result<(), Error> {
    link::remove(&egret.route, &veth.peer, KIND)
}

pub(crate) fn differences(
    near: &Namespace,
    egret: &Namespace,
    veth: &Veth,
) -> Result<Vec<String>, Error> {
    let mut sentences = vec![];
    match link::find(&near.route, &veth.name)? {
        None => sentences.push(format!("link {}: missing", veth.name)),
        Some(found) => match stranger(near, egret, veth, &found)? {
            Some(stranger) => {
                sentences.push(format!("link {}: not ours: {stranger}", veth.name));
            }
            None => sentences.extend(link::differences(&veth.name, &found, &of_near(veth))),
        },
    }
    match link::find(&egret.route, &veth.peer)? {
        None => sentences.push(format!("link {}: missing in the egret namespace", veth.peer)),
        Some(found) => sentences.extend(link::differences(&veth.peer, &found, &of_peer(veth))),
    }
    Ok(sentences)
}

fn of_near(veth: &Veth) -> Wanted {
    Wanted { mac: Some(veth.mac), mtu: Some(veth.mtu.bytes()) }
}

/// Its MAC is the kernel's choice: nobody sends to it, every neighbour of ours has another.
fn of_peer(veth: &Veth) -> Wanted {
    Wanted { mac: None, mtu: Some(veth.mtu.bytes()) }
}

/// `ip link add NAME address MAC mtu MTU type veth peer name PEER mtu MTU netns EGRET`, one message
/// so that no half of a pair is ever seen in the wrong namespace.
fn create(near: &Namespace, egret: &Namespace, veth: &Veth) -> Result<(), Error> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(veth.peer.to_string()),
        LinkAttribute::Mtu(veth.mtu.bytes()),
        LinkAttribute::NetNsFd(egret.netns.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(veth.name.to_string()),
        LinkAttribute::Address(veth.mac.0.to_vec()),
        LinkAttribute::Mtu(veth.mtu.bytes()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    near.route.change(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message)
}

/// What the link is, unless it is the other end of our peer.
///
/// Two ends name each other by number, and the near one names the namespace of the other. That is
/// the kernel's word; a name or a MAC is anybody's. So a MAC that a pod changed is put back rather
/// than taken for somebody else's link.
fn stranger(
    near: &Namespace,
    egret: &Namespace,
    veth: &Veth,
    found: &Found,
) -> Result<Option<String>, Error> {
    if !found.is(KIND) {
        return Ok(Some(found.describe()));
    }
    let peer = link::find(&egret.route, &veth.peer)?;
    let facing = peer.is_some_and(|peer| {
        peer.is(KIND) && found.below == Some(peer.index) && peer.below == Some(found.index)
    });
    let to_egret = found.below_namespace == number_of(near, egret)?;
    if facing && to_egret {
        return Ok(None);
    }
    let other = match found.below.filter(|_| to_egret) {
        Some(index) => link::find_index(&egret.route, index)?,
        None => None,
    };
    let other = other.map_or("in another namespace".to_owned(), |other| other.name);
    Ok(Some(format!("{} whose peer is {other}, not {}", found.describe(), veth.peer)))
}

/// The number of the other end in another namespace of a veth; `None` if it is elsewhere. A number
/// alone says little, every namespace has its own 2: the kernel says whose number it is.
pub(crate) fn end_in(
    near: &Namespace,
    other: &Namespace,
    name: &LinkName,
) -> Result<Option<u32>, Error> {
    let found = link::need(&near.route, name)?;
    let there = found.is(KIND) && found.below_namespace == number_of(near, other)?;
    Ok(found.below.filter(|_| there))
}

/// The number by which a namespace knows another; `None` for itself and for one it does not know.
fn number_of(near: &Namespace, other: &Namespace) -> Result<Option<i32>, Error> {
    if near.netns.inode() == other.netns.inode() {
        return Ok(None);
    }
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Fd(other.netns.as_raw_fd().cast_unsigned())];
    let answer = near.route.get(libc::RTM_GETNSID, &message)?;
    Ok(Attributes::behind(NSID_HEADER, &answer).i32(NETNSA_NSID))
}

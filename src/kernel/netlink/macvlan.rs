//! Macvlan links in bridge mode over a link of the node: a gateway's uplink.

use std::os::fd::AsRawFd;

use egret_egress::object::Macvlan;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use nix::libc;

use super::link::{self, Found, Wanted};
use crate::error::Error;
use crate::namespace::Namespace;

const KIND: &str = "macvlan";
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_BRIDGE: u32 = 4;
/// MAC and MTU are the kernel's choice: a random one, and the parent's.
const WANTED: Wanted = Wanted { mac: None, mtu: None };

pub(crate) fn ensure(root: &Namespace, place: &Namespace, macvlan: &Macvlan) -> Result<(), Error> {
    let parent = link::need(&root.route, &macvlan.parent)?;
    if let Some(found) = link::find(&place.route, &macvlan.name)? {
        if !found.is(KIND) {
            return Err(Error::Taken { found: found.describe() });
        }
        let fixed = fixed_differences(&parent, &found);
        if !fixed.is_empty() {
            return Err(Error::Unlike {
                found: fixed.join(", "),
                command: "egretctl gateway down",
            });
        }
        return link::settle(&place.route, &found, &WANTED);
    }
    create(root, place, macvlan, &parent)?;
    let made = link::need(&place.route, &macvlan.name)?;
    link::settle(&place.route, &made, &WANTED).inspect_err(|_| {
        if let Err(also) = link::delete(&place.route, made.index) {
            log::warn!("link {} stays behind: {also}", macvlan.name);
        }
    })
}

pub(crate) fn remove(place: &Namespace, macvlan: &Macvlan) -> Result<(), Error> {
    link::remove(&place.route, &macvlan.name, KIND)
}

pub(crate) fn differences(
    root: &Namespace,
    place: &Namespace,
    macvlan: &Macvlan,
) -> Result<Vec<String>, Error> {
    let name = &macvlan.name;
    let Some(found) = link::find(&place.route, name)? else {
        return Ok(vec![format!("link {name}: missing")]);
    };
    if !found.is(KIND) {
        return Ok(vec![format!("link {name}: {}", found.describe())]);
    }
    let fixed = match link::find(&root.route, &macvlan.parent)? {
        Some(parent) => fixed_differences(&parent, &found),
        None => vec![format!("link {} below it does not exist", macvlan.parent)],
    };
    let mut sentences: Vec<_> =
        fixed.iter().map(|difference| format!("link {name}: {difference}")).collect();
    sentences.extend(link::differences(name, &found, &WANTED));
    Ok(sentences)
}

/// From the root namespace: `ip link add NAME link PARENT netns EGRET type macvlan mode bridge`.
fn create(
    root: &Namespace,
    place: &Namespace,
    macvlan: &Macvlan,
    parent: &Found,
) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(macvlan.name.to_string()),
        LinkAttribute::Link(parent.index),
        LinkAttribute::NetNsFd(place.netns.as_raw_fd()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ]),
    ];
    root.route.change(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message)
}

fn fixed_differences(parent: &Found, found: &Found) -> Vec<String> {
    let mut sentences = vec![];
    if found.below != Some(parent.index) {
        sentences.push(format!("made over another link, should be over {}", parent.name));
    }
    if found.details().u32(IFLA_MACVLAN_MODE) != Some(MACVLAN_MODE_BRIDGE) {
        sentences.push("made in another mode, should be bridge".to_owned());
    }
    sentences
}

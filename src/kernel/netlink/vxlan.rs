//! The tunnel link: in the egret namespace, with its UDP socket in the node's.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use egret_egress::kernel::VxlanUse;
use egret_egress::object::Vxlan;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use nix::libc;

use super::link::{self, Found, Wanted};
use crate::error::{Error, refused_with};
use crate::namespace::Namespace;

const KIND: &str = "vxlan";
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;

/// # Guarantees
/// A link that was made for another tunnel is left as it is: all of it but the MTU is fixed when it
/// is made, its MAC as well (other nodes know this one by it), and pods may be using it. A link that does not come up is not left behind.
pub(crate) fn ensure(root: &Namespace, place: &Namespace, vxlan: &Vxlan) -> Result<(), Error> {
    if let Some(found) = link::find(&place.route, &vxlan.name)? {
        if !found.is(KIND) {
            return Err(Error::Taken { found: found.describe() });
        }
        let fixed = fixed_differences(root, place, vxlan, &found);
        if !fixed.is_empty() {
            return Err(Error::Unlike { found: fixed.join(", "), command: "egretctl gc" });
        }
        let port = |error| port_taken(vxlan, error);
        return link::settle(&place.route, &found, &wanted(vxlan)).map_err(port);
    }
    create(root, place, vxlan)?;
    let made = link::need(&place.route, &vxlan.name)?;
    link::settle(&place.route, &made, &wanted(vxlan)).map_err(|error| {
        if let Err(also) = link::delete(&place.route, made.index) {
            log::warn!("link {} stays behind: {also}", vxlan.name);
        }
        port_taken(vxlan, error)
    })
}

/// What a link has of its namespace, if it is a VXLAN link.
pub(super) fn in_use(found: &Found) -> Option<VxlanUse> {
    let details = found.details();
    let (vni, port) = (details.u32(IFLA_VXLAN_ID)?, details.u16_be(IFLA_VXLAN_PORT)?);
    found.is(KIND).then_some(VxlanUse { vni, port })
}

pub(crate) fn remove(place: &Namespace, vxlan: &Vxlan) -> Result<(), Error> {
    link::remove(&place.route, &vxlan.name, KIND)
}

pub(crate) fn differences(
    root: &Namespace,
    place: &Namespace,
    vxlan: &Vxlan,
) -> Result<Vec<String>, Error> {
    let name = &vxlan.name;
    Ok(match link::find(&place.route, name)? {
        None => vec![format!("link {name}: missing")],
        Some(found) if !found.is(KIND) => vec![format!("link {name}: {}", found.describe())],
        Some(found) => {
            let fixed = fixed_differences(root, place, vxlan, &found);
            let mut sentences: Vec<_> =
                fixed.iter().map(|difference| format!("link {name}: {difference}")).collect();
            sentences.extend(link::differences(name, &found, &wanted(vxlan)));
            sentences
        }
    })
}

fn wanted(vxlan: &Vxlan) -> Wanted {
    Wanted { mac: None, mtu: Some(vxlan.mtu.bytes()) }
}

/// From the root namespace: `ip link add NAME address MAC mtu MTU netns EGRET type vxlan id VNI
/// dstport PORT local LOCAL nolearning`. The socket stays where the message was sent. No `dev`:
/// deleting the underlay link would delete the tunnel with it.
fn create(root: &Namespace, place: &Namespace, vxlan: &Vxlan) -> Result<(), Error> {
    let local = match vxlan.local {
        IpAddr::V4(local) => InfoVxlan::Local(local),
        IpAddr::V6(local) => InfoVxlan::Local6(local),
    };
    let tunnel = vec![
        InfoVxlan::Id(vxlan.vni.into()),
        local,
        InfoVxlan::Port(vxlan.port),
        InfoVxlan::Learning(false),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(vxlan.name.to_string()),
        LinkAttribute::Address(vxlan.mac.0.to_vec()),
        LinkAttribute::Mtu(vxlan.mtu.bytes()),
        LinkAttribute::NetNsFd(place.netns.as_raw_fd()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(tunnel)),
        ]),
    ];
    let result = root.route.change(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message);
    // The name was free a moment ago, so it is the number that exists already.
    if refused_with(&result, &[Errno::EEXIST]) {
        return result.map_err(|refusal| Error::VniTaken {
            vni: vxlan.vni.into(),
            port: vxlan.port,
            refusal: Box::new(refusal),
        });
    }
    result
}

/// The UDP socket is opened when the link goes up, and only then is its port found to be in use.
fn port_taken(vxlan: &Vxlan, error: Error) -> Error {
    match error {
        Error::Kernel { errno: Errno::EADDRINUSE | Errno::EBUSY, .. } => {
            Error::PortTaken { port: vxlan.port, refusal: Box::new(error) }
        }
        other => other,
    }
}

/// How a VXLAN link differs in what cannot be changed.
fn fixed_differences(
    root: &Namespace,
    place: &Namespace,
    vxlan: &Vxlan,
    found: &Found,
) -> Vec<String> {
    let details = found.details();
    let mut sentences = vec![];
    let (vni, is) = (u32::from(vxlan.vni), details.u32(IFLA_VXLAN_ID).unwrap_or(0));
    if is != vni {
        sentences.push(format!("made with vni {is}, should be {vni}"));
    }
    let is = details.u16_be(IFLA_VXLAN_PORT).unwrap_or(0);
    if is != vxlan.port {
        sentences.push(format!("made with port {is}, should be {}", vxlan.port));
    }
    let is = details.address(IFLA_VXLAN_LOCAL).or_else(|| details.address(IFLA_VXLAN_LOCAL6));
    if is != Some(vxlan.local) {
        let is = is.map_or("no address".to_owned(), |is| is.to_string());
        sentences.push(format!("made with local {is}, should be {}", vxlan.local));
    }
    if found.mac != Some(vxlan.mac) {
        let is = found.mac.map_or("no MAC".to_owned(), |mac| format!("MAC {mac}"));
        sentences.push(format!("made with {is}, should be {}", vxlan.mac));
    }
    if details.u8(IFLA_VXLAN_LEARNING) != Some(0) {
        sentences.push("made with learning, should be nolearning".to_owned());
    }
    if details.u32(IFLA_VXLAN_LINK).is_some_and(|index| index != 0) {
        sentences.push("made on an underlay link, should be on none".to_owned());
    }
    let elsewhere = root.netns.inode() != place.netns.inode();
    if elsewhere && found.below_namespace.is_none() {
        sentences.push("made in the egret namespace, should be in the node's".to_owned());
    }
    sentences
}

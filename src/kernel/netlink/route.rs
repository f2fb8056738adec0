//! Routes of ours, the routes of table main, and where the kernel would send a packet.

use std::net::IpAddr;

use egret_egress::kernel::MainRoute;
use egret_egress::object::{Route, RouteAction};
use egret_types::{Family, IfIndex, LinkName, Prefix, ours};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use nix::errno::Errno;
use nix::libc;

use super::attribute::{self, Attributes, u16_at, u32_at};
use super::{address_family, family_of, link, socket::Socket};
use crate::error::{Error, refused_with};

const HEADER: usize = 12;
const NEXT_HOP_HEADER: usize = 8;
/// What the kernel makes of metric 0 for IPv6 (`IP6_RT_PRIO_USER`).
const METRIC_DEFAULT_V6: u32 = 1024;

/// A next hop as it was found.
#[derive(Clone, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    link: u32,
}

/// A route as it was found.
struct Found {
    table: u32,
    destination: Prefix,
    metric: u32,
    protocol: u8,
    kind: RouteType,
    hops: Vec<Hop>,
    source: Option<IpAddr>,
}

impl Found {
    /// `None` also for what no route of ours can be equal to or in the way of: cached routes, and
    /// those for one type of service or one source network.
    fn parse(payload: &[u8]) -> Option<Self> {
        let header = RouteHeader::parse(payload).ok()?;
        let particular = header.tos != 0 || header.source_prefix_length != 0;
        if particular || header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let family = family_of(header.address_family)?;
        let attributes = Attributes::behind(HEADER, payload);
        let destination = attributes.address(libc::RTA_DST).unwrap_or(family.address(0));
        Some(Self {
            table: attributes.u32(libc::RTA_TABLE).unwrap_or(u32::from(header.table)),
            destination: Prefix::containing(destination, header.destination_prefix_length)?,
            metric: attributes.u32(libc::RTA_PRIORITY).unwrap_or(0),
            protocol: header.protocol.into(),
            kind: header.kind,
            hops: hops(attributes),
            source: attributes.address(libc::RTA_PREFSRC),
        })
    }

    fn has_key_of(&self, route: &Route) -> bool {
        self.table == route.table
            && self.destination == route.destination
            && self.metric == metric(route)
    }

    fn is(&self, route: &Route, link: Option<u32>) -> bool {
        let kind = self.kind == kind(&route.action) && self.protocol == ours::ROUTE_PROTOCOL;
        let hop =
            |address: Option<IpAddr>| link.is_some_and(|link| self.hops == [Hop { address, link }]);
        kind && match &route.action {
            RouteAction::Via { hop: address, source, .. } => {
                hop(Some(*address)) && self.source == *source
            }
            RouteAction::Direct { .. } => hop(None),
            // For IPv6 the kernel names loopback as their link.
            RouteAction::Throw | RouteAction::Prohibit | RouteAction::Unreachable => true,
        }
    }

    /// As `ip route` shows it.
    fn describe(&self, socket: &Socket) -> Result<String, Error> {
        let mut words = vec![];
        if self.kind != RouteType::Unicast {
            words.push(format!("{:?}", self.kind).to_lowercase());
        }
        for hop in &self.hops {
            words.extend(hop.address.map(|address| format!("via {address}")));
            let link = link::find_index(socket, hop.link)?;
            words.push(link.map_or("dev ?".to_owned(), |link| format!("dev {}", link.name)));
        }
        words.extend(self.source.map(|source| format!("src {source}")));
        words.push(format!("proto {}", self.protocol));
        Ok(words.join(" "))
    }
}

/// # Guarantees
/// One route with its table, destination and metric, as given. In a table of our own whatever has
/// this key is replaced; in another one (main) only what is ours.
pub(crate) fn ensure(socket: &Socket, route: &Route) -> Result<(), Error> {
    let link = link_of(&route.action).map(|name| link::need(socket, name)).transpose()?;
    let index = link.map(|link| link.index);
    let message = message(route, index);
    let result = socket.change(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &message);
    if !refused_with(&result, &[Errno::EEXIST]) {
        return result;
    }
    let found = with_key_of(socket, route)?;
    if found.iter().any(|found| found.is(route, index)) {
        return Ok(());
    }
    let foreign = found.iter().find(|found| found.protocol != ours::ROUTE_PROTOCOL);
    match foreign.filter(|_| route.table != ours::ROUTE_TABLE) {
        Some(foreign) => Err(Error::Taken { found: foreign.describe(socket)? }),
        None => socket.change(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &message),
    }
}

/// By key, and only what is ours.
pub(crate) fn remove(socket: &Socket, route: &Route) -> Result<(), Error> {
    // To the kernel metric 0 means "any": without this look, removing a route that is gone would
    // remove the one with the same destination and a higher metric.
    let found = with_key_of(socket, route)?;
    if !found.iter().any(|found| found.protocol == ours::ROUTE_PROTOCOL) {
        return Ok(());
    }
    let mut message = key(route);
    message.header.scope = RouteScope::NoWhere;
    let result = socket.change(libc::RTM_DELROUTE, 0, &message);
    if refused_with(&result, &[Errno::ESRCH]) { Ok(()) } else { result }
}

pub(crate) fn differences(socket: &Socket, route: &Route) -> Result<Vec<String>, Error> {
    let mut index = None;
    if let Some(name) = link_of(&route.action) {
        match link::find(socket, name)? {
            Some(found) => index = Some(found.index),
            None => return Ok(vec![format!("{route}: missing, like its link")]),
        }
    }
    let found = with_key_of(socket, route)?;
    if found.iter().any(|found| found.is(route, index)) {
        return Ok(vec![]);
    }
    Ok(vec![match found.first() {
        Some(other) => format!("{route}: is {}", other.describe(socket)?),
        None => format!("{route}: missing"),
    }])
}

/// The routes of table main of both families that lead to a link.
pub(crate) fn list_main(socket: &Socket) -> Result<Vec<MainRoute>, Error> {
    let mut routes = vec![];
    for family in Family::BOTH {
        let found = list(socket, family, u32::from(RouteHeader::RT_TABLE_MAIN))?;
        for route in found.into_iter().filter(|route| route.kind == RouteType::Unicast) {
            routes.extend(route.hops.iter().map(|hop| MainRoute {
                destination: route.destination,
                hop: hop.address,
                link: IfIndex(hop.link),
                metric: route.metric,
            }));
        }
    }
    Ok(routes)
}

/// The link to which `ip route get ADDRESS` leads.
pub(crate) fn link_toward(socket: &Socket, address: IpAddr) -> Result<IfIndex, Error> {
    let answer = get(socket, address)?;
    let link = Attributes::behind(HEADER, &answer).u32(libc::RTA_OIF);
    link.map(IfIndex).ok_or(Error::Malformed { what: "link of the route" })
}

/// Whether what is sent to an address is for this namespace itself.
pub(crate) fn is_local(socket: &Socket, address: IpAddr) -> Result<bool, Error> {
    let answer = get(socket, address);
    if refused_with(&answer, &[Errno::ENETUNREACH, Errno::EHOSTUNREACH]) {
        return Ok(false);
    }
    let header = RouteHeader::parse(&answer?);
    Ok(header.is_ok_and(|header| header.kind == RouteType::Local))
}

/// `ip route get ADDRESS`
fn get(socket: &Socket, address: IpAddr) -> Result<Vec<u8>, Error> {
    let family = Family::of(address);
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.destination_prefix_length = family.bits();
    message.attributes = vec![RouteAttribute::Destination(route_address(address))];
    socket.get(libc::RTM_GETROUTE, &message)
}

fn with_key_of(socket: &Socket, route: &Route) -> Result<Vec<Found>, Error> {
    let mut found = list(socket, route.destination.family(), route.table)?;
    found.retain(|found| found.has_key_of(route));
    Ok(found)
}

fn list(socket: &Socket, family: Family, table: u32) -> Result<Vec<Found>, Error> {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.attributes = vec![RouteAttribute::Table(table)];
    let parse = |payload: &[u8]| Found::parse(payload).filter(|found| found.table == table);
    let result = socket.list(libc::RTM_GETROUTE, &message, parse);
    // A table without routes does not exist; nor does any where IPv6 is off.
    let none = [Errno::ENOENT, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP];
    if refused_with(&result, &none) { Ok(vec![]) } else { result }
}

/// A next hop of the other family (`linux/rtnetlink.h`); musl's libc does not name it.
const RTA_VIA: u16 = 18;

/// `RTA_OIF` with `RTA_GATEWAY` or `RTA_VIA`, or `RTA_MULTIPATH` with several of them.
fn hops(attributes: Attributes<'_>) -> Vec<Hop> {
    let hop = |attributes: Attributes<'_>, link| {
        let of_other_family = || attribute::address(attributes.bytes(RTA_VIA)?.get(2..)?);
        let address = attributes.address(libc::RTA_GATEWAY).or_else(of_other_family);
        Hop { address, link }
    };
    let mut hops: Vec<Hop> =
        attributes.u32(libc::RTA_OIF).map(|link| hop(attributes, link)).into_iter().collect();
    let mut rest = attributes.bytes(libc::RTA_MULTIPATH).unwrap_or_default();
    while let (Some(length), Some(link)) = (u16_at(rest, 0), u32_at(rest, 4)) {
        let length = usize::from(length);
        let Some(one) = rest.get(..length).filter(|one| one.len() >= NEXT_HOP_HEADER) else {
            break;
        };
        hops.push(hop(Attributes::behind(NEXT_HOP_HEADER, one), link));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn link_of(action: &RouteAction) -> Option<&LinkName> {
    match action {
        RouteAction::Via { link, .. } | RouteAction::Direct { link } => Some(link),
        RouteAction::Throw | RouteAction::Prohibit | RouteAction::Unreachable => None,
    }
}

fn metric(route: &Route) -> u32 {
    match route.destination.family() {
        Family::V6 if route.metric == 0 => METRIC_DEFAULT_V6,
        _ => route.metric,
    }
}

fn kind(action: &RouteAction) -> RouteType {
    match action {
        RouteAction::Via { .. } | RouteAction::Direct { .. } => RouteType::Unicast,
        RouteAction::Throw => RouteType::Throw,
        RouteAction::Prohibit => RouteType::Prohibit,
        RouteAction::Unreachable => RouteType::Unreachable,
    }
}

/// What finds a route of ours: `DESTINATION table TABLE metric METRIC proto PROTOCOL`.
fn key(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(route.destination.family());
    message.header.destination_prefix_length = route.destination.length();
    message.header.protocol = RouteProtocol::Other(ours::ROUTE_PROTOCOL);
    message.attributes = vec![
        RouteAttribute::Destination(route_address(route.destination.address())),
        RouteAttribute::Table(route.table),
    ];
    let metric = Some(metric(route)).filter(|metric| *metric != 0);
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    message
}

fn message(route: &Route, link: Option<u32>) -> RouteMessage {
    let mut message = key(route);
    message.header.kind = kind(&route.action);
    message.attributes.extend(link.map(RouteAttribute::Oif));
    match &route.action {
        RouteAction::Via { hop, source, .. } => {
            message.header.flags = RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Gateway(route_address(*hop)));
            let source = source.map(|source| RouteAttribute::PrefSource(route_address(source)));
            message.attributes.extend(source);
        }
        RouteAction::Direct { .. } => message.header.scope = RouteScope::Link,
        RouteAction::Throw | RouteAction::Prohibit | RouteAction::Unreachable => {}
    }
    message
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

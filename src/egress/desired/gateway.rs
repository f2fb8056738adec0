//! The gateway side of a node: the uplink with its egress addresses, the routes back to pods, and
//! the nft tables of `gateway_frames` and `gateway_packets`. It keeps nothing per pod.

use std::net::IpAddr;

use egret_types::{DualStack, Family, Identity, LinkName, NodeId, Prefix, ours};

use super::gateway_frames::netdev;
use super::gateway_packets::inet;
use super::share::CLOSED_SECONDS;
use super::tunnel::{NodeFacts, tunnel_name};
use crate::object::{
    Address, Announce, Fdb, Macvlan, Neighbour, Object, Place, Placed, Route, RouteAction, Sysctl,
};

/// Routing table main.
const MAIN: u32 = 254;

/// What a gateway node must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayFacts {
    /// This node.
    pub node: NodeFacts,
    /// Every node whose pods it serves, itself included.
    pub peers: Vec<Peer>,
    /// Networks of pods: what is sent back into the tunnel.
    pub pods: Vec<Prefix>,
    /// The way out.
    pub uplink: UplinkFacts,
    /// The egress pairs that it owns.
    pub pairs: Vec<OwnedPair>,
    /// Entries of the connection tracking table (`net.netfilter.nf_conntrack_max`).
    pub flows: u32,
}

/// A node that sends to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub id: NodeId,
    /// Its VTEP in the outer family.
    pub vtep: IpAddr,
    /// The inner sources it may send; none given: any.
    pub pod_cidrs: Vec<Prefix>,
}

/// The link to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkFacts {
    /// The link of the root namespace below it.
    pub parent: LinkName,
    /// Addresses of its own, with the length of their network.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Networks that are reached without a next hop.
    pub connected: Vec<Prefix>,
    /// Where the rest goes, at most one of a family.
    pub next_hops: Vec<IpAddr>,
}

/// An egress pair that this gateway answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPair {
    /// Its number on the wire.
    pub identity: Identity,
    /// Its addresses.
    pub pair: DualStack<IpAddr>,
}

/// The link to the outside in the egret namespace.
pub fn uplink_name() -> LinkName {
    ours::link(ours::UPLINK)
}

/// Everything of the gateway side, in the order in which it must come: filters before what brings
/// packets to them, the ways out last. By then the egress addresses must be there: the uplink has no
/// link-local one, and so IPv6 asks for a next hop in the name of the packet that waits for it. If
/// its source is no address of the link, the kernel asks nobody and tries again a second later.
pub fn gateway(facts: &GatewayFacts) -> Vec<Placed> {
    let parent = facts.uplink.parent.clone();
    let mut objects = vec![Object::Macvlan(Macvlan { name: uplink_name(), parent })];
    objects.extend([Object::Nft(netdev(facts)), Object::Nft(inet(facts))]);
    objects.extend(sysctls());
    objects.extend(Family::BOTH.map(return_hop));
    objects.extend(facts.pods.iter().map(|network| return_route(*network)));
    objects.extend(facts.peers.iter().map(peer_fdb));
    objects.extend(egress_addresses(&facts.pairs));
    // A given address brings the route to its network along.
    objects.extend(own_addresses(&facts.uplink).chain(uplink_routes(&facts.uplink)));
    objects.into_iter().map(|object| Placed { place: Place::Egret, object }).collect()
}

/// Parameters of the namespace. They go with it, so no former value is kept.
fn sysctls() -> impl Iterator<Item = Object> {
    let uplink = ours::UPLINK;
    let tunnel = ours::TUNNEL_LINK;
    [
        ("net/ipv4/ip_forward".to_owned(), "1"),
        ("net/ipv6/conf/all/forwarding".to_owned(), "1"),
        // An error about a forwarded packet finds its node by that packet's mark.
        ("net/ipv4/fwmark_reflect".to_owned(), "1"),
        ("net/ipv6/fwmark_reflect".to_owned(), "1"),
        // A flow that another gateway began is no reason to drop it.
        ("net/netfilter/nf_conntrack_tcp_be_liberal".to_owned(), "1"),
        // Closed connections are in nobody's share, see `share`.
        ("net/netfilter/nf_conntrack_tcp_timeout_time_wait".to_owned(), CLOSED_SECONDS),
        ("net/netfilter/nf_conntrack_tcp_timeout_close".to_owned(), CLOSED_SECONDS),
        // Inner sources come from the tunnel whatever the routes say; each is checked by identity.
        ("net/ipv4/conf/all/rp_filter".to_owned(), "0"),
        (format!("net/ipv4/conf/{tunnel}/rp_filter"), "0"),
        (format!("net/ipv4/conf/{uplink}/rp_filter"), "0"),
        // The machine's value is handed down: a packet that says itself where it goes next would go
        // where the pod's decision does not let it.
        ("net/ipv4/conf/all/accept_source_route".to_owned(), "0"),
        // A gateway is told its routes; nobody outside tells it others.
        ("net/ipv4/conf/all/accept_redirects".to_owned(), "0"),
        (format!("net/ipv4/conf/{uplink}/accept_redirects"), "0"),
        ("net/ipv4/conf/all/send_redirects".to_owned(), "0"),
        (format!("net/ipv4/conf/{uplink}/send_redirects"), "0"),
        (format!("net/ipv4/conf/{tunnel}/send_redirects"), "0"),
        (format!("net/ipv6/conf/{uplink}/accept_ra"), "0"),
        (format!("net/ipv6/conf/{uplink}/accept_redirects"), "0"),
        (format!("net/ipv6/conf/{uplink}/accept_dad"), "0"),
    ]
    .into_iter()
    .map(|(path, value)| Object::Sysctl(Sysctl { path, value: value.into(), was: None }))
}

fn return_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => ours::RETURN_HOP_V4.into(),
        Family::V6 => ours::RETURN_HOP_V6.into(),
    }
}

fn return_hop(family: Family) -> Object {
    let address = return_address(family);
    Object::Neighbour(Neighbour { link: tunnel_name(), address, mac: ours::RETURN_HOP_MAC })
}

/// `ip route add <pods> via 169.254.230.1 dev egret0 onlink`: one route, whatever node a pod is on.
fn return_route(destination: Prefix) -> Object {
    let hop = return_address(destination.family());
    let action = RouteAction::Via { hop, link: tunnel_name(), source: None };
    Object::Route(Route { table: MAIN, destination, action, metric: 0 })
}

fn peer_fdb(peer: &Peer) -> Object {
    Object::Fdb(Fdb { link: tunnel_name(), mac: peer.id.mac(), vtep: peer.vtep })
}

fn own_addresses(uplink: &UplinkFacts) -> impl Iterator<Item = Object> {
    uplink.addresses.iter().map(|(address, length)| uplink_address(*address, *length))
}

fn uplink_address(address: IpAddr, length: u8) -> Object {
    Object::Address(Address { link: uplink_name(), address, length, announce: Announce::Yes })
}

fn uplink_routes(uplink: &UplinkFacts) -> impl Iterator<Item = Object> {
    let main =
        |destination, action| Object::Route(Route { table: MAIN, destination, action, metric: 0 });
    let connected = uplink
        .connected
        .iter()
        .map(move |network| main(*network, RouteAction::Direct { link: uplink_name() }));
    let default = uplink.next_hops.iter().map(move |hop| {
        let action = RouteAction::Via { hop: *hop, link: uplink_name(), source: None };
        main(Prefix::all(Family::of(*hop)), action)
    });
    connected.chain(default)
}

fn egress_addresses(pairs: &[OwnedPair]) -> impl Iterator<Item = Object> {
    pairs.iter().flat_map(|owned| {
        let host = |(family, address): (Family, &IpAddr)| uplink_address(*address, family.bits());
        owned.pair.iter().map(host).collect::<Vec<_>>()
    })
}

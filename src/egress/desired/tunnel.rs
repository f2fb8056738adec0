//! What both roles of a node share: the tunnel link in the egret namespace, and the one ingress
//! chain on it that tells frames for the worker side from frames for the gateway side.

use std::net::IpAddr;

use egret_types::{Identity, LinkName, Mtu, NodeId, Vni, ours};

use super::{Policy, Removal, base, drop_counted, mac_is};
use crate::nft::{Chain, Constant, Expr, Field, HookPoint, Op, Ruleset, TableFamily};
use crate::object::{Fdb, Object, Place, Placed, Vxlan};

/// What is true of this node whatever pod or role is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its number.
    pub id: NodeId,
    /// Its VTEP, in the outer family of the cluster.
    pub vtep: IpAddr,
    /// VXLAN network identifier.
    pub vni: Vni,
    /// UDP port of the tunnel.
    pub port: u16,
    /// MTU inside the tunnel.
    pub mtu: Mtu,
}

/// The name of the tunnel link.
pub fn tunnel_name() -> LinkName {
    // The constant is a valid name, shown by a test of this file.
    ours::link(ours::TUNNEL_LINK)
}

/// `ip netns add egret`
pub fn egret_namespace() -> Placed {
    Placed { place: Place::Egret, object: Object::Namespace }
}

/// `ip link add egret0 netns <egret> type vxlan id <vni> dstport <port> local <vtep> nolearning`,
/// made from the root namespace, where its socket stays.
pub fn tunnel_link(node: &NodeFacts) -> Placed {
    let vxlan = Vxlan {
        name: tunnel_name(),
        mac: node.id.mac(),
        vni: node.vni,
        port: node.port,
        local: node.vtep,
        mtu: node.mtu,
    };
    Placed { place: Place::Egret, object: Object::Vxlan(vxlan) }
}

/// The ingress chain of the tunnel link. The chains it jumps to exist, empty or filled: each role
/// owns its own.
pub fn space(node: NodeId) -> Placed {
    let exists = |name: &str| Chain { rules: None, ..super::chain(name, vec![], Removal::Keep) };
    let ingress = base("egret0", HookPoint::Ingress(tunnel_name()), 0, Policy::Drop).rules(vec![
        // ether daddr <this node> jump worker
        vec![mac_is(Field::EtherDaddr, Op::Is, node.mac()), Expr::Jump("worker".into())],
        // @ll,0,16 0x02e6 jump gateway
        vec![to_an_identity(), Expr::Jump("gateway".into())],
        drop_counted(),
    ]);
    let ruleset = Ruleset {
        family: TableFamily::Netdev,
        table: ours::NFT_TABLE.into(),
        sets: vec![],
        chains: vec![exists("worker"), exists("gateway"), ingress],
        elements: vec![],
    };
    Placed { place: Place::Egret, object: Object::Nft(ruleset) }
}

/// The frame is addressed to an identity, of whatever pool.
pub(super) fn to_an_identity() -> Expr {
    let prefix = Constant::Bytes(ours::IDENTITY_MAC_PREFIX.to_vec());
    Expr::Match(Field::EtherDaddrPrefix, Op::Is, prefix)
}

/// Where frames of an identity go: the gateway node that owns it now. Changing this one entry is
/// the whole failover of an egress IP on a worker.
pub fn identity_fdb(identity: Identity, gateway: IpAddr) -> Placed {
    let fdb = Fdb { link: tunnel_name(), mac: identity.mac(), vtep: gateway };
    Placed { place: Place::Egret, object: Object::Fdb(fdb) }
}

/// The entries of these that belong to the worker side: those of identities. The gateway side has
/// those of nodes.
pub fn identities_of(entries: Vec<Fdb>) -> Vec<Placed> {
    let identity = |entry: &Fdb| entry.mac.0.starts_with(&ours::IDENTITY_MAC_PREFIX);
    let placed = |entry| Placed { place: Place::Egret, object: Object::Fdb(entry) };
    entries.into_iter().filter(identity).map(placed).collect()
}

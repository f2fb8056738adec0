//! What is shared on a node, for taking it away: a removal goes by name, so the node's own facts do
//! not matter, and neither does whether the resources can still be read.

use std::net::{IpAddr, Ipv4Addr};

use egret_types::{Family, Mtu, NodeId, Vni, ours};

use super::{
    GatewayFacts, Names, NodeFacts, Policy, UplinkFacts, base, egret_namespace, gateway, pod_guard,
    pod_guard_tables, space, tunnel_guard, tunnel_link, worker,
};
use crate::nft::{HookPoint, Ruleset, TableFamily};
use crate::object::{Object, Place, Placed, Veth};

/// Everything that attachments and roles stand on, in the order in which it is made.
pub fn shared_by_name() -> Vec<Placed> {
    let node = nobody();
    let mut all = Vec::from(pod_guard_tables());
    all.extend([
        tunnel_guard(node.id, node.port, Family::V4, &[], &[]),
        egret_namespace(),
        tunnel_link(&node),
        space(node.id),
        worker_by_name(),
    ]);
    all
}

/// The worker side alone.
pub fn worker_by_name() -> Placed {
    worker(nobody().id)
}

/// The gateway side of which no record is left: its uplink, which takes addresses and routes along,
/// and its filters.
pub fn gateway_by_name() -> Vec<Placed> {
    gateway(&GatewayFacts {
        node: nobody(),
        peers: vec![],
        pods: vec![],
        uplink: UplinkFacts {
            parent: ours::link("lo"),
            addresses: vec![],
            connected: vec![],
            next_hops: vec![],
        },
        pairs: vec![],
        flows: 0,
    })
}

/// An attachment of which no record is left: its link, which takes the pod's end and its routes
/// along, the chain on it, and its guard. Elements of maps that name a link that is gone go with the
/// table.
pub fn attachment_by_name(names: &Names) -> Vec<Placed> {
    let node = nobody();
    let veth = Veth {
        name: names.pod.clone(),
        mac: node.id.mac(),
        peer: names.node.clone(),
        mtu: node.mtu,
    };
    let ingress = HookPoint::Ingress(names.node.clone());
    let ruleset = Ruleset {
        family: TableFamily::Netdev,
        table: ours::NFT_TABLE.into(),
        sets: vec![],
        chains: vec![base(names.node.as_str(), ingress, 0, Policy::Drop)],
        elements: vec![],
    };
    let placed = |place, object| Placed { place, object };
    let mut objects = pod_guard::by_name(names);
    objects.push(placed(Place::Pod, Object::Veth(veth)));
    objects.push(placed(Place::Egret, Object::Nft(ruleset)));
    objects
}

fn nobody() -> NodeFacts {
    NodeFacts {
        id: NodeId::MIN,
        vtep: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        vni: Vni::DEFAULT,
        port: ours::PORT,
        mtu: Mtu::MIN,
    }
}

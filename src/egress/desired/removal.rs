//! What is shared on a node, for taking it away: a removal goes by name, so the node's own facts do
//! not matter, and neither does whether the resources can still be read.

use std::net::{IpAddr, Ipv4Addr};

use egret_types::{Family, Mtu, NodeId, Vni, ours};

use super::{NodeFacts, egret_namespace, space, tunnel_guard, tunnel_link, worker};
use crate::object::Placed;

/// Everything that attachments and roles stand on, in the order in which it is made.
pub fn shared_by_name() -> Vec<Placed> {
    let node = nobody();
    vec![
        tunnel_guard(node.id, node.port, Family::V4, &[], &[]),
        egret_namespace(),
        tunnel_link(&node),
        space(node.id),
        worker_by_name(),
    ]
}

/// The worker side alone.
pub fn worker_by_name() -> Placed {
    worker(nobody().id)
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

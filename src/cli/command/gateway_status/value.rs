//! The answer of `egretctl gateway status`. Field names are those of the JSON form.

use std::net::IpAddr;

use egret_types::NodeId;
use serde::Serialize;

use super::drops::Drop;

/// The state of the gateway side of a node.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) node: String,
    /// A `gateway up` has been run and no `gateway down` since.
    pub(super) up: bool,
    pub(super) gateways: Vec<GatewayStatus>,
    pub(super) uplink: UplinkStatus,
    /// Absent while the namespace does not exist.
    pub(super) conntrack: Option<Fill>,
    /// The egress pairs that this node really serves.
    pub(super) pairs: Vec<PairStatus>,
    pub(super) nodes: Vec<NodeStatus>,
    pub(super) tunnel: TunnelStatus,
    pub(super) drops: Vec<Drop>,
    /// Live flows of which packets are dropped because they are another tenant's: a pod got the
    /// address of their owner, and opens the same ones.
    pub(super) blocked_flows: u64,
    pub(super) problems: Vec<String>,
}

/// One gateway of which this node is a member.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayStatus {
    pub(super) name: String,
    /// The member that the files give the egress IPs: the first.
    pub(super) owner: String,
    /// What this node is to it now.
    pub(super) here: Here,
    pub(super) members: Vec<String>,
    pub(super) pools: Vec<String>,
}

/// What a node is to a gateway: by the files first or not, serving its egress IPs or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Here {
    /// First, and serving.
    Owner,
    /// Not first, and serving all the same (`--take`, or the files were changed since).
    Taken,
    /// Neither.
    Standby,
    /// First, but not serving.
    Missing,
}

/// The way to the outside.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UplinkStatus {
    /// The link of the root namespace below it; absent where nothing says which.
    pub(super) parent: Option<String>,
    /// Of the parent.
    pub(super) state: ParentState,
    /// Addresses of its own.
    pub(super) addresses: Vec<String>,
    /// How many egress addresses are on it.
    pub(super) egress_addresses: usize,
    pub(super) next_hops: Vec<IpAddr>,
}

/// Whether the parent of the uplink can carry frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ParentState {
    Up,
    /// Nothing is at its other end.
    NoCarrier,
    Down,
    /// There is no such link.
    Missing,
}

/// Entries of the connection tracking table of the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fill {
    pub(super) count: u64,
    pub(super) max: u64,
}

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// An egress pair, with what went through it since it was taken.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PairStatus {
    /// As in `ct mark`, eight hexadecimal digits.
    pub(super) identity: String,
    /// Absent where the files have no such pool any more.
    pub(super) pool: Option<String>,
    pub(super) index: u32,
    pub(super) ipv4: Option<IpAddr>,
    pub(super) ipv6: Option<IpAddr>,
    pub(super) sent: Count,
    pub(super) received: Count,
    /// Live entries of connection tracking.
    pub(super) flows: u64,
    /// First packets dropped because its flows fill its share of the table.
    pub(super) over_share: u64,
}

/// A node that may send.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeStatus {
    pub(super) name: String,
    pub(super) id: NodeId,
    /// Frames that came with its MAC, and their bytes.
    pub(super) frames: Count,
    pub(super) sources: Sources,
    /// Frames refused because their inner source is not in its `podCIDRs`.
    pub(super) refused: u64,
}

/// Which inner sources a node may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Sources {
    /// Those of its `podCIDRs`.
    Checked,
    /// It has none.
    Any,
}

/// Packets of the tunnel.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TunnelStatus {
    /// That the tunnel guard let in.
    pub(super) accepted: u64,
}

impl PairStatus {
    /// Whether anything has met it.
    pub(super) fn is_used(&self) -> bool {
        self.sent.packets + self.received.packets + self.flows + self.over_share > 0
    }
}

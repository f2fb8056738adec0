//! Why a command could not look or act.

use std::path::PathBuf;

use egret_egress::kernel::Failure;
use egret_egress::topology::TopologyError;
use egret_egress::underlay::UnderlayError;
use egret_ipam::Lease;
use egret_types::{
    Attachment, ContainerId, Family, GatewayName, LinkName, NodeName, PoolId, PoolName,
};

use crate::args::PairArg;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("read {}: {source}", file.display())]
    ReadConfig { file: PathBuf, source: std::io::Error },
    #[error("{}: {source}", file.display())]
    ParseConfig { file: PathBuf, source: serde_json::Error },
    #[error("{}: no plugin of type \"egret\" in it, and no \"ipam\" of type \"egret-ipam\"", file.display())]
    NoPlugin { file: PathBuf },
    #[error("read the host name: {0}")]
    HostName(nix::errno::Errno),
    #[error("the host name is no node name, use --node or set nodeName: {0}")]
    NodeName(#[from] egret_types::Invalid),
    #[error("{0}")]
    Resources(#[from] egret_store::resource_dir::LoadError),
    #[error("{0}")]
    Topology(#[from] TopologyError),
    #[error("{0}")]
    Underlay(#[from] UnderlayError),
    #[error("{0}")]
    Kernel(#[from] Failure),
    #[error("{0}")]
    Store(#[from] egret_store::Error),
    #[error("{0}")]
    Holder(#[from] egret_ipam::PortError),
    #[error("{0}")]
    Ipam(#[from] egret_ipam::IpamError),
    #[error("{} cannot be read any more, and keeps its pair from others", .0.display())]
    DamagedRecord(PathBuf),
    #[error("{0} holds a lease that does not exist; see egretctl gc")]
    StrayHolder(Attachment),
    #[error("pool {name} (id {}) has {leases} leases on this node and is in no resource", id.number())]
    NoSuchPool { id: PoolId, name: PoolName, leases: usize },
    #[error("there is no lease on {pair} of pool {pool}")]
    NoLease { pool: PoolName, pair: PairArg },
    #[error("{attachment} uses the {lease}: delete the pod first")]
    LeaseInUse { lease: Box<Lease>, attachment: Attachment },
    #[error(
        "somebody uses the {0}, or the record of a holder is damaged and nobody knows: not released"
    )]
    LeaseHeld(Box<Lease>),
    #[error("somebody changed the {0} meanwhile: not released, try again")]
    LeaseChanged(Box<Lease>),
    #[error("egress address {address} is {what}: exclude it from its pool")]
    TakenAddress { address: std::net::IpAddr, what: String },
    #[error("no attachment of container {0} is recorded on this node")]
    NoAttachment(ContainerId),
    #[error("node {0} is no member of any EgressGateway")]
    NoMember(NodeName),
    #[error(
        "node {0} is no member of any EgressGateway, and yet a gateway is up here: `egretctl gateway down` gives its egress IPs up"
    )]
    NoMemberAndUp(NodeName),
    #[error(
        "node {node} is not the first member of gateway {gateway}, {first} is: reorder the members, or use --take to take its egress IPs although the workers still send to {first}"
    )]
    NotFirst { node: NodeName, gateway: GatewayName, first: NodeName },
    #[error(
        "node {node} is not the first member of gateway {gateway}, {first} is, and yet a gateway is up here: `egretctl gateway down` gives its egress IPs up, --take keeps them although the workers send to {first}"
    )]
    NotFirstAndUp { node: NodeName, gateway: GatewayName, first: NodeName },
    #[error("gateways {first} and {second} want different uplinks on this node; one is possible")]
    TwoUplinks { first: GatewayName, second: GatewayName },
    #[error("gateway {0} has no uplink interface on this node: set uplink.interface")]
    NoUplink(GatewayName),
    #[error("uplink interface {interface} of gateway {gateway} does not exist on this node")]
    NoSuchLink { gateway: GatewayName, interface: LinkName },
    #[error(
        "uplink interface {interface} has no {family} network and no {family} default route, which the pools need: set uplink.addresses and uplink.nextHops"
    )]
    NoWayOut { interface: LinkName, family: Family },
    #[error(
        "this kernel tracks no connections (no net.netfilter.nf_conntrack_max): run modprobe nf_conntrack"
    )]
    NoConnectionTracking,
    #[error("there is no gateway to serve")]
    Nothing,
    #[error("gateway {0} serves no pool")]
    NoPool(GatewayName),
    #[error("print the answer: {0}")]
    Print(std::io::Error),
}

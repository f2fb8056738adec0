//! `EgressCluster`: the facts that every node shares.

use egret_types::{Invalid, Mtu, Prefix, Vni};

use crate::{
    Problem,
    cursor::{Cursor, Fields, Keys},
    problem::Problems,
};

/// The facts that every node shares. Without the resource: every default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressCluster {
    /// `clusterCIDRs`: pod networks, never steered; added to the detected ones.
    pub cluster_cidrs: Vec<Prefix>,
    /// `serviceCIDRs`: `None` when nobody said anything, empty when it says "there is none".
    pub service_cidrs: Option<Vec<Prefix>>,
    /// `nodeCIDRs`: nodes and API endpoints, never steered.
    pub node_cidrs: Vec<Prefix>,
    /// `autoDetect`: cluster networks are also looked for on the node.
    pub auto_detect: bool,
    /// `tunnel`.
    pub tunnel: Tunnel,
    /// `guard`.
    pub guard: Guard,
}

/// The VXLAN tunnel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// `vni`.
    pub vni: Vni,
    /// `port`, UDP.
    pub port: u16,
    /// `mtu`: `None` is computed from the underlay link of each node.
    pub mtu: Option<Mtu>,
}

/// Host-side enforcement on the primary link of a selected pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Without it no pod is attached. The default.
    Required,
    /// Where the primary link lets it.
    BestEffort,
    /// None.
    Off,
}

struct Port(u16);

impl TryFrom<u32> for Port {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(Self(port)),
            _ => Err(Invalid::new(number.to_string(), "a UDP port (1 to 65535)")),
        }
    }
}

const SPEC: Keys = Keys {
    honoured: &["clusterCIDRs", "serviceCIDRs", "nodeCIDRs", "autoDetect", "tunnel", "guard"],
    later: &["serviceExternalEndpoints"],
};
const TUNNEL: Keys = Keys { honoured: &["vni", "port", "mtu"], later: &[] };

pub(crate) fn read(spec: Cursor<'_>, problems: &mut Problems) -> Option<EgressCluster> {
    let spec = Fields::open(spec, &SPEC, problems)?;
    let default = EgressCluster::default();
    let auto_detect =
        spec.get("autoDetect").map_or(Some(default.auto_detect), |at| problems.keep(at.boolean()));
    let tunnel = spec.get("tunnel").map_or(Some(default.tunnel), |at| read_tunnel(at, problems));
    let guard = spec.get("guard").map_or(Some(default.guard), |at| read_guard(&at, problems));
    Some(EgressCluster {
        cluster_cidrs: read_cluster_networks(&spec, "clusterCIDRs", problems).unwrap_or_default(),
        service_cidrs: read_cluster_networks(&spec, "serviceCIDRs", problems),
        node_cidrs: read_cluster_networks(&spec, "nodeCIDRs", problems).unwrap_or_default(),
        auto_detect: auto_detect?,
        tunnel: tunnel?,
        guard: guard?,
    })
}

/// A list of networks; `None` when the key is absent.
pub(crate) fn read_networks(
    spec: &Fields<'_>,
    key: &str,
    problems: &mut Problems,
) -> Option<Vec<Prefix>> {
    Some(spec.get(key)?.list(NETWORKS, problems, read_network))
}

/// Likewise, of networks that are never steered: all addresses of a family would switch Egret off
/// for it without a word.
fn read_cluster_networks(
    spec: &Fields<'_>,
    key: &str,
    problems: &mut Problems,
) -> Option<Vec<Prefix>> {
    Some(spec.get(key)?.list(NETWORKS, problems, |item| {
        let network = read_network(item)?;
        if network.length() > 0 {
            return Ok(network);
        }
        let family = network.family();
        Err(item.problem(format!(
            "{network} is all of {family}: everything would be cluster traffic, and nothing steered"
        )))
    }))
}

const NETWORKS: &str = "a list of networks in CIDR notation";

fn read_network(item: &Cursor<'_>) -> Result<Prefix, Problem> {
    item.parse("a network in CIDR notation (address/length)")
}

fn read_tunnel(at: Cursor<'_>, problems: &mut Problems) -> Option<Tunnel> {
    let fields = Fields::open(at, &TUNNEL, problems)?;
    let default = Tunnel::default();
    let vni = fields.get("vni").map_or(Some(default.vni), |at| problems.keep(at.number()));
    let port = fields.get("port").map_or(Some(Port(default.port)), |at| problems.keep(at.number()));
    let mtu = fields.get("mtu").and_then(|at| problems.keep(at.number()));
    Some(Tunnel { vni: vni?, port: port?.0, mtu })
}

fn read_guard(at: &Cursor<'_>, problems: &mut Problems) -> Option<Guard> {
    const WORDS: [(&str, Guard); 3] =
        [("required", Guard::Required), ("best-effort", Guard::BestEffort), ("off", Guard::Off)];
    problems.keep(at.choice(&WORDS))
}

//! `egretctl status`: this node at a glance: its pods that leave through a gateway, the tunnel,
//! where the egress IPs are, what was dropped, and what is wrong. The gateway side of the node has
//! a status of its own.

mod drops;
mod value;

use std::collections::BTreeMap;
use std::time::Duration;

use egret_egress::apply;
use egret_egress::desired::tunnel_name;
use egret_egress::kernel::{Kernel, unless_gone};
use egret_egress::nft::TableFamily;
use egret_egress::object::Place;
use egret_egress::topology::Topology;
use egret_kernel::{LinuxKernel, Traffic};
use egret_types::ours;

use self::drops::Counted;
use self::value::{GatewayInUse, Guarded, Status, Tunnel};
use crate::args::Format;
use crate::attached::{self, Attached};
use crate::error::CliError;
use crate::node::{Local, Node, Records};
use crate::output::{self, Outcome};

/// Long enough for a handful of packets of a pod that talks.
const WINDOW: Duration = Duration::from_millis(500);
/// So many frames without any answer are no accident.
const UNANSWERED: u64 = 5;

/// Prints it. Resources that cannot be read are a problem like others, and hide nothing else.
pub(crate) fn run(
    local: &Local,
    node: Result<Node, CliError>,
    format: Format,
) -> Result<Outcome, CliError> {
    let mut problems = Vec::new();
    let node = told(node, &mut problems);
    let cluster = node.as_ref().and_then(|node| {
        let topology = told(node.topology(), &mut problems)?;
        Some(Cluster { node, topology })
    });
    let status = Status {
        node: node.as_ref().map(|node| node.name.to_string()),
        ..take(local, cluster.as_ref(), problems)?
    };
    match format {
        Format::Json => output::json(&status)?,
        Format::Table => status.print()?,
    }
    Ok(if status.problems.is_empty() { Outcome::Fine } else { Outcome::Problem })
}

/// What the resources say, where they say something.
struct Cluster<'a> {
    node: &'a Node,
    topology: Topology<'a>,
}

fn told<T>(answer: Result<T, CliError>, problems: &mut Vec<String>) -> Option<T> {
    answer.map_err(|error| problems.push(error.to_string())).ok()
}

/// All but the node's name; problems beside those that there are.
fn take(
    local: &Local,
    cluster: Option<&Cluster<'_>>,
    mut problems: Vec<String>,
) -> Result<Status, CliError> {
    let records = local.records()?;
    let mut kernel = local.kernel();
    let topology = cluster.map(|cluster| &cluster.topology);
    let attachments = attached::look_at_all(local, topology, &records.live)?;
    problems.extend(attachments.iter().flat_map(|attached: &Attached| {
        let name = attached.container_id.clone();
        attached.differences.iter().map(move |difference| format!("{name}: {difference}"))
    }));
    problems.extend(left_behind(&records));
    let tunnel = tunnel(&mut kernel)?;
    if let (Some(topology), true) = (topology, tunnel.is_some()) {
        problems.extend(guard(topology, &mut kernel)?);
    }
    let gateways = cluster.map(|cluster| gateways(cluster, &records)).unwrap_or_default();
    if let (Some(tunnel), false) = (&tunnel, attachments.is_empty()) {
        problems.extend(unanswered(&mut kernel, tunnel, &gateways)?);
    }
    Ok(Status {
        node: None,
        guard: Guarded::of(&attachments),
        gateways,
        attachments,
        tunnel,
        drops: drops::drops(&counted(&mut kernel)?),
        problems,
    })
}

fn counted(kernel: &mut LinuxKernel) -> Result<Counted, CliError> {
    let mut of = |place, family, table| unless_gone(kernel.counters(place, family, table));
    Ok(Counted {
        frames: of(Place::Egret, TableFamily::Netdev, ours::NFT_TABLE)?,
        tunnel: of(Place::Root, TableFamily::Inet, ours::NFT_TUNNEL_TABLE)?,
        sources: of(Place::Root, TableFamily::Netdev, ours::NFT_GUARD_TABLE)?,
        destinations: of(Place::Root, TableFamily::Inet, ours::NFT_GUARD_TABLE)?,
    })
}

/// What the tunnel guard is not.
fn guard(topology: &Topology<'_>, kernel: &mut LinuxKernel) -> Result<Vec<String>, CliError> {
    let wanted = match topology.tunnel_guard() {
        Err(error) => return Ok(vec![error.to_string()]),
        Ok(wanted) => wanted,
    };
    let found = apply::differences(kernel, &[wanted])?.into_iter();
    Ok(found.map(|it| format!("{it}; see egretctl repair")).collect())
}

/// Records that no running pod has.
fn left_behind(records: &Records) -> Vec<String> {
    let damaged = records.damaged.iter().map(|file| {
        format!("{}: this record of an attachment is damaged; see egretctl gc", file.display())
    });
    let dead = records
        .dead
        .iter()
        .map(|attachment| format!("{attachment}: recorded before the last boot; see egretctl gc"));
    damaged.chain(dead).collect()
}

fn tunnel(kernel: &mut LinuxKernel) -> Result<Option<Tunnel>, CliError> {
    let links = unless_gone(kernel.list_links(Place::Egret))?;
    let link = links.into_iter().find(|link| link.name == tunnel_name());
    let traffic = traffic(kernel)?;
    Ok(link.map(|link| Tunnel {
        up: link.up,
        mtu: link.mtu,
        port: link.vxlan.map_or(ours::PORT, |vxlan| vxlan.port),
        sent_packets: traffic.sent_packets,
        received_packets: traffic.received_packets,
    }))
}

fn traffic(kernel: &mut LinuxKernel) -> Result<Traffic, CliError> {
    let traffic = unless_gone(kernel.traffic(Place::Egret, &tunnel_name()))?;
    Ok(traffic.unwrap_or_default())
}

/// A tunnel that sends and gets nothing back: its port may be closed on the gateway, which only the
/// gateway can name for certain.
fn unanswered(
    kernel: &mut LinuxKernel,
    tunnel: &Tunnel,
    gateways: &[GatewayInUse],
) -> Result<Option<String>, CliError> {
    let before = traffic(kernel)?;
    let never = before.sent_packets >= UNANSWERED && before.received_packets == 0;
    let silent = never || {
        std::thread::sleep(WINDOW);
        let after = traffic(kernel)?;
        after.received_packets == before.received_packets
            && after.sent_packets - before.sent_packets >= UNANSWERED
    };
    let owner = |it: &GatewayInUse| Some(format!("{} ({})", it.owner.as_ref()?, it.vtep?));
    let owners: Vec<String> = gateways.iter().filter_map(owner).collect();
    let on = if owners.is_empty() { "the gateway".to_owned() } else { owners.join(", ") };
    Ok(silent.then(|| {
        format!(
            "the tunnel sends, and nothing comes back: is UDP port {} open on {on}? egretctl gateway \
             status there names a closed port, and what else it drops",
            tunnel.port
        )
    }))
}

/// The gateways of the pairs that pods of this node use, and the nodes that should have them.
fn gateways(Cluster { node, topology }: &Cluster<'_>, records: &Records) -> Vec<GatewayInUse> {
    let mut found: BTreeMap<String, GatewayInUse> = BTreeMap::new();
    for lease in records.live.iter().flat_map(|(_, record)| &record.leases) {
        let pool = node.resources.pools.iter().find(|pool| pool.name == lease.pool);
        let Some(gateway) = pool.and_then(|pool| pool.gateway()) else { continue };
        let owner = node.resources.gateways.iter().find(|it| it.name == *gateway);
        let entry = GatewayInUse {
            name: gateway.to_string(),
            owner: owner.and_then(|it| it.members.first()).map(ToString::to_string),
            vtep: topology.owner(&lease.pool).ok(),
            egress_ips: vec![],
        };
        let ips = &mut found.entry(gateway.to_string()).or_insert(entry).egress_ips;
        ips.extend(lease.pair.iter().map(|(_, address)| *address));
        ips.sort_unstable();
        ips.dedup();
    }
    found.into_values().collect()
}

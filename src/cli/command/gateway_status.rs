//! `egretctl gateway status`: what this node serves, who talks to it, and what it dropped.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egret_egress::apply;
use egret_egress::desired::{counted, uplink_name};
use egret_egress::kernel::{Failure, Kernel, Link};
use egret_egress::nft::TableFamily;
use egret_egress::object::{Object, Place, Placed};
use egret_kernel::{Counter, LinuxKernel};
use egret_types::{Family, LinkName, ours};
use serde::Serialize;

use crate::args::Format;
use crate::arrival::{self, ACCEPTING};
use crate::error::CliError;
use crate::node::Node;
use crate::output::{self, Outcome};
use crate::role::GatewayRecord;

/// The state of the gateway side.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    node: String,
    /// A `gateway up` has been run and no `gateway down` since.
    up: bool,
    gateways: Vec<GatewayStatus>,
    /// Egress addresses that are on the uplink.
    addresses: usize,
    /// What is not as `gateway up` made it, and what the tunnel suffers from.
    problems: Vec<String>,
    counters: Vec<CounterStatus>,
}

/// One gateway of which this node is a member.
#[derive(Debug, Serialize)]
struct GatewayStatus {
    name: String,
    /// The member that owns the egress IPs.
    owner: String,
    members: Vec<String>,
    pools: Vec<String>,
}

/// Packets that met one counter.
#[derive(Debug, Serialize)]
struct CounterStatus {
    /// What it means that they did.
    meaning: &'static str,
    packets: u64,
}

/// A counter of ours, and what it means that it has seen a packet.
struct Meaning {
    place: Place,
    family: TableFamily,
    table: &'static str,
    chain: &'static str,
    rule: Rules,
    text: &'static str,
}

/// Which rules of a chain.
#[derive(Clone, Copy)]
enum Rules {
    /// Those before this one, counted from 0.
    Before(usize),
    /// This one and those behind it.
    From(usize),
}

const fn meaning(
    (place, family, table): (Place, TableFamily, &'static str),
    chain: &'static str,
    rule: Rules,
    text: &'static str,
) -> Meaning {
    Meaning { place, family, table, chain, rule, text }
}

const GUARD: (Place, TableFamily, &str) = (Place::Root, TableFamily::Inet, ours::NFT_TUNNEL_TABLE);
const FRAMES: (Place, TableFamily, &str) = (Place::Egret, TableFamily::Netdev, ours::NFT_TABLE);
const PACKETS: (Place, TableFamily, &str) = (Place::Egret, TableFamily::Inet, ours::NFT_TABLE);
const ALL: Rules = Rules::From(0);

const MEANINGS: [Meaning; 18] = [
    meaning(GUARD, "input", Rules::Before(ACCEPTING), "tunnel: accepted"),
    meaning(GUARD, "input", Rules::From(ACCEPTING), "dropped: tunnel, sent by nobody known"),
    meaning(GUARD, "forward", ALL, "dropped: tunnel, sent by a pod"),
    meaning(GUARD, "output", ALL, "dropped: tunnel, sent by a process of this node"),
    meaning(FRAMES, "egret0", ALL, "dropped: frame addressed to nobody"),
    meaning(FRAMES, "gateway", ALL, "dropped: frame of an unknown node"),
    meaning(FRAMES, "frame", ALL, "dropped: frame without an IP packet"),
    meaning(FRAMES, "node-", ALL, "dropped: pod address that is not the node's"),
    meaning(FRAMES, "out", ALL, "dropped: frame to an unknown place"),
    meaning(FRAMES, "back", ALL, "dropped: answer that belongs to no node"),
    meaning(PACKETS, counted::UNKNOWN, ALL, "dropped: identity unknown"),
    meaning(PACKETS, counted::FOREIGN_FLOW, ALL, "dropped: identity is not that of the flow"),
    meaning(PACKETS, counted::OVER_SHARE, ALL, "dropped: new flow over the identity's share"),
    meaning(PACKETS, counted::INVALID, ALL, "dropped: belongs to no flow"),
    meaning(PACKETS, "input", ALL, "dropped: to an egress IP, of no known flow"),
    meaning(PACKETS, "forward", ALL, "dropped: not to be forwarded"),
    meaning(PACKETS, "post", ALL, "dropped: no egress IP for the flow"),
    meaning(PACKETS, "leaving", ALL, "dropped: source is not the flow's egress IP"),
];

/// Prints the state; a difference to what `gateway up` made is a problem.
pub(crate) fn run(node: &Node, format: Format) -> Result<Outcome, CliError> {
    let gateways = gateways(node);
    if gateways.is_empty() {
        return Err(CliError::NoMember(node.name.clone()));
    }
    let mut kernel = node.local.kernel();
    let record = node.local.gateway()?;
    let problems = match &record {
        Some(record) => problems(node, &mut kernel, record)?,
        None => Vec::new(),
    };
    let status = Status {
        node: node.name.to_string(),
        up: record.is_some(),
        gateways,
        addresses: addresses(&mut kernel)?,
        problems,
        counters: counters(&mut kernel)?,
    };
    match format {
        Format::Json => output::json(&status)?,
        Format::Table => print(&status)?,
    }
    Ok(if status.problems.is_empty() { Outcome::Fine } else { Outcome::Problem })
}

/// What is not as it was made, and what no object of ours can show.
fn problems(
    node: &Node,
    kernel: &mut LinuxKernel,
    record: &GatewayRecord,
) -> Result<Vec<String>, CliError> {
    let (addresses, others): (Vec<Placed>, Vec<Placed>) =
        record.objects.iter().cloned().partition(|o| matches!(o.object, Object::Address(_)));
    let mut problems = apply::differences(kernel, &others)?;
    problems.extend(missing_addresses(kernel, &addresses)?);
    // The guard is no gateway's own, so no record lists it: it is what the resources say today.
    let guard = node.topology()?.tunnel_guard()?;
    let differences = apply::differences(kernel, &[guard])?;
    problems.extend(differences.into_iter().map(|it| format!("{it}; see egretctl repair")));
    problems.extend(arrival::problem(kernel, node.resources.cluster.tunnel.port)?);
    Ok(problems)
}

/// Egress addresses can be thousands: one listing answers for all of them.
fn missing_addresses(kernel: &mut LinuxKernel, wanted: &[Placed]) -> Result<Vec<String>, CliError> {
    let links = links(kernel)?;
    let present: BTreeSet<(&LinkName, IpAddr)> = links
        .iter()
        .flat_map(|link| link.addresses.iter().map(|(address, _)| (&link.name, *address)))
        .collect();
    let missing = wanted.iter().filter_map(|placed| match &placed.object {
        Object::Address(wanted) if !present.contains(&(&wanted.link, wanted.address)) => {
            Some(format!("{}: missing", placed.object))
        }
        _ => None,
    });
    Ok(missing.collect())
}

/// The links of the egret namespace; none while it does not exist.
fn links(kernel: &mut LinuxKernel) -> Result<Vec<Link>, CliError> {
    match kernel.list_links(Place::Egret) {
        Err(Failure::NoNamespace { .. }) => Ok(Vec::new()),
        links => Ok(links?),
    }
}

fn gateways(node: &Node) -> Vec<GatewayStatus> {
    let members = node.resources.gateways.iter().filter(|g| g.members.contains(&node.name));
    let status = members.map(|gateway| GatewayStatus {
        name: gateway.name.to_string(),
        owner: gateway.members.first().map(ToString::to_string).unwrap_or_default(),
        members: gateway.members.iter().map(ToString::to_string).collect(),
        pools: node.resources.pools_of(&gateway.name).map(|pool| pool.name.to_string()).collect(),
    });
    status.collect()
}

fn addresses(kernel: &mut LinuxKernel) -> Result<usize, CliError> {
    let links = links(kernel)?;
    let uplink = links.iter().find(|link| link.name == uplink_name());
    let host = |(address, length): &&(IpAddr, u8)| *length == Family::of(*address).bits();
    Ok(uplink.map_or(0, |link| link.addresses.iter().filter(host).count()))
}

fn counters(kernel: &mut LinuxKernel) -> Result<Vec<CounterStatus>, CliError> {
    let mut all = Vec::new();
    for Meaning { place, family, table, chain, rule, text } in MEANINGS {
        let found = match kernel.counters(place, family, table) {
            Err(Failure::NoNamespace { .. }) => continue,
            found => found?,
        };
        let meant = |counter: &&Counter| {
            // There is one chain for each node whose sources are checked.
            let named = if chain.ends_with('-') {
                counter.chain.starts_with(chain)
            } else {
                counter.chain == chain
            };
            named
                && match rule {
                    Rules::Before(n) => counter.rule < n,
                    Rules::From(n) => counter.rule >= n,
                }
        };
        let packets = found.iter().filter(meant).map(|counter| counter.packets).sum();
        all.push(CounterStatus { meaning: text, packets });
    }
    Ok(all)
}

fn print(status: &Status) -> Result<(), CliError> {
    let state = if status.up { "up" } else { "down" };
    output::line(format_args!(
        "node {}: gateway {state}, {} egress addresses",
        status.node, status.addresses
    ))?;
    let row = |g: &GatewayStatus| {
        vec![g.name.clone(), g.owner.clone(), g.members.join(","), g.pools.join(",")]
    };
    let rows: Vec<Vec<String>> = status.gateways.iter().map(row).collect();
    output::table(&["GATEWAY", "OWNER", "MEMBERS", "POOLS"], &rows)?;
    let rows: Vec<Vec<String>> = status
        .counters
        .iter()
        .map(|counter| vec![counter.packets.to_string(), counter.meaning.to_owned()])
        .collect();
    output::table(&["PACKETS", "MEANING"], &rows)?;
    status.problems.iter().try_for_each(|problem| output::line(format_args!("problem: {problem}")))
}

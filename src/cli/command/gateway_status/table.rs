//! The answer for people. Of egress pairs only those that have met a packet: there may be thousands.

use std::net::IpAddr;

use super::value::{Here, PairStatus, ParentState, Sources, Status};
use crate::error::CliError;
use crate::output;

/// Prints the answer.
pub(super) fn print(status: &Status) -> Result<(), CliError> {
    let state = if status.up { "up" } else { "down" };
    let addresses = status.uplink.egress_addresses;
    output::line(format_args!(
        "node {}: gateway {state}, {addresses} egress addresses",
        status.node
    ))?;
    gateways(status)?;
    uplink(status)?;
    pairs(status)?;
    nodes(status)?;
    drops(status)?;
    status.problems.iter().try_for_each(|problem| output::line(format_args!("problem: {problem}")))
}

fn gateways(status: &Status) -> Result<(), CliError> {
    let rows = status.gateways.iter().map(|g| {
        let here = match g.here {
            Here::Owner => "owner",
            Here::Taken => "taken",
            Here::Standby => "standby",
            Here::Missing => "missing",
        };
        vec![g.name.clone(), g.owner.clone(), here.to_owned(), list(&g.members), list(&g.pools)]
    });
    let headers = ["GATEWAY", "OWNER", "THIS NODE", "MEMBERS", "POOLS"];
    output::table(&headers, &rows.collect::<Vec<_>>())
}

fn uplink(status: &Status) -> Result<(), CliError> {
    let uplink = &status.uplink;
    let state = match uplink.state {
        ParentState::Up => "up",
        ParentState::NoCarrier => "no carrier",
        ParentState::Down => "down",
        ParentState::Missing => "missing",
    };
    let hops: Vec<String> = uplink.next_hops.iter().map(IpAddr::to_string).collect();
    let fill = status.conntrack.map_or("-".to_owned(), |f| format!("{} of {}", f.count, f.max));
    let parent = uplink.parent.clone().unwrap_or_else(|| "-".to_owned());
    let row = vec![parent, state.to_owned(), list(&uplink.addresses), list(&hops), fill];
    let headers = ["UPLINK", "STATE", "ADDRESSES", "NEXT HOPS", "CONNTRACK ENTRIES"];
    output::table(&headers, &[row])
}

fn pairs(status: &Status) -> Result<(), CliError> {
    let used: Vec<&PairStatus> = status.pairs.iter().filter(|pair| pair.is_used()).collect();
    let rows = used.iter().map(|pair| {
        let addresses: Vec<String> =
            [pair.ipv4, pair.ipv6].into_iter().flatten().map(|a| a.to_string()).collect();
        vec![
            pair.pool.clone().unwrap_or_else(|| "-".to_owned()),
            pair.index.to_string(),
            list(&addresses),
            pair.sent.packets.to_string(),
            pair.sent.bytes.to_string(),
            pair.received.packets.to_string(),
            pair.received.bytes.to_string(),
            pair.flows.to_string(),
            pair.over_share.to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        let headers = [
            "POOL",
            "PAIR",
            "EGRESS IPS",
            "SENT PACKETS",
            "SENT BYTES",
            "RECEIVED PACKETS",
            "RECEIVED BYTES",
            "FLOWS",
            "DROPPED OVER SHARE",
        ];
        output::table(&headers, &rows)?;
    }
    let (unused, all) = (status.pairs.len() - used.len(), status.pairs.len());
    output::line(format_args!("{unused} of {all} egress pairs have met no packet"))
}

fn nodes(status: &Status) -> Result<(), CliError> {
    let rows = status.nodes.iter().map(|node| {
        let sources = match node.sources {
            Sources::Checked => "checked",
            Sources::Any => "any",
        };
        vec![
            node.name.clone(),
            node.id.number().to_string(),
            node.frames.packets.to_string(),
            node.frames.bytes.to_string(),
            sources.to_owned(),
            node.refused.to_string(),
        ]
    });
    let headers = ["NODE", "ID", "FRAMES", "BYTES", "SOURCES", "REFUSED FRAMES"];
    output::table(&headers, &rows.collect::<Vec<_>>())
}

fn drops(status: &Status) -> Result<(), CliError> {
    output::line(format_args!("tunnel guard: {} packets accepted", status.tunnel.accepted))?;
    let rows =
        status.drops.iter().map(|drop| vec![drop.packets.to_string(), drop.meaning.to_owned()]);
    output::table(&["DROPPED PACKETS", "WHY"], &rows.collect::<Vec<_>>())?;
    match status.blocked_flows {
        0 => Ok(()),
        n => output::line(format_args!("{n} live flows keep the next owner of their address out")),
    }
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() { "-".to_owned() } else { texts.join(",") }
}

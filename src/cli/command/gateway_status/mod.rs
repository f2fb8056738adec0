//! `egretctl gateway status`: what this node serves, who talks to it, what it dropped, and what is
//! wrong.
//!
//! | file | what |
//! |---|---|
//! | `value.rs` | the answer |
//! | `reading.rs` | what the kernel says |
//! | `assemble.rs`, `drops.rs`, `problems.rs` | from the one to the other, without effects |
//! | `table.rs` | the answer for people |

mod assemble;
mod drops;
mod problems;
mod reading;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use egret_egress::apply;
use egret_egress::desired::uplink_name;
use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place, Placed};
use egret_kernel::LinuxKernel;
use egret_types::LinkName;

use self::assemble::{Facts, Role};
use self::reading::Reading;
use crate::args::Format;
use crate::arrival;
use crate::error::CliError;
use crate::node::Node;
use crate::output::{self, Outcome};
use crate::role::GatewayRecord;

/// What a set of flows counted by their identity is called, before the size of the table.
const SHARES: &str = "share-";

/// Prints the state, and whether anything is a problem.
pub(crate) fn run(node: &Node, format: Format) -> Result<Outcome, CliError> {
    let mut kernel = node.local.kernel();
    let record = node.local.gateway()?;
    let parent = parent(node, record.as_ref());
    let begin = Instant::now();
    let facts = Facts {
        resources: &node.resources,
        node: &node.name,
        role: if record.is_some() { Role::Up } else { Role::Down },
        parent: parent.as_ref(),
        shares: record.as_ref().and_then(share_of),
    };
    if facts.gateways().next().is_none() && record.is_none() {
        return Err(CliError::NoMember(node.name.clone()));
    }
    let mut reading = Reading::take(&mut kernel, parent.as_ref())?;
    let found = match &record {
        Some(record) => differences(node, &mut kernel, (record, facts.remedy()))?,
        None => vec![],
    };
    reading.watch(&mut kernel, begin)?;
    let mut status = assemble::status(&facts, &reading);
    status.problems.extend(found);
    match format {
        Format::Json => output::json(&status)?,
        Format::Table => table::print(&status)?,
    }
    Ok(if status.problems.is_empty() { Outcome::Fine } else { Outcome::Problem })
}

/// The link below the uplink: as `gateway up` made it, else as the files want it.
fn parent(node: &Node, record: Option<&GatewayRecord>) -> Option<LinkName> {
    let made = record.into_iter().flat_map(|record| &record.objects);
    let mut made = made.filter_map(|placed| match &placed.object {
        Object::Macvlan(link) => Some(link.parent.clone()),
        _ => None,
    });
    made.next().or_else(|| {
        let own = node.resources.node(&node.name)?;
        let mut gateways = node.resources.gateways.iter();
        let gateway = gateways.find(|gateway| gateway.members.contains(&node.name))?;
        gateway.uplink_on(own).map(|uplink| uplink.interface)
    })
}

/// The size of the connection tracking table for which shares were made.
fn share_of(record: &GatewayRecord) -> Option<u64> {
    let sets = record.objects.iter().filter_map(|placed| match &placed.object {
        Object::Nft(ruleset) => Some(&ruleset.sets),
        _ => None,
    });
    sets.flatten().find_map(|set| set.name.strip_prefix(SHARES)?.parse().ok())
}

/// What is not as it was made, and what no object of ours can show.
fn differences(
    node: &Node,
    kernel: &mut LinuxKernel,
    (record, remedy): (&GatewayRecord, &str),
) -> Result<Vec<String>, CliError> {
    let mut problems = Vec::new();
    match kernel.list_links(Place::Egret) {
        // Each of its objects is missing as well: one sentence for all.
        Err(Failure::NoNamespace { place }) => {
            problems.push(format!("{place} is gone, as after a boot; see {remedy}"));
        }
        links => {
            let on_uplink = links?.into_iter().find(|link| link.name == uplink_name());
            let present = on_uplink.map(|link| link.addresses).unwrap_or_default();
            problems.extend(of_record(kernel, record, &present)?);
            problems.extend(arrival::problem(kernel, node.resources.cluster.tunnel.port)?);
        }
    }
    // The guard is no gateway's own, so no record lists it: it is what the resources say today.
    match node.topology().and_then(|topology| Ok(topology.tunnel_guard()?)) {
        Err(error) => problems.push(error.to_string()),
        Ok(guard) => {
            let found = apply::differences(kernel, &[guard])?.into_iter();
            problems.extend(found.map(|it| format!("{it}; see egretctl repair")));
        }
    }
    Ok(problems)
}

/// Egress addresses can be thousands: one listing answers for all of them.
fn of_record(
    kernel: &mut LinuxKernel,
    record: &GatewayRecord,
    present: &[(IpAddr, u8)],
) -> Result<Vec<String>, CliError> {
    let (addresses, others): (Vec<Placed>, Vec<Placed>) =
        record.objects.iter().cloned().partition(|o| matches!(o.object, Object::Address(_)));
    let mut problems = apply::differences(kernel, &others)?;
    let present: BTreeSet<IpAddr> = present.iter().map(|(address, _)| *address).collect();
    let missing = addresses.iter().filter_map(|placed| match &placed.object {
        Object::Address(wanted) if !present.contains(&wanted.address) => {
            Some(format!("{}: missing", placed.object))
        }
        _ => None,
    });
    problems.extend(missing);
    Ok(problems)
}

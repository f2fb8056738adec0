//! `egretctl repair`: the tunnel guard, and where the frames of each egress IP go, as the resources
//! say today. After a failover by hand this is what sends the workers to the new gateway node. And
//! the guard of each pod and where it may go, as its record has it.

use std::collections::BTreeMap;

use egret_egress::apply;
use egret_egress::desired::{identity_fdb, tunnel_name};
use egret_egress::kernel::{Failure, Kernel, unless_gone};
use egret_egress::object::{Place, Placed};
use egret_kernel::LinuxKernel;

use crate::error::CliError;
use crate::node::{Local, Node};
use crate::output::{self, Outcome};

/// Rewrites them for every attachment of this node.
pub(crate) fn run(local: Local) -> Result<Outcome, CliError> {
    let _alone = local.lock_node()?;
    let node = Node::read(local)?;
    let mut kernel = node.local.kernel();
    put_guard_back(&node, &mut kernel)?;
    let guards = put_pod_guards_back(&node, &mut kernel)?;
    let (entries, outcome) = wanted(&node)?;
    let mut written = 0;
    for entry in &entries {
        if put_back(&mut kernel, entry)? {
            written += 1;
            output::line(format_args!("wrote {}", entry.object))?;
        }
    }
    fill_decisions(&node, &mut kernel)?;
    output::line(format_args!("{} egress IPs in use, {written} entries written", entries.len()))?;
    Ok(if guards == Outcome::Fine { outcome } else { guards })
}

/// Every pod's, whatever stands in the way of another's.
fn put_pod_guards_back(node: &Node, kernel: &mut LinuxKernel) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::Fine;
    for (attachment, record) in node.local.records()?.live {
        for placed in record.guard() {
            match put_back(kernel, placed) {
                Ok(false) => {}
                Ok(true) => output::line(format_args!("{attachment}: wrote {}", placed.object))?,
                Err(failure) => {
                    output::line(format_args!("{attachment}: {failure}"))?;
                    outcome = Outcome::Problem;
                }
            }
        }
    }
    Ok(outcome)
}

/// Whether anything had to be written.
fn put_back(kernel: &mut LinuxKernel, placed: &Placed) -> Result<bool, Failure> {
    if kernel.differences(placed.place, &placed.object)?.is_empty() {
        return Ok(false);
    }
    kernel.ensure(placed.place, &placed.object).map(|()| true)
}

/// The guard, unless the tunnel that is up is another one than the resources describe today.
fn put_guard_back(node: &Node, kernel: &mut LinuxKernel) -> Result<(), CliError> {
    let topology = node.topology()?;
    let links = unless_gone(kernel.list_links(Place::Egret))?;
    let up = links.iter().any(|link| link.name == tunnel_name());
    let facts = topology.node_facts(node.underlay(kernel)?.mtu)?;
    let mut foundation = topology.foundation(&facts);
    if !up {
        apply::refuse_shared_port(kernel, &foundation)?;
        foundation.clear();
    }
    let guard = topology.tunnel_guard()?;
    let missing = !apply::differences(kernel, std::slice::from_ref(&guard))?.is_empty();
    apply::ensure_guarded(kernel, &guard, &foundation)?;
    if missing {
        output::line(format_args!("wrote {}", guard.object))?;
    }
    Ok(())
}

/// Where pods may go, as their records have it: sets that somebody emptied or filled by hand.
fn fill_decisions(node: &Node, kernel: &mut LinuxKernel) -> Result<(), CliError> {
    for (attachment, record) in node.local.records()?.live {
        for placed in record.destinations() {
            let differences = kernel.differences(placed.place, &placed.object)?;
            if !differences.is_empty() {
                kernel.ensure(placed.place, &placed.object)?;
                output::line(format_args!("{attachment}: put back {}", differences.join("; ")))?;
            }
        }
    }
    Ok(())
}

/// One fdb entry for each identity in use. An attachment whose pool is gone from the resources
/// keeps the entry it has.
fn wanted(node: &Node) -> Result<(Vec<Placed>, Outcome), CliError> {
    let topology = node.topology()?;
    let mut entries = BTreeMap::new();
    let mut outcome = Outcome::Fine;
    for (attachment, record) in node.local.records()?.live {
        for lease in record.leases {
            match topology.owner(&lease.pool) {
                Ok(owner) => {
                    entries.insert(lease.identity, identity_fdb(lease.identity, owner));
                }
                Err(error) => {
                    output::line(format_args!("{attachment}: {error}"))?;
                    outcome = Outcome::Problem;
                }
            }
        }
    }
    Ok((entries.into_values().collect(), outcome))
}

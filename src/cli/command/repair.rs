//! `egretctl repair`: the tunnel guard, and where the frames of each egress IP go, as the resources
//! say today. After a failover by hand this is what sends the workers to the new gateway node.

use egret_egress::apply;
use egret_egress::desired::identity_fdb;
use egret_egress::kernel::Kernel;
use egret_egress::object::Placed;
use std::collections::BTreeMap;

use crate::error::CliError;
use crate::node::Node;
use crate::output::{self, Outcome};

/// Rewrites them for every attachment of this node.
pub(crate) fn run(node: &Node) -> Result<Outcome, CliError> {
    let _locks = node.local.lock_shared_objects()?;
    let mut kernel = node.local.kernel();
    apply::ensure_all(&mut kernel, &[node.topology()?.tunnel_guard()?])?;
    let (entries, mut outcome) = wanted(node)?;
    let mut written = 0;
    for entry in &entries {
        if kernel.differences(entry.place, &entry.object)?.is_empty() {
            continue;
        }
        kernel.ensure(entry.place, &entry.object)?;
        written += 1;
        output::line(format_args!("wrote {}", entry.object))?;
    }
    output::line(format_args!("{} egress IPs in use, {written} entries written", entries.len()))?;
    if entries.is_empty() {
        outcome = Outcome::Fine;
    }
    Ok(outcome)
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

//! `egretctl repair`: what the kernel should hold on this node, put back. The tunnel guard, and where
//! the frames of each egress IP go, as the resources say today: after a failover by hand this is what
//! sends the workers to the new gateway node. Then what ADD made for each pod, as its record has it.

mod pod;

use std::collections::BTreeMap;

use egret_egress::apply;
use egret_egress::desired::{identity_fdb, tunnel_name};
use egret_egress::kernel::{Failure, Kernel, unless_gone};
use egret_egress::object::{Place, Placed};
use egret_egress::topology::Topology;
use egret_kernel::LinuxKernel;

use crate::error::CliError;
use crate::node::{Local, Node, Records};
use crate::output::{self, Outcome};

/// Whatever stands in the way of one thing, the others are put back.
pub(crate) fn run(local: Local) -> Result<Outcome, CliError> {
    let _alone = local.lock_node()?;
    let node = Node::read(local)?;
    let records = node.local.records()?;
    let topology = node.topology()?;
    let mut kernel = node.local.kernel();
    put_guard_back(&node, &mut kernel)?;
    let mut repair = Repair { outcome: Outcome::Fine };
    pod::put_guards_back(&mut repair, &mut kernel, &records)?;
    let (in_use, written) = repair.send_to_owners(&mut kernel, &topology, &records)?;
    for (attachment, record) in &records.live {
        pod::put_back(&mut repair, &node.local, (attachment, record))?;
    }
    output::line(format_args!("{in_use} egress IPs in use, {written} entries written"))?;
    Ok(repair.outcome)
}

/// What has come of it so far.
struct Repair {
    outcome: Outcome,
}

impl Repair {
    /// Whether something had to be written; that is told, and so is what could not be.
    fn put_back(
        &mut self,
        kernel: &mut LinuxKernel,
        whose: &str,
        placed: &Placed,
    ) -> Result<Written, CliError> {
        match put_back(kernel, placed) {
            Ok(false) => return Ok(Written::Nothing),
            Ok(true) => output::line(format_args!("{whose}wrote {}", placed.object))?,
            Err(failure) => {
                self.problem(format_args!("{whose}{failure}"))?;
                return Ok(Written::Refused);
            }
        }
        Ok(Written::Anew)
    }

    fn problem(&mut self, sentence: impl std::fmt::Display) -> Result<(), CliError> {
        self.outcome = Outcome::Problem;
        output::line(sentence)
    }

    /// One fdb entry for each identity in use. An attachment whose pool is gone from the resources
    /// keeps the entry it has. Returns how many there are, and how many had to be written.
    fn send_to_owners(
        &mut self,
        kernel: &mut LinuxKernel,
        topology: &Topology<'_>,
        records: &Records,
    ) -> Result<(usize, usize), CliError> {
        let mut entries = BTreeMap::new();
        for (attachment, record) in &records.live {
            for lease in &record.leases {
                match topology.owner(&lease.pool) {
                    Ok(owner) => {
                        entries.insert(lease.identity, identity_fdb(lease.identity, owner));
                    }
                    Err(error) => self.problem(format_args!("{attachment}: {error}"))?,
                }
            }
        }
        let mut written = 0;
        for entry in entries.values() {
            written += usize::from(self.put_back(kernel, "", entry)? == Written::Anew);
        }
        Ok((entries.len(), written))
    }
}

/// What putting one object back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// It was right.
    Nothing,
    /// It was not, and is now.
    Anew,
    /// It is not.
    Refused,
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

//! `egretctl gc`: what pods have left that do not exist any more, and what all pods of this node
//! shared when none is left. It needs no resources: a removal goes by name.
//!
//! For one pod it does what GC of the plugin does; the kernel alone says here which is gone.

use egret_egress::apply;
use egret_egress::desired::{
    identities_of, pod_guard_tables, shared_by_name, uplink_name, worker_by_name,
};
use egret_egress::kernel::{Failure, Kernel, Link};
use egret_egress::object::{Object, Place, Placed};
use egret_egress::presence::{Sighting, is_of_a_pod};
use egret_kernel::{LinuxKernel, Netns};
use egret_types::ours;

use crate::error::CliError;
use crate::holders::Book;
use crate::node::{Local, Records};
use crate::output::{self, Outcome};

/// Whether anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is.
    Remove,
    /// It is only told.
    Tell,
}

impl From<bool> for Mode {
    fn from(dry_run: bool) -> Self {
        if dry_run { Mode::Tell } else { Mode::Remove }
    }
}

/// Removes what nobody needs.
pub(crate) fn run(local: &Local, mode: Mode) -> Result<Outcome, CliError> {
    let _alone = local.lock_node()?;
    let mut kernel = local.kernel();
    let mut records = local.records()?;
    if remove_gone(&mut kernel, &mut records, mode)? == Outcome::Problem {
        return Ok(Outcome::Problem);
    }
    if mode == Mode::Remove {
        local.discard_dead(&records)?;
        for attachment in Book::open(local)?.drop_stray(&records)? {
            output::line(format_args!("{attachment} held a lease and does not exist: released"))?;
        }
        local.discard_tombstones()?;
    }
    if !records.live.is_empty() {
        let count = records.live.len();
        output::line(format_args!("{count} attachments on this node: nothing to remove"))?;
        return Ok(Outcome::Fine);
    }
    let links = links(&mut kernel)?.unwrap_or_default();
    let unknown: Vec<&Link> = links.iter().filter(|link| is_of_a_pod(link)).collect();
    if !unknown.is_empty() {
        // A veth lives as long as its pod's namespace: these are pods whose records are lost.
        for link in &unknown {
            output::line(format_args!("link {} belongs to a pod that is not recorded", link.name))?;
        }
        return Ok(Outcome::Problem);
    }
    // The record of the gateway role outlives a reboot; what it describes, the uplink first, does
    // not.
    let gateway = links.iter().any(|link| link.name == uplink_name());
    let objects = if gateway { worker_side(&mut kernel)? } else { shared_by_name() };
    if mode == Mode::Tell {
        return tell(&mut kernel, &objects);
    }
    local.discard_damaged(&records)?;
    let outcome = remove(&mut kernel, &objects)?;
    if !gateway {
        local.gateway_record().remove()?;
    }
    local.tidy()?;
    Ok(outcome)
}

/// Removes what is left in the kernel of attachments whose pods it does not show any more, and counts
/// them as dead: a DEL could not give the lease back, or never came.
fn remove_gone(
    kernel: &mut LinuxKernel,
    records: &mut Records,
    mode: Mode,
) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::Fine;
    for (attachment, record) in std::mem::take(&mut records.live) {
        // One that cannot be looked at may be there.
        let netns = Netns::inode_at(&record.netns.path).unwrap_or(Some(record.netns.inode));
        let seen = Sighting::of(kernel, &attachment, netns)?;
        if !seen.is_nothing(&record, &record.netns.boot_id) {
            records.live.push((attachment, record));
            continue;
        }
        if mode == Mode::Tell {
            output::line(format_args!("would remove {attachment}, whose pod does not exist"))?;
            continue;
        }
        let failures = apply::remove_all(kernel, &seen.remaining(&record, &record.netns.boot_id));
        for failure in &failures {
            output::line(format_args!("{attachment}: {failure}"))?;
            outcome = Outcome::Problem;
        }
        if failures.is_empty() {
            records.dead.push(attachment);
        }
    }
    Ok(outcome)
}

/// The links of the egret namespace, if there is one.
fn links(kernel: &mut LinuxKernel) -> Result<Option<Vec<Link>>, CliError> {
    match kernel.list_links(Place::Egret) {
        Err(Failure::NoNamespace { .. }) => Ok(None),
        links => Ok(Some(links?)),
    }
}

/// What only the worker role of this node made, while the gateway role stays.
fn worker_side(kernel: &mut LinuxKernel) -> Result<Vec<Placed>, CliError> {
    let tunnel = ours::link(ours::TUNNEL_LINK);
    let entries = kernel.list_fdb(Place::Egret, &tunnel)?;
    let mut objects = Vec::from(pod_guard_tables());
    objects.push(worker_by_name());
    objects.extend(identities_of(entries));
    Ok(objects)
}

fn tell(kernel: &mut LinuxKernel, objects: &[Placed]) -> Result<Outcome, CliError> {
    let space = links(kernel)?.is_some();
    let mut nothing = true;
    for placed in objects.iter().rev() {
        let there = match (placed.place, &placed.object) {
            (Place::Root, Object::Nft(ruleset)) => {
                kernel.table_exists(Place::Root, ruleset.family, &ruleset.table)?
            }
            _ => space,
        };
        if there {
            output::line(format_args!("would remove {} from {}", placed.object, placed.place))?;
            nothing = false;
        }
    }
    if nothing {
        output::line("nothing to remove")?;
    }
    Ok(Outcome::Fine)
}

fn remove(kernel: &mut LinuxKernel, objects: &[Placed]) -> Result<Outcome, CliError> {
    let failures = apply::remove_all(kernel, objects);
    for failure in &failures {
        output::line(failure)?;
    }
    if failures.is_empty() {
        output::line("no attachment is left: shared objects removed")?;
        Ok(Outcome::Fine)
    } else {
        Ok(Outcome::Problem)
    }
}

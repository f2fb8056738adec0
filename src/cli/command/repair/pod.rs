//! What ADD made for one pod, put back from its record: its guard, its part of the worker side, and
//! the steering in its namespace. Never in another namespace than that of ADD, and never a link: a
//! link made anew has another number, and what the record says is about the old one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egret_egress::desired::Names;
use egret_egress::kernel::{Failure, Kernel};
use egret_egress::links;
use egret_egress::object::Place;
use egret_egress::record::AttachmentRecord;
use egret_kernel::{LinuxKernel, Netns};
use egret_types::{Attachment, ours};

use super::{Repair, Written};
use crate::attached;
use crate::error::CliError;
use crate::node::{Local, Records};
use crate::output;

/// The guards of all pods. Where the namespace of one is gone, another pod may have its address by
/// now: then it is that pod's.
pub(super) fn put_guards_back(
    repair: &mut Repair,
    kernel: &mut LinuxKernel,
    records: &Records,
) -> Result<(), CliError> {
    let lives = |record: &AttachmentRecord| {
        Netns::inode_at(&record.netns.path).is_ok_and(|inode| inode == Some(record.netns.inode))
    };
    let (living, gone): (Vec<_>, Vec<_>) = records.live.iter().partition(|(_, it)| lives(it));
    let taken: BTreeSet<IpAddr> =
        living.iter().flat_map(|(_, record)| record.pod.addresses.iter().copied()).collect();
    let own = |record: &AttachmentRecord| !record.pod.addresses.iter().any(|it| taken.contains(it));
    let gone = gone.into_iter().filter(|(_, record)| own(record));
    for (attachment, record) in living.into_iter().chain(gone) {
        for placed in record.guard() {
            repair.put_back(kernel, &format!("{attachment}: "), placed)?;
        }
    }
    Ok(())
}

/// The rest, in the order of ADD: what checks a packet before what sends it. So it ends at the first
/// object that cannot be put back.
pub(super) fn put_back(
    repair: &mut Repair,
    local: &Local,
    (attachment, record): (&Attachment, &AttachmentRecord),
) -> Result<(), CliError> {
    let mut kernel = match attached::kernel(local, record) {
        Ok(kernel) => kernel,
        Err(sentence) => return repair.problem(format_args!("{attachment}: {sentence}")),
    };
    if let Some(sentence) = lost_link(&mut kernel, &Names::of(attachment), record)? {
        return repair.problem(format_args!("{attachment}: {sentence}: start the pod anew"));
    }
    let whose = format!("{attachment}: ");
    let own = record.objects.iter().filter(|placed| placed.place != Place::Root);
    for placed in record.shared.iter().chain(own) {
        if repair.put_back(&mut kernel, &whose, placed)? == Written::Refused {
            return Ok(());
        }
    }
    fill_decisions(&mut kernel, &whose, record)
}

/// Which link is not the one of ADD any more. One that the pod has renamed is lost as well: making
/// it anew would take it from the node's end too.
fn lost_link(
    kernel: &mut LinuxKernel,
    names: &Names,
    record: &AttachmentRecord,
) -> Result<Option<String>, Failure> {
    if links::numbers(kernel, names)? != record.links {
        let tunnel = ours::TUNNEL_LINK;
        return Ok(Some(format!("link {} or {tunnel} is gone, or was made anew", names.node)));
    }
    let inside = kernel.list_links(Place::Pod)?;
    let there = inside.iter().any(|link| link.name == names.pod);
    Ok((!there).then(|| format!("link {} is gone", names.pod)))
}

/// Where the pod may go: sets that somebody emptied or filled by hand.
fn fill_decisions(
    kernel: &mut LinuxKernel,
    whose: &str,
    record: &AttachmentRecord,
) -> Result<(), CliError> {
    for placed in record.destinations() {
        let differences = kernel.differences(placed.place, &placed.object)?;
        if !differences.is_empty() {
            kernel.ensure(placed.place, &placed.object)?;
            output::line(format_args!("{whose}put back {}", differences.join("; ")))?;
        }
    }
    Ok(())
}

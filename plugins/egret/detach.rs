//! DEL: everything that the record of an attachment lists goes, whatever is already gone.

use std::path::Path;
use std::time::Duration;

use egret_cni::{CniError, Code, Request};
use egret_egress::apply;
use egret_egress::desired::{Names, attachment_by_name};
use egret_egress::kernel::Kernel;
use egret_egress::object::Placed;
use egret_egress::presence::Sighting;
use egret_egress::record::AttachmentRecord;
use egret_kernel::Netns;
use egret_resources::LocalConfig;
use egret_store::boot_id;
use egret_store::journal::AttachmentDir;
use egret_store::lock::NodeLock;
use egret_types::Attachment;

use crate::{error, tombstones};

/// How long DEL waits for others on this node. With the delegate's time it ends before its own
/// deadline.
pub(crate) const LOCK_DEADLINE: Duration = Duration::from_secs(5);

/// What is known of an attachment that is to go.
enum Known {
    /// Its record.
    Recorded(Box<AttachmentRecord>),
    /// That there was one, which cannot be read any more.
    Damaged,
    /// Nothing: it was never begun, or its record is lost.
    Nothing,
}

/// Detaches. Of a pod that was never selected there is no record and no link: it needs nothing, not
/// even a lock, so that nothing of ours can keep it from ending.
pub(crate) fn run(
    request: &Request<LocalConfig>,
    records: &AttachmentDir<AttachmentRecord>,
    kernel: &mut dyn Kernel,
) -> Result<(), CniError> {
    let attachment = request.attachment();
    let known = look_up(records, attachment)?;
    let owed = tombstones::exists(request.own(), attachment);
    if matches!(known, Known::Nothing) && !owed && !sight(kernel, attachment, None)?.link {
        return Ok(());
    }
    let run_dir = &request.own().run_dir;
    let _node = NodeLock::shared(run_dir, LOCK_DEADLINE).map_err(|e| error::store(&e))?;
    tombstones::try_to_settle(request.network());
    finish(request, records, kernel)
}

/// The same; the caller holds the node lock. The IPAM plugin is asked only for what was begun: the
/// record is written before it is called.
pub(crate) fn finish(
    request: &Request<LocalConfig>,
    records: &AttachmentDir<AttachmentRecord>,
    kernel: &mut dyn Kernel,
) -> Result<(), CniError> {
    let attachment = request.attachment();
    let known = look_up(records, attachment)?;
    let netns = request.netns().map_or(Ok(None), inode)?;
    let objects = objects(kernel, &known, attachment, netns)?;
    remove_objects(kernel, &objects)?;
    if matches!(known, Known::Nothing) {
        return Ok(());
    }
    tombstones::release(request)?;
    // The record goes last: a DEL that is broken off before is done again.
    records.remove(attachment).map_err(|e| later(&e))
}

/// Where not even this can be written the runtime has to come again.
fn later(failure: &egret_store::Error) -> CniError {
    CniError::caused_by(Code::TRY_AGAIN_LATER, failure)
}

/// Removes what is left of an attachment, and its record. `netns` is the inode of the namespace that
/// the kernel has as the pod's.
pub(crate) fn remove(
    kernel: &mut dyn Kernel,
    records: &AttachmentDir<AttachmentRecord>,
    attachment: &Attachment,
    netns: Option<u64>,
) -> Result<(), CniError> {
    let known = look_up(records, attachment)?;
    let objects = objects(kernel, &known, attachment, netns)?;
    remove_objects(kernel, &objects)?;
    records.remove(attachment).map_err(|e| error::store(&e))
}

/// Of the namespace at a path; `None` if it is gone.
pub(crate) fn inode(path: &Path) -> Result<Option<u64>, CniError> {
    Netns::inode_at(path).map_err(|error| CniError::caused_by(Code::IO_FAILURE, &error))
}

fn look_up(
    records: &AttachmentDir<AttachmentRecord>,
    attachment: &Attachment,
) -> Result<Known, CniError> {
    match records.get(attachment) {
        Ok(Some(record)) => Ok(Known::Recorded(Box::new(record))),
        Ok(None) => Ok(Known::Nothing),
        Err(failure) if failure.is_damaged() => {
            log::error!("{failure}: what it listed is removed by name");
            Ok(Known::Damaged)
        }
        Err(failure) => Err(error::store(&failure)),
    }
}

/// What is to be removed: what the record lists, else what has the attachment's names.
fn objects(
    kernel: &mut dyn Kernel,
    known: &Known,
    attachment: &Attachment,
    netns: Option<u64>,
) -> Result<Vec<Placed>, CniError> {
    match known {
        Known::Recorded(record) => {
            let boot: String = boot_id::read().map_err(|e| error::store(&e))?.into();
            Ok(sight(kernel, attachment, netns)?.remaining(record, &boot))
        }
        Known::Damaged | Known::Nothing => Ok(attachment_by_name(&Names::of(attachment))),
    }
}

pub(crate) fn sight(
    kernel: &mut dyn Kernel,
    attachment: &Attachment,
    netns: Option<u64>,
) -> Result<Sighting, CniError> {
    Sighting::of(kernel, attachment, netns).map_err(|failure| error::kernel(&failure))
}

pub(crate) fn remove_objects(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<(), CniError> {
    let failures = apply::remove_all(kernel, objects);
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = failures.iter().map(|f| error::kernel(f).msg().to_owned()).collect();
    let msg = format!("{} of {} objects could not be removed", texts.len(), objects.len());
    Err(CniError::new(Code::IO_FAILURE, msg).with_details(texts.join("; ")))
}

//! DEL: everything that the record of an attachment lists goes, whatever is already gone.

use std::time::Duration;

use egret_cni::{CniError, Code, Delegate, Request};
use egret_egress::apply;
use egret_egress::desired::{Names, attachment_by_name};
use egret_egress::kernel::Kernel;
use egret_egress::object::{Object, Place, Placed};
use egret_egress::record::AttachmentRecord;
use egret_kernel::Netns;
use egret_resources::LocalConfig;
use egret_store::boot_id;
use egret_store::journal::AttachmentDir;
use egret_store::lock::NodeLock;
use egret_types::Attachment;

use crate::error;
use crate::exec::Programs;
use crate::leases::ipam_section;

/// How long DEL waits for others on this node.
const LOCK_DEADLINE: Duration = Duration::from_secs(8);

/// What is known of an attachment that is to go.
enum Known {
    /// Its record.
    Recorded(Box<AttachmentRecord>),
    /// That there was one, which cannot be read any more.
    Damaged,
    /// Nothing: it was never begun, or its record is lost.
    Nothing,
}

/// Detaches. The IPAM plugin is asked only for what was begun: the record is written before it is
/// called.
pub(crate) fn run(
    request: &Request<LocalConfig>,
    records: &AttachmentDir<AttachmentRecord>,
    kernel: &mut dyn Kernel,
) -> Result<(), CniError> {
    let attachment = request.attachment();
    let config = request.own();
    let _node = NodeLock::shared(&config.run_dir, LOCK_DEADLINE).map_err(|e| error::store(&e))?;
    let known = look_up(records, attachment)?;
    // A namespace that cannot be opened is gone.
    let netns = request.netns().and_then(|path| Netns::open(path).ok());
    let netns = netns.map(|netns| netns.inode());
    remove_objects(kernel, &objects(&known, attachment, netns)?)?;
    if matches!(known, Known::Nothing) {
        return Ok(());
    }
    let ipam = ipam_section(request.config().ipam()?, config, &[])?;
    Delegate::new(&Programs, request, &ipam)?.del()?;
    // The record goes last: a DEL that is broken off before is done again.
    records.remove(attachment).map_err(|e| error::store(&e))
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
    remove_objects(kernel, &objects(&known, attachment, netns)?)?;
    records.remove(attachment).map_err(|e| error::store(&e))
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
    known: &Known,
    attachment: &Attachment,
    netns: Option<u64>,
) -> Result<Vec<Placed>, CniError> {
    match known {
        Known::Recorded(record) => {
            let boot: String = boot_id::read().map_err(|e| error::store(&e))?.into();
            Ok(remaining(record, &boot, netns))
        }
        Known::Damaged | Known::Nothing => Ok(attachment_by_name(&Names::of(attachment))),
    }
}

/// What of a record can still be its own. Nothing after a reboot: numbers of links and addresses
/// have been given anew. In the pod's namespace nothing when that is another one now: runtimes come
/// late, with a path that by then may name the namespace of another pod, or the node's.
fn remaining(record: &AttachmentRecord, boot: &str, netns: Option<u64>) -> Vec<Placed> {
    if record.netns.boot_id != boot {
        return Vec::new();
    }
    let same = netns == Some(record.netns.inode);
    // The link between both namespaces is removed from the other side.
    let elsewhere =
        |placed: &&Placed| placed.place != Place::Pod || matches!(placed.object, Object::Veth(_));
    record.objects.iter().filter(|placed| same || elsewhere(placed)).cloned().collect()
}

fn remove_objects(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<(), CniError> {
    let failures = apply::remove_all(kernel, objects);
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = failures.iter().map(|f| error::kernel(f).msg().to_owned()).collect();
    let msg = format!("{} of {} objects could not be removed", texts.len(), objects.len());
    Err(CniError::new(Code::IO_FAILURE, msg).with_details(texts.join("; ")))
}

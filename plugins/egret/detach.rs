//! DEL: everything that the record of an attachment lists goes, whatever is already gone.

use std::time::Duration;

use egret_cni::{CniError, Code, Delegate, Request};
use egret_egress::apply;
use egret_egress::kernel::Kernel;
use egret_egress::record::AttachmentRecord;
use egret_store::journal::AttachmentDir;
use egret_store::lock::NodeLock;
use egret_types::Attachment;

use crate::error;
use crate::exec::Programs;
use crate::leases::ipam_section;
use egret_resources::LocalConfig;

/// How long DEL waits for others on this node.
const LOCK_DEADLINE: Duration = Duration::from_secs(8);

/// Detaches. An attachment without a record was never begun: there is nothing of it, in the kernel
/// or with the IPAM plugin, since the record is written before both.
pub(crate) fn run(
    request: &Request<LocalConfig>,
    records: &AttachmentDir<AttachmentRecord>,
    kernel: &mut dyn Kernel,
) -> Result<(), CniError> {
    let attachment = request.attachment();
    let config = request.own();
    if records.get(attachment).map_err(|e| error::store(&e))?.is_none() {
        return Ok(());
    }
    let _node = NodeLock::shared(&config.run_dir, LOCK_DEADLINE).map_err(|e| error::store(&e))?;
    remove_objects(kernel, records, attachment)?;
    let ipam = ipam_section(request.config().ipam()?, config, &[])?;
    Delegate::new(&Programs, request, &ipam)?.del()?;
    // The record goes last: a DEL that is broken off before is done again.
    records.remove(attachment).map_err(|e| error::store(&e))
}

/// Removes what is left of an attachment, and its record.
pub(crate) fn remove(
    kernel: &mut dyn Kernel,
    records: &AttachmentDir<AttachmentRecord>,
    attachment: &Attachment,
) -> Result<(), CniError> {
    remove_objects(kernel, records, attachment)?;
    records.remove(attachment).map_err(|e| error::store(&e))
}

fn remove_objects(
    kernel: &mut dyn Kernel,
    records: &AttachmentDir<AttachmentRecord>,
    attachment: &Attachment,
) -> Result<(), CniError> {
    let Some(record) = records.get(attachment).map_err(|e| error::store(&e))? else {
        return Ok(());
    };
    let failures = apply::remove_all(kernel, &record.objects);
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = failures.iter().map(|f| error::kernel(f).msg().to_owned()).collect();
    let msg = format!("{} of {} objects could not be removed", texts.len(), record.objects.len());
    Err(CniError::new(Code::IO_FAILURE, msg).with_details(texts.join("; ")))
}

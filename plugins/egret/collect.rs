//! GC: what is left of attachments that nobody has any more goes as by DEL.

use egret_cni::{CniError, Code, Delegate, NetworkRequest, ValidAttachments};
use egret_egress::kernel::Kernel;
use egret_egress::record::AttachmentRecord;
use egret_resources::LocalConfig;
use egret_store::boot_id;
use egret_store::journal::{AttachmentDir, Journaled};
use egret_store::lock::NodeLock;
use egret_types::Attachment;

use crate::exec::Programs;
use crate::leases::ipam_section;
use crate::{detach, error, tombstones};

/// One GC.
struct Gc<'a> {
    request: &'a NetworkRequest<LocalConfig>,
    records: &'a AttachmentDir<AttachmentRecord>,
    delegate: Delegate<'a>,
    boot: String,
}

/// Removes the attachments of this network that the runtime does not have and of which the kernel
/// shows nothing; then lets the IPAM plugin do the same, to which those that stay count as valid.
///
/// Younger than the list is what was written since the call began, and what the kernel shows: a list
/// may be of another runtime, or of a moment ago.
pub(crate) fn run(
    request: &NetworkRequest<LocalConfig>,
    records: &AttachmentDir<AttachmentRecord>,
    kernel: &mut dyn Kernel,
) -> Result<(), CniError> {
    let mut valid = valid_attachments(request)?;
    let ipam = ipam_section(request.config().ipam()?, request.own(), &[])?;
    let delegate = Delegate::new(&Programs, request, &ipam)?;
    let boot = boot_id::read().map_err(|e| error::store(&e))?.into();
    tombstones::try_to_settle(request);
    let gc = Gc { request, records, delegate, boot };
    let mut failures = Vec::new();
    for found in records.list().map_err(|e| error::store(&e))? {
        // Whose a damaged one was nobody knows; `egretctl gc` removes it when no pod is left.
        let Journaled::Whole { attachment, record } = found else { continue };
        if attachment.network != *request.config().name() || valid.contains(&attachment) {
            continue;
        }
        match gc.collect(kernel, &attachment, &record) {
            Ok(Fate::Removed) => log::info!("GC: {attachment} does not exist any more: removed"),
            Ok(Fate::Kept) => valid.insert(&attachment),
            Err(failure) => {
                valid.insert(&attachment);
                failures.push(failure.in_context(&attachment));
            }
        }
    }
    failures.extend(gc.delegate.gc(&valid).err());
    one_of(&failures)
}

enum Fate {
    Removed,
    Kept,
}

impl Gc<'_> {
    fn collect(
        &self,
        kernel: &mut dyn Kernel,
        attachment: &Attachment,
        record: &AttachmentRecord,
    ) -> Result<Fate, CniError> {
        let run_dir = &self.request.own().run_dir;
        let _node =
            NodeLock::shared(run_dir, detach::LOCK_DEADLINE).map_err(|e| error::store(&e))?;
        let now = self.records.get(attachment).map_err(|e| error::store(&e))?;
        let seen = detach::sight(kernel, attachment, detach::inode(&record.netns.path)?)?;
        if now.as_ref() != Some(record) || !seen.is_nothing(record, &self.boot) {
            return Ok(Fate::Kept);
        }
        detach::remove_objects(kernel, &seen.remaining(record, &self.boot))?;
        self.delegate.del_of(attachment)?;
        self.records.remove(attachment).map_err(|e| error::store(&e))?;
        Ok(Fate::Removed)
    }
}

fn valid_attachments(request: &NetworkRequest<LocalConfig>) -> Result<ValidAttachments, CniError> {
    match request.valid_attachments()? {
        Some(valid) => Ok(valid),
        None if request.own().gc_without_list => Ok(ValidAttachments::default()),
        None => {
            let msg = "key \"cni.dev/valid-attachments\" is missing: GC without a list removes \
                       nothing unless \"gcWithoutList\" is true";
            Err(CniError::new(Code::INVALID_CONFIG, msg))
        }
    }
}

/// One error for all of them, with the code of the first.
fn one_of(failures: &[CniError]) -> Result<(), CniError> {
    let Some((first, others)) = failures.split_first() else { return Ok(()) };
    if others.is_empty() {
        return Err(first.clone());
    }
    let msg = format!("GC failed in {} places; the first: {}", failures.len(), first.msg());
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(CniError::new(first.code(), msg).with_details(texts.join("; ")))
}

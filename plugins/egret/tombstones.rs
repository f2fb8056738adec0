//! What DEL could not tell the IPAM plugin: written down, and told by the next call. A DEL that fails
//! for it would keep the pod from ending, and make the plugins before us leak their addresses.

use std::time::{Duration, Instant};

use egret_cni::{CniError, Code, Delegate, NetworkRequest, Request};
use egret_resources::LocalConfig;
use egret_store::journal::{AttachmentDir, Journaled};
use egret_store::lock::NodeLock;
use egret_types::Attachment;

use crate::exec::Programs;
use crate::leases::ipam_section;
use crate::{detach, error};

/// How long one call pays what earlier ones owe. An IPAM plugin that hangs takes more for one alone:
/// then the call has still time for what it is for.
const BUDGET: Duration = Duration::from_secs(2);

fn all(config: &LocalConfig) -> AttachmentDir<()> {
    AttachmentDir::tombstones(&config.state_dir)
}

/// Calls DEL of the IPAM plugin, now or, when that fails, later.
pub(crate) fn release(request: &Request<LocalConfig>) -> Result<(), CniError> {
    let Err(failure) = tell(request) else { return Ok(()) };
    log::warn!("DEL of the IPAM plugin failed, the next call repeats it: {failure}");
    all(request.own()).put(request.attachment(), &()).map_err(|unwritten| {
        let owed = CniError::caused_by(Code::TRY_AGAIN_LATER, &unwritten);
        owed.in_context(
            "links, routes and rules are removed; record and lease are kept for the next DEL",
        )
        .with_details(failure.to_string())
    })
}

fn tell(request: &Request<LocalConfig>) -> Result<(), CniError> {
    let ipam = ipam_section(request.config().ipam()?, request.own(), &[])?;
    Delegate::new(&Programs, request.network(), &ipam)?.del()
}

/// Whether there is one of this attachment. One that cannot be read is one.
pub(crate) fn exists(config: &LocalConfig, attachment: &Attachment) -> bool {
    !matches!(all(config).get(attachment), Ok(None))
}

/// Tells the IPAM plugin what it has not been told. What fails again, and what there is no time for,
/// stays for the next call. ADD says which attachment it is about: what is owed for an earlier one of
/// that name must not be paid with what it is about to get.
pub(crate) fn settle(
    request: &NetworkRequest<LocalConfig>,
    about: Option<&Attachment>,
) -> Result<(), CniError> {
    let tombstones = all(request.own());
    let list = || tombstones.list().map_err(|e| error::store(&e));
    if list()?.is_empty() {
        return Ok(());
    }
    // Alone, and what is there now: each is told once, and not by somebody who is late.
    let run_dir = &request.own().run_dir;
    let _alone = NodeLock::making(run_dir, detach::LOCK_DEADLINE).map_err(|e| error::store(&e))?;
    let ipam = ipam_section(request.config().ipam()?, request.own(), &[])?;
    let delegate = Delegate::new(&Programs, request, &ipam)?;
    let begin = Instant::now();
    for found in list()? {
        let Journaled::Whole { attachment, .. } = found else { continue };
        let due = about == Some(&attachment) || begin.elapsed() < BUDGET;
        if attachment.network != *request.config().name() || !due {
            continue;
        }
        let told = delegate.del_of(&attachment);
        if told.is_ok() || about == Some(&attachment) {
            tombstones.remove(&attachment).map_err(|e| error::store(&e))?;
        }
        if let Err(failure) = told {
            log::warn!("DEL of the IPAM plugin failed again for {attachment}: {failure}");
        }
    }
    Ok(())
}

/// The same, where it must not stop what the call is for.
pub(crate) fn try_to_settle(request: &NetworkRequest<LocalConfig>) {
    if let Err(failure) = settle(request, None) {
        log::warn!("what the IPAM plugin has not been told stays written down: {failure}");
    }
}

//! The guard of one pod as the resources want it: it, nothing, or the reason why there is no pod.

use egret_cni::{CniError, Code};
use egret_egress::decision::Decision;
use egret_egress::desired::{Names, pod_guard};
use egret_egress::host_end::{HostEndError, host_end};
use egret_egress::kernel::Kernel;
use egret_egress::object::Placed;
use egret_resources::Guard;

use crate::error;
use crate::pod::Pod;

/// What guards the pod. `decision` is what its policies mean, its egress pairs known or not.
pub(crate) fn plan(
    kernel: &mut dyn Kernel,
    mode: Guard,
    pod: &Pod,
    names: &Names,
    decision: &Decision,
) -> Result<Vec<Placed>, CniError> {
    if mode == Guard::Off {
        return Ok(Vec::new());
    }
    match host_end(kernel, &pod.primary) {
        Ok(end) => Ok(pod_guard(names, &end, &pod.addresses, decision)),
        Err(HostEndError::Kernel(failure)) => Err(error::kernel(&failure)),
        Err(reason) if mode == Guard::BestEffort => {
            log::warn!("{reason}: the pod goes without (EgressCluster guard is best-effort)");
            Ok(Vec::new())
        }
        Err(reason) => {
            let msg = format!(
                "{reason} (EgressCluster guard is required; with best-effort or off the pod could leave around the gateway)"
            );
            Err(CniError::new(Code::GUARD_IMPOSSIBLE, msg))
        }
    }
}

//! From what went wrong to the code that the runtime is told: the one mapping of this program.

use egret_cni::{CniError, Code};
use egret_ipam::{IpamError, ports::Retry};
use egret_resources::ProblemKind;
use egret_store::resource_dir::LoadError;

/// Leases that cannot be had.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
pub(crate) fn ipam(error: IpamError) -> CniError {
    let code = match &error {
        IpamError::Exhausted { .. } => Code::POOL_EXHAUSTED,
        IpamError::Pair(_)
        | IpamError::OtherNode { .. }
        | IpamError::Taken { .. }
        | IpamError::Moved { .. }
        | IpamError::Lost { .. } => Code::ADDRESS_NOT_AVAILABLE,
        IpamError::NotAdmitted { .. }
        | IpamError::NamespaceUnknown { .. }
        | IpamError::QuotaUsed { .. } => Code::NOT_ALLOWED,
        IpamError::Contended { .. } | IpamError::LabelsUnknown { .. } => Code::TRY_AGAIN_LATER,
        IpamError::NotHeld { .. } | IpamError::LeaseGone { .. } => Code::LEASE_LOST,
        IpamError::Port(error) => match error.retry() {
            Retry::Later => Code::TRY_AGAIN_LATER,
            Retry::Pointless => Code::IO_FAILURE,
        },
    };
    // The text is whole; its sources would say parts of it again.
    CniError::new(code, error.to_string())
}

/// Resources that cannot be used.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
pub(crate) fn resources(error: LoadError) -> CniError {
    let code = match error.kind() {
        ProblemKind::Malformed => Code::INVALID_CONFIG,
        ProblemKind::NotHonoured => Code::NOT_APPLICABLE,
    };
    CniError::new(code, error.to_string())
}

/// A file of the node that cannot be read.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
pub(crate) fn store(error: egret_store::Error) -> CniError {
    CniError::new(Code::IO_FAILURE, error.to_string())
}

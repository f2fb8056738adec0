//! From what went wrong to the code that the runtime is told: the one mapping of this program.

use egret_cni::{CniError, Code};
use egret_egress::kernel::Failure;
use egret_egress::object::Place;
use egret_egress::topology::TopologyError;
use egret_egress::underlay::UnderlayError;
use egret_resources::ProblemKind;
use egret_store::resource_dir::LoadError;

/// What the kernel refused.
pub(crate) fn kernel(failure: &Failure) -> CniError {
    let code = match failure {
        Failure::Foreign { .. } => Code::FOREIGN_OBJECT,
        // To the runtime this code means that the container is gone and needs no DEL.
        Failure::NoNamespace { place: Place::Pod } => Code::UNKNOWN_CONTAINER,
        Failure::NoNamespace { .. } | Failure::NotPermitted { .. } | Failure::Refused { .. } => {
            Code::IO_FAILURE
        }
    };
    CniError::caused_by(code, failure)
}

/// Resources that cannot be used.
pub(crate) fn resources(error: &LoadError) -> CniError {
    let code = match error.kind() {
        ProblemKind::Malformed => Code::INVALID_CONFIG,
        ProblemKind::NotHonoured => Code::NOT_APPLICABLE,
    };
    CniError::caused_by(code, error)
}

/// Resources that do not describe this node.
pub(crate) fn topology(error: &TopologyError) -> CniError {
    CniError::caused_by(Code::INVALID_CONFIG, error)
}

/// No underlay link.
pub(crate) fn underlay(error: &UnderlayError) -> CniError {
    match error {
        UnderlayError::Kernel(failure) => kernel(failure),
        UnderlayError::NotHere { .. } | UnderlayError::NoSuchLink(_) => {
            CniError::caused_by(Code::INVALID_CONFIG, error)
        }
    }
}

/// A record or lock that could not be had.
pub(crate) fn store(error: &egret_store::Error) -> CniError {
    let code = if error.is_busy() { Code::TRY_AGAIN_LATER } else { Code::IO_FAILURE };
    CniError::caused_by(code, error)
}

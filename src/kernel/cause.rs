//! What an error means to the caller of the port, and to an operator.

use egret_egress::kernel::Failure;
use egret_egress::object::{Object, Place, RouteAction};
use egret_types::Family;

use crate::error::Error;
use crate::namespace::Namespace;
use crate::{nft, sysctl};

/// Why a part of the crate failed.
pub(crate) enum Cause {
    Kernel(Error),
    Nft(nft::Error),
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Cause::Kernel(error)
    }
}

impl From<nft::Error> for Cause {
    fn from(error: nft::Error) -> Self {
        Cause::Nft(error)
    }
}

/// What an error means to the caller of the port.
pub(crate) fn failure(place: Place, operation: String, cause: Cause) -> Failure {
    match cause {
        Cause::Kernel(error) if error.is_no_namespace() => Failure::NoNamespace { place },
        Cause::Kernel(error) if error.is_not_permitted() => Failure::NotPermitted { operation },
        Cause::Kernel(error) => Failure::Refused { operation, source: Box::new(error) },
        Cause::Nft(nft::Error::Foreign { object, found }) => {
            Failure::Foreign { what: object, place, found }
        }
        Cause::Nft(error) if error.is_not_permitted() => Failure::NotPermitted { operation },
        Cause::Nft(error) => Failure::Refused { operation, source: Box::new(error) },
    }
}

/// Likewise of one object, whose name or path may be somebody else's.
pub(crate) fn refusal(place: Place, object: &Object, operation: String, cause: Cause) -> Failure {
    let foreign = |found| Failure::Foreign { what: object.to_string(), place, found };
    match cause {
        Cause::Kernel(Error::Taken { found }) => foreign(found),
        Cause::Kernel(error @ Error::NotANamespace { .. }) if *object == Object::Namespace => {
            foreign(error.to_string())
        }
        cause => failure(place, operation, cause),
    }
}

/// Where IPv6 is off the kernel's words for it differ from object to object and from version to
/// version; an operator needs to read which switch it is.
pub(crate) fn explain(at: &Namespace, object: &Object, error: Error) -> Error {
    let (family, link) = match object {
        Object::Address(object) => (Family::of(object.address), Some(&object.link)),
        Object::Neighbour(object) => (Family::of(object.address), Some(&object.link)),
        Object::Rule(object) => (object.family, None),
        Object::Route(object) => {
            let link = match &object.action {
                RouteAction::Via { link, .. } | RouteAction::Direct { link } => Some(link),
                RouteAction::Throw | RouteAction::Prohibit | RouteAction::Unreachable => None,
            };
            (object.destination.family(), link)
        }
        Object::Sysctl(object) if object.path.starts_with("net/ipv6/") => (Family::V6, None),
        _ => return error,
    };
    let refused = matches!(error, Error::Kernel { .. } | Error::Sysctl { .. });
    if family != Family::V6 || !refused || error.is_not_permitted() {
        return error;
    }
    match sysctl::ipv6_disabled(&at.resident, link) {
        Some(parameter) => Error::Ipv6Disabled { parameter, refusal: Box::new(error) },
        None => error,
    }
}

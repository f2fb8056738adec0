//! Why an operation on the kernel failed, one variant for each kind of operation. `linux.rs` adds
//! the object and its namespace, and turns it into the port's `Failure`.

use std::io;
use std::path::PathBuf;

use egret_types::LinkName;
use nix::errno::Errno;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of a namespace cannot be opened.
    #[error("opening namespace {}: {source}", path.display())]
    OpenNamespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a file, but it is not a namespace.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// The file.
        path: PathBuf,
    },
    /// A namespace that is not ours to make or remove.
    #[error("only the egret namespace is made and removed")]
    OthersNamespace,
    /// A step of making a namespace failed.
    #[error("making namespace {}: {step}: {source}", path.display())]
    CreateNamespace {
        /// Its file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A step of removing a namespace failed.
    #[error("removing namespace {}: {step}: {source}", path.display())]
    RemoveNamespace {
        /// Its file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A thread could not start, or not enter the namespace.
    #[error("entering namespace {}: {source}", path.display())]
    EnterNamespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A netlink socket does not work.
    #[error("{step} a netlink socket: {source}")]
    Socket {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("{}", refusal(*errno, text.as_deref()))]
    Kernel {
        /// Its error number.
        errno: Errno,
        /// Its own words, where it has any.
        text: Option<String>,
    },
    /// Each reading of a list was interrupted by changes.
    #[error("the list changed while it was read, {attempts} times in a row")]
    Interrupted {
        /// How often it was tried.
        attempts: u32,
    },
    /// An answer of the kernel does not have the form it should.
    #[error("the kernel's answer has no {what}")]
    Malformed {
        /// What is missing in it.
        what: &'static str,
    },
    /// A link that the operation needs.
    #[error("link {link} does not exist")]
    NoLink {
        /// Its name.
        link: LinkName,
    },
    /// The name or key is taken by something that is not ours.
    #[error("{found} is there")]
    Taken {
        /// What is there.
        found: String,
    },
    /// Our own link cannot become what it should be without being made again.
    #[error("{found}: remove it first with `{command}`")]
    Unlike {
        /// How it differs.
        found: String,
        /// What removes it.
        command: &'static str,
    },
    /// Another link has the tunnel's number.
    #[error("VNI {vni} on UDP port {port} belongs to another VXLAN link of the node: {refusal}")]
    VniTaken {
        /// The network identifier.
        vni: u32,
        /// The UDP port.
        port: u16,
        /// The kernel's answer.
        refusal: Box<Error>,
    },
    /// Another socket has the tunnel's port.
    #[error("UDP port {port} is used by another program or tunnel of the node: {refusal}")]
    PortTaken {
        /// The UDP port.
        port: u16,
        /// The kernel's answer.
        refusal: Box<Error>,
    },
    /// IPv6 is switched off where an object needs it.
    #[error("IPv6 is disabled there ({parameter}): enable it, or use only IPv4 ({refusal})")]
    Ipv6Disabled {
        /// The parameter that says so.
        parameter: String,
        /// The kernel's answer.
        refusal: Box<Error>,
    },
    /// A kernel parameter cannot be read or written.
    #[error("{step} /proc/sys/{path}: {source}")]
    Sysctl {
        /// What was tried.
        step: &'static str,
        /// Its path below `/proc/sys`.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An announcement could not be sent.
    #[error("announcing on link {link}: {source}")]
    Announce {
        /// The link.
        link: LinkName,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Kernel { errno, .. } => Some(*errno),
            Error::OpenNamespace { source, .. }
            | Error::CreateNamespace { source, .. }
            | Error::RemoveNamespace { source, .. }
            | Error::EnterNamespace { source, .. }
            | Error::Socket { source, .. }
            | Error::Sysctl { source, .. }
            | Error::Announce { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Error::VniTaken { refusal, .. }
            | Error::PortTaken { refusal, .. }
            | Error::Ipv6Disabled { refusal, .. } => refusal.errno(),
            Error::NotANamespace { .. }
            | Error::OthersNamespace
            | Error::Interrupted { .. }
            | Error::Malformed { .. }
            | Error::NoLink { .. }
            | Error::Taken { .. }
            | Error::Unlike { .. } => None,
        }
    }

    /// The namespace is not there.
    pub fn is_no_namespace(&self) -> bool {
        match self {
            Error::OpenNamespace { .. } => {
                matches!(self.errno(), Some(Errno::ENOENT | Errno::ENOTDIR))
            }
            Error::NotANamespace { .. } => true,
            _ => false,
        }
    }

    /// The process lacks a capability. Files say EACCES, netlink only ever EPERM (its EACCES has
    /// other reasons).
    pub(crate) fn is_not_permitted(&self) -> bool {
        match self {
            Error::Kernel { .. }
            | Error::VniTaken { .. }
            | Error::PortTaken { .. }
            | Error::Ipv6Disabled { .. } => self.errno() == Some(Errno::EPERM),
            _ => matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES)),
        }
    }
}

fn refusal(errno: Errno, text: Option<&str>) -> String {
    let description = errno.desc();
    match text {
        Some(text) => format!("{text} ({description})"),
        None => description.to_owned(),
    }
}

/// Whether the kernel refused with one of these numbers.
pub(crate) fn refused_with<T>(result: &Result<T, Error>, numbers: &[Errno]) -> bool {
    matches!(result, Err(Error::Kernel { errno, .. }) if numbers.contains(errno))
}

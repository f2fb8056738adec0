//! Why an nftables operation failed: which object, which error number, which attribute.

use std::fmt;
use std::io;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("open a netlink socket for nftables: {source}")]
    Open { source: io::Error },
    #[error("{operation}: {source}")]
    Exchange { operation: &'static str, source: io::Error },
    #[error("read {object}: {source}")]
    Read { object: String, source: io::Error },
    /// Nothing of the transaction was applied.
    #[error("{}", Joined(.refusals))]
    Refused { refusals: Vec<Refusal> },
    #[error("{object}: the kernel did not acknowledge the transaction")]
    Unacknowledged { object: String },
    #[error("{object}: others changed the ruleset {tries} times in a row while it was read")]
    Contended { object: String, tries: u32 },
    /// The name is taken by something else.
    #[error("{object} is not ours: {found}")]
    Foreign { object: String, found: String },
    #[error("{object} cannot be expressed in nftables")]
    Inexpressible { object: String },
}

/// One message of a transaction that the kernel refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What was tried on which object.
    pub(super) operation: String,
    pub(super) errno: i32,
    /// The kernel's own words, which `nf_tables` seldom has.
    pub(super) text: Option<String>,
    /// Number and value of the attribute that it did not like.
    pub(super) attribute: Option<(u16, Vec<u8>)>,
}

impl Error {
    /// The kernel's error number, where there is one.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Error::Open { source }
            | Error::Exchange { source, .. }
            | Error::Read { source, .. } => source.raw_os_error(),
            Error::Refused { refusals } => refusals.first().map(|refusal| refusal.errno),
            Error::Unacknowledged { .. }
            | Error::Contended { .. }
            | Error::Foreign { .. }
            | Error::Inexpressible { .. } => None,
        }
    }

    /// The process may not change nftables here.
    pub(crate) fn is_not_permitted(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::EPERM as i32)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, io::Error::from_raw_os_error(self.errno))?;
        if let Some(text) = &self.text {
            write!(f, " ({text})")?;
        }
        if let Some((kind, value)) = &self.attribute {
            write!(f, " (attribute {kind}")?;
            match value.split_last() {
                Some((0, name)) if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) => {
                    write!(f, " {}", String::from_utf8_lossy(name))?;
                }
                _ => {}
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

struct Joined<'a>(&'a [Refusal]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, refusal) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{refusal}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_lack_of_privilege_is_told_from_other_failures() {
        let read = |errno: Errno| Error::Read {
            object: "table inet egret".to_owned(),
            source: errno.into(),
        };
        assert!(read(Errno::EPERM).is_not_permitted());
        assert!(!read(Errno::EINVAL).is_not_permitted());
        let refusal = |errno: Errno, attribute| Refusal {
            operation: "add chain inet egret in".to_owned(),
            errno: errno as i32,
            text: None,
            attribute,
        };
        let name = Some((3, b"in\0".to_vec()));
        let refusals = vec![refusal(Errno::EPERM, None), refusal(Errno::EEXIST, name)];
        let error = Error::Refused { refusals };
        assert!(error.is_not_permitted());
        assert_eq!(
            error.to_string(),
            "add chain inet egret in: Operation not permitted (os error 1); \
             add chain inet egret in: File exists (os error 17) (attribute 3 in)"
        );
    }
}

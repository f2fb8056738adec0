//! Why files could not be read, written or locked. Each text is whole: it has the system's words at
//! its end.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use egret_ipam::{PortError, ports::Retry};

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Making a directory.
    CreateDirectory,
    /// Reading the names in a directory.
    List,
    /// Reading a file.
    Read,
    /// Writing a temporary file.
    Write,
    /// Making it durable.
    Sync,
    /// Giving it its name where there was none.
    Link,
    /// Giving it the name of another.
    Rename,
    /// Removing a name.
    Remove,
    /// Opening a lock file, or locking it.
    Lock,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Operation::CreateDirectory => "create the directory",
            Operation::List => "list the directory",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "make durable",
            Operation::Link => "link",
            Operation::Rename => "rename to",
            Operation::Remove => "remove",
            Operation::Lock => "lock",
        })
    }
}

/// The store could not do what it was asked. Only [`Error::Busy`] is worth a second try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused. An `ENOSPC` or `EROFS` reads as such.
    #[error("{operation} {}: {error}", path.display())]
    Io {
        /// What was tried.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else held a lock all the time.
    #[error("{} was locked by others for {} ms", path.display(), waited.as_millis())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// The file is not what was once written.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one sees it.
        why: String,
    },
    /// A later version of Egret wrote the file.
    #[error(
        "{} has format {version}, which this version of Egret cannot read (it reads up to {known})",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
        /// The latest we know.
        known: u32,
    },
    /// Others could change what is in the directory.
    #[error("{} {why}: it must be a directory of this user that nobody else can write to", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// A record did not become JSON, which is a bug.
    #[error("encode the record for {}: {error}", path.display())]
    Encode {
        /// The file it was for.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn io(operation: Operation, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Error::Io { operation, path: path.to_path_buf(), error }
    }

    /// A file or directory is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    /// Later it may work.
    pub fn is_busy(&self) -> bool {
        matches!(self, Error::Busy { .. })
    }

    /// A file is there, but nobody can say what it said.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }
}

impl From<Error> for PortError {
    fn from(error: Error) -> Self {
        let retry = if error.is_busy() { Retry::Later } else { Retry::Pointless };
        PortError::new(error, retry)
    }
}

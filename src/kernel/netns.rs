//! Network namespaces: opened, identified, made and removed. The calling thread never changes its
//! own; `resident.rs` is who works in another.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::error::Error;
use crate::netlink::link;
use crate::netlink::socket::Socket;

/// The namespace of the thread that opens it.
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace. It lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Netns {
    /// Opens the namespace at a path.
    ///
    /// # Errors
    /// [`Error::is_no_namespace`] when nothing is there, or a file that is no namespace: what stays
    /// in `/run/netns` after a reboot or a killed `ip netns add`. Such a file is left as it is.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Without O_NONBLOCK a FIFO at this path would block for ever.
        let failed = |source| Error::OpenNamespace { path: path.to_owned(), source };
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = open.map_err(failed)?;
        let kind = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(Error::NotANamespace { path: path.to_owned() });
        }
        let identity = file.metadata().map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), device: identity.dev(), inode: identity.ino() })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new(OWN))
    }

    /// The inode of the namespace at a path; `None` if there is none. That it cannot be looked at is
    /// no reason to believe that it is gone.
    pub fn inode_at(path: &Path) -> Result<Option<u64>, Error> {
        match Self::open(path) {
            Ok(netns) => Ok(Some(netns.inode)),
            Err(error) if error.is_no_namespace() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number that tells this namespace from all others of the machine until it is rebooted.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether the calling thread is in it.
    pub fn is_current(&self) -> Result<bool, Error> {
        let own = fs::metadata(OWN)
            .map_err(|source| Error::OpenNamespace { path: OWN.into(), source })?;
        Ok(own.ino() == self.inode && own.dev() == self.device)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes a namespace with a name, as `ip netns add` does, with its loopback up (a gateway
    /// answers itself on it).
    ///
    /// # Guarantees
    /// Nothing changes if it is there. Killed at any point and called again, it ends well: the
    /// bind mount is the last step, and an empty file without one is what an earlier call left.
    ///
    /// # Assumptions
    /// The caller holds a lock against other creators and removers of this path.
    pub fn create(path: &Path) -> Result<(), Error> {
        let failed = |step: &'static str| {
            move |source| Error::CreateNamespace { path: path.to_owned(), step, source }
        };
        // What is there decides before its directory becomes a mount point.
        let found = Leftover::at(path).map_err(failed("looking at its path"))?;
        match found {
            Leftover::Namespace => return Ok(()),
            Leftover::Nothing | Leftover::EmptyFile => {}
            Leftover::Other => return Err(Error::NotANamespace { path: path.to_owned() }),
        }
        if let Some(parent) = path.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o755).create(parent).map_err(failed("its directory"))?;
            share(parent).map_err(|errno| failed("sharing its directory")(errno.into()))?;
        }
        if matches!(found, Leftover::Nothing) {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o000).custom_flags(libc::O_NOFOLLOW);
            options.open(path).map_err(failed("its file"))?;
        }
        thread::scope(|scope| {
            let build = || populate(path);
            let thread =
                thread::Builder::new().spawn_scoped(scope, build).map_err(failed("a thread"))?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Removes a namespace by its path; success when it is gone. It lives on as long as sockets
    /// and processes are in it: drop a [`crate::LinuxKernel`] that used it first.
    ///
    /// # Assumptions
    /// As for [`Netns::create`].
    pub fn remove(path: &Path) -> Result<(), Error> {
        let failed = |step: &'static str| {
            move |source| Error::RemoveNamespace { path: path.to_owned(), step, source }
        };
        loop {
            match Leftover::at(path).map_err(failed("looking at its path"))? {
                Leftover::Nothing => return Ok(()),
                // A creator without a lock may have mounted twice: hence the loop.
                Leftover::Namespace => {
                    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
                    umount2(path, flags).map_err(|errno| failed("unmounting")(errno.into()))?;
                }
                Leftover::EmptyFile => match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("its file")(error));
                    }
                    _ => return Ok(()),
                },
                Leftover::Other => return Err(Error::NotANamespace { path: path.to_owned() }),
            }
        }
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// What is at the path of a namespace.
enum Leftover {
    Nothing,
    Namespace,
    EmptyFile,
    Other,
}

impl Leftover {
    fn at(path: &Path) -> io::Result<Self> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        if !found.is_file() {
            return Ok(Self::Other);
        }
        if nix::sys::statfs::statfs(path)?.filesystem_type() == NSFS_MAGIC {
            return Ok(Self::Namespace);
        }
        Ok(if found.len() == 0 { Self::EmptyFile } else { Self::Other })
    }
}

/// On a new thread: leaves the namespace of the process, makes one, and mounts it at `path`.
fn populate(path: &Path) -> Result<(), Error> {
    let failed = |step: &'static str| {
        move |errno: Errno| Error::CreateNamespace {
            path: path.to_owned(),
            step,
            source: errno.into(),
        }
    };
    unshare(CloneFlags::CLONE_NEWNET).map_err(failed("unsharing"))?;
    link::set_up(&Socket::route()?, 1)?;
    let none: Option<&str> = None;
    mount(Some(OWN), path, none, MsFlags::MS_BIND, none).map_err(failed("mounting"))
}

/// Makes a directory a shared mount point, so that what is mounted and unmounted in it is seen in
/// the mount namespaces of others (a kubelet in a container, say), as `ip netns add` does.
fn share(directory: &Path) -> nix::Result<()> {
    let none: Option<&str> = None;
    let shared = || mount(none, directory, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match shared() {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(directory), directory, none, flags, none)?;
            shared()
        }
        result => result,
    }
}

//! Locks between processes: `flock(2)` on a file. The kernel releases them when their holder dies,
//! however. Every wait has a deadline, because a holder can also be stopped.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    atomic::ensure_directory,
    error::{Error, Operation},
};

const NODE: &str = "node.lock";
const MAKING: &str = "making.lock";
/// Their files in `runDir`; the one below first.
pub(crate) const FILES: [&str; 2] = [MAKING, NODE];
/// How often the directory may vanish while its lock is taken: `gc` removes it when it is empty.
const TRIES: u32 = 8;

/// `flock` knows no deadline, so we look again, soon at first.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

/// The locks of a node, in `runDir`. Held until dropped.
#[derive(Debug)]
pub struct NodeLock {
    _held: FileLock,
}

impl NodeLock {
    /// For those who use the shared objects of the node, ADD and DEL: any number at a time.
    pub fn shared(run_dir: &Path, deadline: Duration) -> Result<Self, Error> {
        Self::acquire(run_dir, NODE, Mode::Shared, deadline)
    }

    /// For whoever removes them: nobody else.
    pub fn exclusive(run_dir: &Path, deadline: Duration) -> Result<Self, Error> {
        Self::acquire(run_dir, NODE, Mode::Exclusive, deadline)
    }

    /// For whoever makes them, while it holds the shared lock: one at a time.
    pub fn making(run_dir: &Path, deadline: Duration) -> Result<Self, Error> {
        Self::acquire(run_dir, MAKING, Mode::Exclusive, deadline)
    }

    fn acquire(run_dir: &Path, name: &str, mode: Mode, deadline: Duration) -> Result<Self, Error> {
        let mut tries = 1;
        loop {
            ensure_directory(run_dir)?;
            match FileLock::acquire(&run_dir.join(name), mode, deadline) {
                Err(error) if error.is_not_found() && tries < TRIES => tries += 1,
                held => return Ok(Self { _held: held? }),
            }
        }
    }
}

/// A lock on a file, released when this is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    /// The lock lives as long as the open file.
    _open: File,
}

impl FileLock {
    /// Waits at most until the deadline to be alone.
    pub(crate) fn exclusive(path: &Path, deadline: Duration) -> Result<Self, Error> {
        Self::acquire(path, Mode::Exclusive, deadline)
    }

    fn acquire(path: &Path, mode: Mode, deadline: Duration) -> Result<Self, Error> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut file = open(path)?;
        loop {
            let outcome = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match outcome {
                Ok(()) if is_there(&file, path)? => return Ok(Self { _open: file }),
                // Somebody cleared the directory while we waited: those who come after us lock
                // another file.
                Ok(()) => {
                    file = open(path)?;
                    continue;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Error::io(Operation::Lock, path)(error));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            let left = deadline.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(Error::Busy { path: path.to_path_buf(), waited: begin.elapsed() });
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// With `O_CLOEXEC`, as all files of Rust: a program that is started must not inherit the lock.
fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Error::io(Operation::Lock, path))
}

/// The open file is still the one under the name.
fn is_there(file: &File, path: &Path) -> Result<bool, Error> {
    let failed = Error::io(Operation::Lock, path);
    let ours = match file.metadata() {
        Ok(ours) => ours,
        Err(error) => return Err(failed(error)),
    };
    match path.metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn users_of_a_node_share_it_and_whoever_clears_it_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeLock::shared(dir.path(), SHORT).unwrap();
        let second = NodeLock::shared(dir.path(), SHORT).unwrap();
        assert!(NodeLock::exclusive(dir.path(), SHORT).unwrap_err().is_busy());
        drop((first, second));
        let alone = NodeLock::exclusive(dir.path(), SHORT).unwrap();
        let error = NodeLock::shared(dir.path(), SHORT).unwrap_err();
        assert!(error.to_string().contains("node.lock was locked by others for"), "{error}");
        drop(alone);
        NodeLock::shared(dir.path(), SHORT).unwrap();
    }

    #[test]
    fn the_lock_of_makers_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let _user = NodeLock::shared(dir.path(), SHORT).unwrap();
        let _maker = NodeLock::making(dir.path(), SHORT).unwrap();
        assert!(NodeLock::making(dir.path(), SHORT).unwrap_err().is_busy());
    }

    #[test]
    fn a_lock_is_had_as_soon_as_it_is_free_also_when_its_file_was_removed() {
        for remove in [None, Some("making.lock")] {
            let dir = tempfile::tempdir().unwrap();
            let held = NodeLock::making(dir.path(), SHORT).unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| NodeLock::making(dir.path(), LONG));
                std::thread::sleep(SHORT);
                if let Some(name) = remove {
                    std::fs::remove_file(dir.path().join(name)).unwrap();
                }
                drop(held);
                let _now = waiting.join().unwrap().unwrap();
                assert!(NodeLock::making(dir.path(), SHORT).unwrap_err().is_busy());
            });
        }
    }
}

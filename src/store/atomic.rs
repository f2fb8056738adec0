//! The one way files change: a temporary file beside the place, then `link(2)` where there must be
//! none yet, or `rename(2)` over what is there. Whoever is killed, at whatever instruction, leaves
//! the old content, the new, or a temporary file, and never a part of a record under its name.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use egret_ipam::ports::Creation;

use crate::error::{Error, Operation};

/// First characters of a temporary file's name. No record's name begins so.
const TEMPORARY: &str = ".tmp-";
/// A temporary file of this age belongs to nobody: every call ends long before. Were it in use
/// after all (a clock that jumped), its owner would fail cleanly.
const ABANDONED: Duration = Duration::from_mins(2);
/// Last characters of the name of a record that was set aside.
pub(crate) const CORRUPT: &str = ".corrupt";

/// How much a change must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of any process. What it describes does not survive a power failure either.
    Process,
    /// Besides, a power failure leaves the old content or the new one, and not a torn one.
    Content,
    /// Besides, once it is done a power failure leaves the new one.
    Power,
}

/// Puts `bytes` under a name that does not exist.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<Creation, Error> {
    // Where there is one, do not pay for the sync of a temporary file. The swap is the link.
    if exists(path)? {
        return Ok(Creation::Exists);
    }
    let temporary = Temporary::write(path, bytes, Durability::Power)?;
    match fs::hard_link(&temporary.0, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Creation::Exists),
        linked => {
            linked.map_err(Error::io(Operation::Link, path))?;
            sync_parent(path)?;
            Ok(Creation::Created)
        }
    }
}

/// Puts `bytes` under a name, in place of what is there.
pub(crate) fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), Error> {
    let temporary = Temporary::write(path, bytes, durability)?;
    rename(&temporary.0, path)?;
    if durability == Durability::Power { sync_parent(path) } else { Ok(()) }
}

/// Writes over what is there, in place: for what may be lost, and is always of one length.
///
/// A rename in its place would cost as much as a synced write: ext4 then allocates the new content at
/// once, and the commit behind the next sync, of whatever file, waits until it is on the disk.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = open.map_err(Error::io(Operation::Write, path))?;
    let length = bytes.len() as u64;
    file.write_all_at(bytes, 0)
        .and_then(|()| file.metadata())
        .and_then(|found| if found.len() == length { Ok(()) } else { file.set_len(length) })
        .map_err(Error::io(Operation::Write, path))
}

/// Removes a name. One that does not exist is removed.
pub(crate) fn remove(path: &Path, durability: Durability) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(Error::io(Operation::Remove, path))?,
    }
    if durability == Durability::Power { sync_parent(path) } else { Ok(()) }
}

/// Moves a damaged record out of the way. Its new name says that the old one is not free.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = corrupt_name(path);
    rename(path, &aside)?;
    sync_parent(path)?;
    Ok(aside)
}

/// The name of a record once it is set aside.
pub(crate) fn corrupt_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(CORRUPT);
    name.into()
}

#[expect(clippy::disallowed_methods, reason = "this is the place where files change")]
fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io(Operation::Rename, to))
}

/// Whether there is something under the name, also a link that leads nowhere.
pub(crate) fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(Operation::Read, path)(error)),
    }
}

/// The content of a file, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(Operation::Read, path)(error)),
    }
}

/// The names in a directory, temporary files left out. A directory that does not exist has none.
/// On the way it removes temporary files that a killed process left.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(Operation::List, dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(Operation::List, dir))?;
        // Every name of ours is ASCII; another one is none of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with(TEMPORARY) {
            remove_abandoned(&entry.path());
        } else {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes a file that nobody can be working on any more, judging by its age. A second chance
/// comes with the next listing.
pub(crate) fn remove_abandoned(path: &Path) {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    if matches!(modified.map(|time| time.elapsed()), Ok(Ok(age)) if age > ABANDONED) {
        fs::remove_file(path).ok();
    }
}

/// Removes every temporary file in a directory and below, of whatever age. Who is at work on one all
/// the same fails cleanly.
pub(crate) fn remove_temporaries(dir: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(Operation::List, dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(Operation::List, dir))?;
        let path = entry.path();
        // Not through a symbolic link: what that names is none of ours.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_temporaries(&path)?;
        } else if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            remove(&path, Durability::Process)?;
        }
    }
    Ok(())
}

/// Makes a directory that only we can look into, and its parents, if it does not exist. One that
/// exists must be safe from others.
pub(crate) fn ensure_directory(dir: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(dir) {
        Ok(found) => refuse_unsafe(dir, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(Error::io(Operation::CreateDirectory, dir))?;
            sync_parent(dir)
        }
        Err(error) => Err(Error::io(Operation::CreateDirectory, dir)(error)),
    }
}

fn refuse_unsafe(dir: &Path, found: &fs::Metadata) -> Result<(), Error> {
    let us = nix::unistd::geteuid().as_raw();
    let why = if !found.is_dir() {
        "is no directory"
    } else if found.uid() != us && found.uid() != 0 {
        "belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "can be written to by others"
    } else {
        return Ok(());
    };
    Err(Error::Unsafe { path: dir.to_path_buf(), why })
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::io(Operation::Sync, parent))
}

/// A temporary file, removed on drop: after a link it is a second name, after a rename it is gone,
/// after an error it is debris.
struct Temporary(PathBuf);

impl Temporary {
    /// Writes one beside `path`. A failed sync is final: the kernel may have dropped what it could
    /// not write, so a second sync would lie.
    fn write(path: &Path, bytes: &[u8], durability: Durability) -> Result<Self, Error> {
        let unique = RandomState::new().hash_one(path);
        let temporary = Self(path.with_file_name(format!("{TEMPORARY}{unique:016x}")));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary.0)
            .map_err(Error::io(Operation::Write, path))?;
        file.write_all(bytes).map_err(Error::io(Operation::Write, path))?;
        if durability != Durability::Process {
            file.sync_data().map_err(Error::io(Operation::Sync, path))?;
        }
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn creation_writes_once_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(create(&path, b"one").unwrap(), Creation::Created);
        assert_eq!(create(&path, b"two").unwrap(), Creation::Exists);
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn replacement_and_removal_are_repeatable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for durability in [Durability::Process, Durability::Content, Durability::Power] {
            replace(&path, b"one", durability).unwrap();
            replace(&path, b"two", durability).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), b"two");
            remove(&path, durability).unwrap();
            remove(&path, durability).unwrap();
            assert_eq!(read(&path).unwrap(), None);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn what_is_written_over_has_one_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        for before in [None, Some("x"), Some("something longer")] {
            if let Some(before) = before {
                replace(&path, before.as_bytes(), Durability::Process).unwrap();
            }
            overwrite(&path, b"       7").unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), b"       7");
        }
        assert!(overwrite(&dir.path().join("missing").join("cursor"), b"7").is_err());
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("a.json");
        let error = create(&path, b"one").unwrap_err().to_string();
        assert!(error.contains("a.json: No such file"), "{error}");
        // A directory cannot be replaced by a file.
        let taken = dir.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(replace(&taken, b"two", Durability::Process).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn an_unsafe_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep").join("state");
        ensure_directory(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        ensure_directory(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o770)).unwrap();
        let error = ensure_directory(&state).unwrap_err().to_string();
        assert!(error.contains("can be written to by others"), "{error}");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let error = ensure_directory(&link).unwrap_err().to_string();
        assert!(error.contains("is no directory"), "{error}");
    }

    #[test]
    fn abandoned_temporary_files_go_and_young_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let old = File::create(dir.path().join(".tmp-old")).unwrap();
        old.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).unwrap();
        File::create(dir.path().join(".tmp-young")).unwrap();
        File::create(dir.path().join("b")).unwrap();
        File::create(dir.path().join("a")).unwrap();
        assert_eq!(names(dir.path()).unwrap(), ["a", "b"]);
        assert!(!dir.path().join(".tmp-old").exists() && dir.path().join(".tmp-young").exists());
        assert_eq!(names(&dir.path().join("none")).unwrap(), Vec::<String>::new());
    }
}

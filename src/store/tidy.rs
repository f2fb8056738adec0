//! What is left to remove when nothing is attached any more: what killed processes were writing,
//! directories without a record in them, and lock files.

use std::{fs, io, path::Path};

use crate::{
    atomic::{self, Durability},
    error::{Error, Operation},
    lock,
};

/// Removes the locks of a node, temporary files, and the directories that hold nothing. Leases, and
/// what belongs to them, stay. The caller holds [`lock::NodeLock::exclusive`]; whoever waits for it takes a new one.
pub fn tidy(state_dir: &Path, run_dir: &Path) -> Result<(), Error> {
    atomic::remove_temporaries(state_dir)?;
    for dir in ["attachments", "holders", "tombstones"] {
        remove_if_empty(&state_dir.join(dir))?;
    }
    remove_if_empty(state_dir)?;
    for file in lock::FILES {
        atomic::remove(&run_dir.join(file), Durability::Process)?;
    }
    remove_if_empty(run_dir)
}

fn remove_if_empty(dir: &Path) -> Result<(), Error> {
    // Busy: an operator has mounted something there, which is not ours to undo.
    let kept =
        [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::ResourceBusy];
    match fs::remove_dir(dir) {
        Err(error) if kept.contains(&error.kind()) => Ok(()),
        removed => removed.map_err(Error::io(Operation::Remove, dir)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use super::*;
    use crate::lock::NodeLock;

    #[test]
    fn only_what_holds_nothing_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (state, run) = (dir.path().join("state"), dir.path().join("run"));
        fs::create_dir_all(state.join("attachments")).unwrap();
        fs::create_dir_all(state.join("leases/001")).unwrap();
        for left in ["attachments/.tmp-1", "leases/001/.tmp-2", ".tmp-3"] {
            File::create(state.join(left)).unwrap();
        }
        let _alone = NodeLock::exclusive(&run, Duration::ZERO).unwrap();
        tidy(&state, &run).unwrap();
        assert!(!run.exists() && !state.join("attachments").exists());
        assert_eq!(fs::read_dir(state.join("leases/001")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
        fs::remove_dir_all(state.join("leases")).unwrap();
        tidy(&state, &run).unwrap();
        tidy(&state, &run).unwrap();
        assert!(!state.exists());
    }

    /// Any will do, and this one is everywhere; a mount point cannot be removed.
    #[test]
    fn a_mount_point_stays() {
        let proc = Path::new("/proc");
        assert_eq!(fs::remove_dir(proc).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        remove_if_empty(proc).unwrap();
    }
}

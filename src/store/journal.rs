//! What programs have done, or are about to do, in the kernel, so that it can be undone after a
//! crash and compared by CHECK: [`AttachmentDir`], one file per container id and interface name in
//! `stateDir/attachments/<hash of both>.json`, and [`RecordFile`], `stateDir/<name>.json`.
//!
//! Tombstones aside, nothing here is synced. What the records describe are kernel objects, which do not survive a
//! power failure either; the death of a process loses nothing, because every change is a rename.
//! So a record that ends early was written before the machine went down, and counts as none.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

use egret_types::Attachment;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    atomic::{self, Durability},
    envelope::{self, Unreadable, VERSION},
    error::Error,
    record_dir::EXTENSION,
};

/// One record in a file of its own.
#[derive(Debug)]
pub struct RecordFile<T> {
    root: PathBuf,
    path: PathBuf,
    kind: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> RecordFile<T> {
    /// The record of this name, a fixed word, below this `stateDir`.
    pub fn new(state_dir: &Path, name: &'static str) -> Self {
        let path = state_dir.join(format!("{name}{EXTENSION}"));
        Self { root: state_dir.to_path_buf(), path, kind: PhantomData }
    }

    /// Writes the record, in place of the one before.
    pub fn put(&self, record: &T) -> Result<(), Error> {
        atomic::ensure_directory(&self.root)?;
        write(&self.path, record, Durability::Process)
    }

    /// The record. One that ends early is none, see above; one that was changed is
    /// [`Error::Damaged`], and stays until it is removed.
    pub fn get(&self) -> Result<Option<T>, Error> {
        read(&self.path)
    }

    /// Removes the record, readable or not. Absent is removed.
    pub fn remove(&self) -> Result<(), Error> {
        atomic::remove(&self.path, Durability::Process)
    }
}

/// The content of an attachment's file: with its names, because the file's name cannot be read
/// back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry<A, T> {
    attachment: A,
    record: T,
}

/// What a listing finds in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journaled<T> {
    /// A record.
    Whole {
        /// Of whom.
        attachment: Attachment,
        /// What it says.
        record: T,
    },
    /// A file that cannot be read any more. Whose it was is known only from the kernel.
    Damaged {
        /// The file, for [`AttachmentDir::discard`].
        file: PathBuf,
        /// How one sees it.
        why: String,
    },
}

/// The records of the attachments of this node.
#[derive(Debug)]
pub struct AttachmentDir<T> {
    root: PathBuf,
    dir: PathBuf,
    durability: Durability,
    kind: PhantomData<fn() -> T>,
}

impl AttachmentDir<()> {
    /// Of attachments that are gone and that somebody has still to be told about; below this
    /// `stateDir`. It outlives a power failure: whoever has to be told may as well.
    pub fn tombstones(state_dir: &Path) -> Self {
        Self::named(state_dir, "tombstones", Durability::Power)
    }
}

impl<T: Serialize + DeserializeOwned> AttachmentDir<T> {
    /// Those below this `stateDir`.
    pub fn new(state_dir: &Path) -> Self {
        Self::named(state_dir, "attachments", Durability::Process)
    }

    fn named(state_dir: &Path, name: &str, durability: Durability) -> Self {
        let (root, dir) = (state_dir.to_path_buf(), state_dir.join(name));
        Self { root, dir, durability, kind: PhantomData }
    }

    fn path(&self, attachment: &Attachment) -> PathBuf {
        let parts = [attachment.container_id.as_str(), attachment.ifname.as_str()];
        self.dir.join(envelope::file_name(&parts))
    }

    /// Writes the record of an attachment, in place of the one before.
    pub fn put(&self, attachment: &Attachment, record: &T) -> Result<(), Error> {
        atomic::ensure_directory(&self.root)?;
        atomic::ensure_directory(&self.dir)?;
        write(&self.path(attachment), &Entry { attachment, record }, self.durability)
    }

    /// The record of an attachment. One that ends early is none, see above; one that was changed
    /// is [`Error::Damaged`], and stays until it is removed.
    pub fn get(&self, attachment: &Attachment) -> Result<Option<T>, Error> {
        let entry: Option<Entry<Attachment, T>> = read(&self.path(attachment))?;
        Ok(entry.map(|entry| entry.record))
    }

    /// Removes the record of an attachment, readable or not. Absent is removed.
    pub fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        atomic::remove(&self.path(attachment), self.durability)
    }

    /// Every record, and every file that is none any more.
    pub fn list(&self) -> Result<Vec<Journaled<T>>, Error> {
        let mut all = Vec::new();
        for name in atomic::names(&self.dir)? {
            let file = self.dir.join(name);
            let entry: Option<Entry<Attachment, T>> = match read(&file) {
                Err(Error::Damaged { path, why }) => {
                    all.push(Journaled::Damaged { file: path, why });
                    continue;
                }
                entry => entry?,
            };
            match entry {
                Some(entry) if self.path(&entry.attachment) == file => {
                    let Entry { attachment, record } = entry;
                    all.push(Journaled::Whole { attachment, record });
                }
                Some(_) => all.push(damaged(file, "it is the record of another attachment")),
                None if atomic::exists(&file)? => all.push(damaged(file, "it ends early")),
                // Removed since we read the names.
                None => {}
            }
        }
        Ok(all)
    }

    /// Removes a damaged file that a listing has found.
    pub fn discard(&self, file: &Path) -> Result<(), Error> {
        atomic::remove(file, Durability::Process)
    }
}

fn damaged<T>(file: PathBuf, why: &str) -> Journaled<T> {
    Journaled::Damaged { file, why: why.to_owned() }
}

fn write(path: &Path, content: &impl Serialize, durability: Durability) -> Result<(), Error> {
    let encoded = envelope::encode(content);
    let bytes = encoded.map_err(|error| Error::Encode { path: path.to_path_buf(), error })?;
    atomic::replace(path, &bytes, durability)
}

fn read<C: DeserializeOwned>(path: &Path) -> Result<Option<C>, Error> {
    let Some(bytes) = atomic::read(path)? else { return Ok(None) };
    let path = path.to_path_buf();
    match envelope::decode(&bytes) {
        Ok(content) => Ok(Some(content)),
        Err(Unreadable::Torn) => Ok(None),
        Err(Unreadable::Damaged(why)) => Err(Error::Damaged { path, why }),
        Err(Unreadable::Newer(version)) => {
            Err(Error::NewerFormat { path, version, known: VERSION })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn attachment(container: &str) -> Attachment {
        Attachment {
            network: "podnet".parse().unwrap(),
            container_id: container.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    fn journal(dir: &Path) -> AttachmentDir<Vec<String>> {
        AttachmentDir::new(&dir.join("state"))
    }

    fn cut(path: &Path, length: u64) {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
    }

    #[test]
    fn a_record_is_put_got_and_removed_as_often_as_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let (one, two) = (attachment("c1"), attachment("c2"));
        journal.remove(&one).unwrap();
        assert_eq!((journal.get(&one).unwrap(), journal.list().unwrap()), (None, vec![]));
        for record in [vec!["link".to_owned()], vec![]] {
            journal.put(&one, &record).unwrap();
            assert_eq!(journal.get(&one).unwrap(), Some(record));
        }
        journal.put(&two, &vec![]).unwrap();
        assert_eq!(journal.list().unwrap().len(), 2);
        journal.remove(&one).unwrap();
        journal.remove(&one).unwrap();
        let rest = vec![Journaled::Whole { attachment: two, record: vec![] }];
        assert_eq!(journal.list().unwrap(), rest);
    }

    #[test]
    fn a_torn_record_is_none_a_changed_one_is_an_error_and_both_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let one = attachment("c1");
        journal.put(&one, &vec!["link".to_owned()]).unwrap();
        let path = journal.path(&one);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() - 1 {
            cut(&path, u64::try_from(length).unwrap());
            assert_eq!(journal.get(&one).unwrap(), None, "{length}");
            let listed = journal.list().unwrap();
            assert!(matches!(&listed[..], [Journaled::Damaged { .. }]), "{listed:?}");
            journal.put(&one, &vec!["link".to_owned()]).unwrap();
        }
        let changed = String::from_utf8(whole).unwrap().replace("link", "limk");
        atomic::replace(&path, changed.as_bytes(), Durability::Process).unwrap();
        assert!(journal.get(&one).unwrap_err().is_damaged());
        let [Journaled::Damaged { file, .. }] = &journal.list().unwrap()[..] else { panic!() };
        journal.discard(file).unwrap();
        assert_eq!(journal.list().unwrap(), vec![]);
    }

    #[test]
    fn a_single_record_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let record: RecordFile<u32> = RecordFile::new(&state, "gateway");
        assert_eq!(record.get().unwrap(), None);
        record.put(&7).unwrap();
        record.put(&8).unwrap();
        assert_eq!(record.get().unwrap(), Some(8));
        cut(&state.join("gateway.json"), 5);
        assert_eq!(record.get().unwrap(), None);
        record.remove().unwrap();
        record.remove().unwrap();
        assert!(!state.join("gateway.json").exists());
    }
}

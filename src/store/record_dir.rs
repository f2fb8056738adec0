//! A directory with one file per record: what leases, claims and holders have in common.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

use egret_ipam::ports::{Creation, Listing, Lookup};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    atomic::{self, CORRUPT, Durability},
    envelope::{self, Unreadable, VERSION},
    error::Error,
};

/// Last characters of every record's name, by which it is told from a lock.
pub(crate) const EXTENSION: &str = ".json";

/// A kind of record that has a file name.
pub(crate) trait Filed: Serialize + DeserializeOwned + PartialEq {
    /// The name of its file. A record found under another name is damaged.
    fn file_name(&self) -> String;

    /// Whether the directory is the right one for it too, where that depends on the record.
    fn is_at(&self, _dir: &Path) -> bool {
        true
    }
}

/// The directory of one kind of record.
#[derive(Debug)]
pub(crate) struct RecordDir<T> {
    root: PathBuf,
    dir: PathBuf,
    kind: PhantomData<fn() -> T>,
}

impl<T: Filed> RecordDir<T> {
    /// The directory `path` below `root`, both of them ours.
    pub(crate) fn new(root: &Path, path: impl AsRef<Path>) -> Self {
        Self { root: root.to_path_buf(), dir: root.join(path), kind: PhantomData }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the directory; to be called before the first change.
    pub(crate) fn ensure(&self) -> Result<(), Error> {
        atomic::ensure_directory(&self.root)?;
        atomic::ensure_directory(&self.dir)
    }

    /// Whoever puts a record where a damaged one was set aside knows what that one said: it has
    /// nothing to protect any more.
    pub(crate) fn create(&self, record: &T) -> Result<Creation, Error> {
        let path = self.path(&record.file_name());
        let created = atomic::create(&path, &encode(&path, record)?)?;
        if created == Creation::Created {
            atomic::remove(&atomic::corrupt_name(&path), Durability::Process)?;
        }
        Ok(created)
    }

    pub(crate) fn put(&self, record: &T, durability: Durability) -> Result<(), Error> {
        let path = self.path(&record.file_name());
        atomic::replace(&path, &encode(&path, record)?, durability)
    }

    pub(crate) fn remove(&self, name: &str, durability: Durability) -> Result<(), Error> {
        atomic::remove(&self.path(name), durability)
    }

    /// What is under a name. A damaged record is set aside on the way.
    pub(crate) fn get(&self, name: &str) -> Result<Lookup<T>, Error> {
        let path = self.path(name);
        let Some(bytes) = atomic::read(&path)? else {
            let lost = atomic::exists(&atomic::corrupt_name(&path))?;
            return Ok(if lost { Lookup::Lost } else { Lookup::Absent });
        };
        let why = match envelope::decode::<T>(&bytes) {
            Ok(record) if record.file_name() == name && record.is_at(&self.dir) => {
                return Ok(Lookup::Found(record));
            }
            Ok(_) => "it is the record of something else".to_owned(),
            Err(Unreadable::Torn) => "it ends early".to_owned(),
            Err(Unreadable::Damaged(why)) => why,
            Err(Unreadable::Newer(version)) => {
                return Err(Error::NewerFormat { path, version, known: VERSION });
            }
        };
        match atomic::set_aside(&path) {
            Ok(aside) => log::error!(
                "{} is damaged: {why}; set aside as {}",
                path.display(),
                aside.display()
            ),
            Err(error) => log::error!("{} is damaged: {why}; {error}", path.display()),
        }
        Ok(Lookup::Lost)
    }

    /// The names of all records; those set aside under their former name.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = atomic::names(&self.dir)?;
        names.retain_mut(|name| {
            if let Some(former) = name.strip_suffix(CORRUPT) {
                *name = former.to_owned();
            }
            name.strip_suffix(EXTENSION).is_some()
        });
        names.dedup();
        Ok(names)
    }

    /// All records.
    pub(crate) fn list(&self) -> Result<Listing<T>, Error> {
        let mut listing = Listing::default();
        for name in self.names()? {
            match self.get(&name)? {
                Lookup::Found(record) => listing.found.push(record),
                // Removed since we read the names.
                Lookup::Absent => {}
                Lookup::Lost => {
                    let aside = atomic::corrupt_name(&self.path(&name));
                    listing.lost.push(aside.display().to_string());
                }
            }
        }
        Ok(listing)
    }
}

fn encode(path: &Path, record: &impl Serialize) -> Result<Vec<u8>, Error> {
    envelope::encode(record).map_err(|error| Error::Encode { path: path.to_path_buf(), error })
}

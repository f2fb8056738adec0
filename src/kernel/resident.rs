//! A thread that lives in a namespace and does there what must be done there: opens sockets, reads
//! and writes parameters. The threads of the caller stay where they are, whatever happens here.
//!
//! One thread for all of it, because a pod gets a dozen parameters, and a new thread with its
//! `setns` costs five times what handing it a piece of work costs.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};

use crate::error::Error;
use crate::netns::Netns;

type Work = Box<dyn FnOnce() + Send>;

/// See the file comment. Its thread ends with it, and is waited for, so that it cannot keep a
/// namespace alive.
pub(crate) struct Resident {
    path: PathBuf,
    /// Absent where the caller is in the namespace anyway.
    away: Option<Away>,
}

struct Away {
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

impl Resident {
    pub(crate) fn enter(netns: &Netns) -> Result<Self, Error> {
        let path = netns.path().to_owned();
        if netns.is_current()? {
            return Ok(Self { path, away: None });
        }
        let file = netns.file().try_clone().map_err(|source| failed(&path, source))?;
        let (work, received) = channel();
        let thread = thread::Builder::new().name("netns".to_owned());
        let thread = thread.spawn(move || live(&received)).map_err(|e| failed(&path, e))?;
        let resident = Self { path, away: Some(Away { work, thread }) };
        let entered = resident.run(move || setns(&file, CloneFlags::CLONE_NEWNET))?;
        entered.map_err(|errno| failed(&resident.path, errno.into()))?;
        Ok(resident)
    }

    /// Runs `f` in the namespace. A panic of `f` goes on in the caller.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let Some(away) = &self.away else { return Ok(f()) };
        let (done, result) = channel();
        let work = move || {
            let outcome = catch_unwind(AssertUnwindSafe(f));
            // Nobody waits for it any more only if the caller is gone.
            drop(done.send(outcome));
        };
        let ended = || failed(&self.path, io::Error::other("its thread has ended"));
        away.work.send(Box::new(work)).map_err(|_| ended())?;
        let outcome: Result<T, Box<dyn Any + Send>> = result.recv().map_err(|_| ended())?;
        outcome.map_err(|panic| resume_unwind(panic))
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        if let Some(Away { work, thread }) = self.away.take() {
            drop(work);
            if thread.join().is_err() {
                log::error!("the thread in {} panicked", self.path.display());
            }
        }
    }
}

fn live(received: &Receiver<Work>) {
    while let Ok(work) = received.recv() {
        work();
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::EnterNamespace { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::unshare;

    /// A namespace without a name, held by a thread that has ended.
    fn elsewhere() -> Netns {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test makes namespaces: run it as root");
            Netns::current().unwrap()
        };
        thread::spawn(make).join().unwrap()
    }

    #[test]
    fn work_is_done_there_and_the_caller_stays_here() {
        let (here, there) = (Netns::current().unwrap(), elsewhere());
        let resident = Resident::enter(&there).unwrap();
        let inode = resident.run(|| Netns::current().unwrap().inode()).unwrap();
        assert_eq!(inode, there.inode());
        assert!(here.is_current().unwrap());
    }

    #[test]
    fn a_panic_goes_on_in_the_caller_who_is_still_here_and_work_goes_on_there() {
        let (here, there) = (Netns::current().unwrap(), elsewhere());
        let resident = Resident::enter(&there).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| resident.run(|| panic!("as wanted"))));
        let panicked = panicked.unwrap_err();
        assert_eq!(panicked.downcast_ref::<&str>(), Some(&"as wanted"));
        assert!(here.is_current().unwrap());
        let inode = resident.run(|| Netns::current().unwrap().inode()).unwrap();
        assert_eq!(inode, there.inode());
    }

    #[test]
    fn in_the_own_namespace_no_thread_is_needed() {
        let resident = Resident::enter(&Netns::current().unwrap()).unwrap();
        let caller = thread::current().id();
        assert_eq!(resident.run(|| thread::current().id()).unwrap(), caller);
    }
}

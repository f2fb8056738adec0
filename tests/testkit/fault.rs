//! Interrupting a program at one system call, with strace: the ends that no code path foresees.

use std::path::{Path, PathBuf};

use crate::Program;

/// What happens to the system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed as `kill -9` does, instead of the call.
    Kill,
    /// The call is not made and fails with this error, `ENOSPC` for instance.
    Error(&'static str),
}

/// The system calls that change something outside the process: files, mounts, namespaces, and
/// through sockets the kernel's network objects.
const CHANGING_CALLS: [&str; 19] = [
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "write",
    "ftruncate",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mount",
    "unshare",
    "sendto",
    "sendmsg",
];

/// Attempts something with a fault at the first, second, third ... call of each changing system
/// call, until the attempt says that the fault did not happen any more. Gives the number of faults.
pub fn at_each_changing_call(mut attempt: impl FnMut(&'static str, u32) -> bool) -> usize {
    let faults =
        CHANGING_CALLS.map(|call| (1..=1000).take_while(|number| attempt(call, *number)).count());
    faults.iter().sum()
}

/// A fault at the n-th call (from 1) of one system call, in any thread.
#[derive(Debug, Clone)]
pub(crate) struct Injection {
    pub(crate) fault: Fault,
    pub(crate) call: &'static str,
    pub(crate) number: u32,
}

impl Injection {
    /// The program under strace; `log` is where strace tells what it did.
    pub(crate) fn wrap(&self, program: &Path, log: &Path) -> Program {
        let effect = match self.fault {
            Fault::Kill => "signal=SIGKILL".to_owned(),
            Fault::Error(errno) => format!("error={errno}"),
        };
        let inject = format!("inject={}:{effect}:when={}", self.call, self.number);
        let trace = format!("trace={}", self.call);
        Program::new("strace")
            .args([Path::new("-f"), Path::new("-qq"), Path::new("-o"), log])
            .args(["-e", &trace, "-e", &inject])
            .args([program])
    }

    /// Whether the call was ever made. When not, the program has fewer such calls.
    pub(crate) fn happened(log: &Path) -> bool {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.contains("(INJECTED)") || text.contains("+++ killed by SIGKILL +++")
    }
}

/// A place for the log that no other run uses.
pub(crate) fn log_file() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("{}-strace", crate::reaper::tag(number)))
}

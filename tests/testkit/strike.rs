//! `kill -9` at a moment that nobody has chosen: of a program, of its process group, or of the
//! program that it runs in its turn.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::reaper;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The program alone; what it started goes on.
    Program,
    /// The program and all that it started.
    Group,
    /// Only what it started: the first that can be found from the moment on.
    Started,
}

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Who.
    pub victim: Victim,
    /// How long after the start.
    pub after: Duration,
}

impl Strike {
    /// Kills, and tells whether there was anybody. The program has not been waited for, so that its
    /// id is its own.
    pub(crate) fn hit(self, program: u32) -> bool {
        let process = Pid::from_raw(program.cast_signed());
        std::thread::sleep(self.after);
        match self.victim {
            Victim::Program => !ended(process) && kill(process, Signal::SIGKILL).is_ok(),
            Victim::Group => !ended(process) && killpg(process, Signal::SIGKILL).is_ok(),
            Victim::Started => {
                started(process).is_some_and(|found| kill(found, Signal::SIGKILL).is_ok())
            }
        }
    }
}

/// It is a zombie: a kill would change nothing.
fn ended(process: Pid) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    text.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

/// A child of any of its threads, as soon as there is one.
fn started(process: Pid) -> Option<Pid> {
    let tasks = format!("/proc/{process}/task");
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end && !ended(process) {
        for task in reaper::names(Path::new(&tasks)) {
            let children = format!("{tasks}/{task}/children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            let first = children.split_whitespace().next().and_then(|id| id.parse().ok());
            if let Some(id) = first {
                return Some(Pid::from_raw(id));
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    None
}

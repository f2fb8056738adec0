//! `egret-bench`: figures for docs/performance.md, beside peers in the same run. `ci/bench` builds
//! what it needs and starts it.
//!
//! Everything happens in laboratories of the testkit. What is compared runs in turn, round by round,
//! so that a machine that becomes slower or faster meanwhile does so for both.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "as in the testkit: a measurement that cannot be made ends with a sentence"
)]

mod chain;
mod execution;
mod idle;
mod lifecycle;
mod report;
mod samples;
mod sizes;
mod split;
mod trace;
mod traffic;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: egret-bench [--quick] EMPTY MEMORY
EMPTY: an empty static program; MEMORY: a directory in memory (tmpfs) for the state of some pods";

/// How often everything is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// To see that it works.
    Quick,
    /// For figures that are quoted.
    Full,
}

impl Scale {
    fn of(self, quick: usize, full: usize) -> usize {
        match self {
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }

    /// Executions of each program that has nothing to do.
    pub(crate) fn executions(self) -> usize {
        self.of(10, 200)
    }

    /// Selected pods, and as many twins.
    pub(crate) fn pods(self) -> usize {
        self.of(4, 100)
    }

    /// Batches of parallel pods.
    pub(crate) fn batches(self) -> usize {
        self.of(1, 6)
    }

    /// Pods that are traced.
    pub(crate) fn traced(self) -> usize {
        self.of(2, 20)
    }

    /// Rounds on the wire.
    pub(crate) fn rounds(self) -> usize {
        self.of(2, 15)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (scale, empty, memory) = match words.as_slice() {
        ["--quick", empty, memory] => (Scale::Quick, empty, memory),
        [empty, memory] if !empty.starts_with('-') => (Scale::Full, empty, memory),
        _ => {
            report::complain(USAGE);
            return ExitCode::FAILURE;
        }
    };
    measure(scale, Path::new(empty), &PathBuf::from(memory));
    ExitCode::SUCCESS
}

fn measure(scale: Scale, empty: &Path, memory: &Path) {
    idle::run(scale, empty);
    lifecycle::run(scale);
    split::run(scale, memory);
    sizes::run();
    wire::run(scale);
    report::line(&format!("\nload at the end: {}", report::load()));
}

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

mod bare;
mod chain;
mod execution;
mod guard;
mod idle;
mod ipam;
mod lifecycle;
mod reference;
mod report;
mod samples;
mod server;
mod sizes;
mod split;
mod trace;
mod traffic;
mod ways;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: egret-bench [--quick] [--section NAME] EMPTY MEMORY
NAME: unselected, selected, accounts, sizes, packets, guard or ipam; all of them if not given
EMPTY: an empty static program; MEMORY: a directory in memory (tmpfs) for the state of some pods";

/// A part of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Executions with nothing to do.
    Unselected,
    /// ADD and DEL of selected pods.
    Selected,
    /// Where their time goes.
    Accounts,
    /// Of the programs.
    Sizes,
    /// Traffic.
    Packets,
    /// What the pod guard costs.
    Guard,
    /// Leases alone.
    Ipam,
}

impl Section {
    const ALL: [(&str, Section); 7] = [
        ("unselected", Section::Unselected),
        ("selected", Section::Selected),
        ("accounts", Section::Accounts),
        ("sizes", Section::Sizes),
        ("packets", Section::Packets),
        ("guard", Section::Guard),
        ("ipam", Section::Ipam),
    ];

    fn run(self, order: &Order) {
        match self {
            Section::Unselected => idle::run(order.scale, &order.empty),
            Section::Selected => lifecycle::run(order.scale),
            Section::Accounts => split::run(order.scale, &order.memory),
            Section::Sizes => sizes::run(),
            Section::Packets => wire::run(order.scale),
            Section::Guard => guard::run(order.scale),
            Section::Ipam => {
                ipam::run(order.scale, order.empty.parent().unwrap_or(&order.empty), &order.memory);
            }
        }
    }
}

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

    /// Leases that each of sixteen makes, one after the other.
    pub(crate) fn each(self) -> usize {
        self.of(2, 20)
    }

    /// Leases in the large store.
    pub(crate) fn many(self) -> u32 {
        match self {
            Scale::Quick => 1000,
            Scale::Full => 10_000,
        }
    }

    /// Leases in the stores that stand beside those of a peer.
    pub(crate) fn leases(self) -> Vec<u32> {
        match self {
            Scale::Quick => vec![1, 100],
            Scale::Full => vec![1, 1000, 16_000],
        }
    }

    /// Rounds on the wire.
    pub(crate) fn rounds(self) -> usize {
        self.of(3, 80)
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    scale: Scale,
    sections: Vec<Section>,
    empty: PathBuf,
    memory: PathBuf,
}

impl Order {
    fn parse(mut words: &[&str]) -> Option<Self> {
        let mut scale = Scale::Full;
        let mut sections = Section::ALL.map(|(_, section)| section).to_vec();
        loop {
            match words {
                ["--quick", rest @ ..] => (scale, words) = (Scale::Quick, rest),
                ["--section", name, rest @ ..] => {
                    let (_, section) = Section::ALL.into_iter().find(|(is, _)| is == name)?;
                    (sections, words) = (vec![section], rest);
                }
                [empty, memory] if !empty.starts_with('-') => {
                    let [empty, memory] = [empty, memory].map(PathBuf::from);
                    return Some(Self { scale, sections, empty, memory });
                }
                _ => return None,
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--bare", file] = words[..] {
        return match bare::follow(Path::new(file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report::complain(&error.to_string());
                ExitCode::FAILURE
            }
        };
    }
    let Some(order) = Order::parse(&words) else {
        report::complain(USAGE);
        return ExitCode::FAILURE;
    };
    order.sections.iter().for_each(|section| section.run(&order));
    report::line(&format!("\nload at the end: {}", report::load()));
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_chosen_by_name_and_an_unknown_word_is_refused() {
        let sections = |words: &[&str]| Order::parse(words).map(|order| order.sections);
        assert_eq!(sections(&["e", "m"]).map(|all| all.len()), Some(Section::ALL.len()));
        let packets = &["--quick", "--section", "packets", "e", "m"];
        assert_eq!(sections(packets), Some(vec![Section::Packets]));
        assert_eq!(Order::parse(packets).map(|order| order.scale), Some(Scale::Quick));
        for wrong in [&["--section", "wire", "e", "m"][..], &["--fast", "e", "m"], &["e"]] {
            assert_eq!(Order::parse(wrong), None, "{wrong:?}");
        }
    }
}

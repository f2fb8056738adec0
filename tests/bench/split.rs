//! Where the time of an ADD goes. Three looks that check each other: processor time as the kernel
//! accounts it, the same ADD with its state in memory, where `fsync` costs nothing, and the system
//! calls under strace.

use std::path::Path;

use egret_tests::{Lab, Node};

use crate::Scale;
use crate::chain::Plugin;
use crate::execution::{Took, milliseconds};
use crate::lifecycle::{Standing, lab, stand};
use crate::report;
use crate::samples::Samples;
use crate::trace::{Class, Trace};

/// Measures and prints.
pub(crate) fn run(scale: Scale, memory: &Path) {
    let lab = lab();
    let node = lab.node("w1");
    let disk = Plugin::egret(node);
    let state = |name: &str| memory.join(name).display().to_string();
    let memory = disk.clone().with("stateDir", state("state")).with("runDir", state("run"));
    // The first pod makes what all share; it is none of those that are measured.
    for plugin in [&disk, &memory] {
        add(&lab, node, plugin);
    }
    report::section("3. Where the time of an ADD goes: processor, waiting, durable writes");
    accounts(scale.pods(), &lab, node, [&disk, &memory]);
    report::section("3. Where the time of an ADD goes: system calls under strace");
    system_calls(scale.traced(), &lab, node, &disk);
}

fn add<'lab>(lab: &'lab Lab, node: &Node, plugin: &Plugin) -> (Standing<'lab>, Took) {
    let standing = stand(lab, node, "shop");
    let execution = plugin.operation("ADD", &standing.pod, Some(&standing.previous));
    let took = node.ns().inside(|| execution.run());
    (standing, took)
}

fn del(node: &Node, plugin: &Plugin, standing: &Standing<'_>) -> Took {
    let execution = plugin.operation("DEL", &standing.pod, Some(&standing.previous));
    let took = node.ns().inside(|| execution.run());
    standing.pod.destroy_namespace();
    took
}

/// The accounts of one operation.
#[derive(Default)]
struct Accounts {
    wall: Samples,
    user: Samples,
    system: Samples,
    in_memory: Samples,
}

impl Accounts {
    fn keep(&mut self, disk: Took, memory: Took) {
        self.wall.push(milliseconds(disk.wall));
        self.user.push(milliseconds(disk.user));
        self.system.push(milliseconds(disk.system));
        self.in_memory.push(milliseconds(memory.wall));
    }

    fn print(&self, operation: &str) {
        let durable = self.wall.paired(&self.in_memory, |disk, memory| disk - memory);
        let busy = self.user.paired(&self.system, |user, system| user + system);
        let waiting = self.wall.paired(&busy, |wall, busy| wall - busy);
        report::figures(
            &format!("{operation}, milliseconds"),
            &[
                ("all", &self.wall),
                ("processor", &busy),
                ("no processor: waiting for the kernel, a disk, a turn", &waiting),
                ("all, state in memory", &self.in_memory),
                ("durable writes: the difference to that", &durable),
            ],
        );
        report::ratios(&[
            ("processor / all", &busy, &self.wall),
            ("state in memory / all", &self.in_memory, &self.wall),
        ]);
        // The kernel measures the sum exactly, and divides it by where the clock's ticks fell: true
        // for many executions, not for one of a few milliseconds.
        let share = 100.0 * self.user.sum() / busy.sum();
        report::line(&format!("  of the processor's time in user code, over all: {share:.0} %"));
    }
}

fn accounts(count: usize, lab: &Lab, node: &Node, [disk, memory]: [&Plugin; 2]) {
    let (mut adds, mut dels) = (Accounts::default(), Accounts::default());
    for _ in 0..count {
        let (on_disk, disk_took) = add(lab, node, disk);
        let (in_memory, memory_took) = add(lab, node, memory);
        adds.keep(disk_took, memory_took);
        dels.keep(del(node, disk, &on_disk), del(node, memory, &in_memory));
    }
    adds.print("egret ADD");
    dels.print("egret DEL");
}

fn system_calls(count: usize, lab: &Lab, node: &Node, plugin: &Plugin) {
    let file = node.host_local_dir().join("trace");
    let arguments = ["-f", "-ttt", "-T", "-s", "64", "-o"].map(str::to_owned);
    let mut arguments: Vec<String> = arguments.into();
    arguments.push(file.display().to_string());
    let (mut plain, mut slowed, mut traces) = (Samples::default(), Samples::default(), Vec::new());
    for _ in 0..count {
        let (untouched, took) = add(lab, node, plugin);
        plain.push(milliseconds(took.wall));
        let standing = stand(lab, node, "shop");
        let execution = plugin.operation("ADD", &standing.pod, Some(&standing.previous));
        let execution = execution.under("/usr/bin/strace", arguments.clone());
        slowed.push(milliseconds(node.ns().inside(|| execution.run()).wall));
        let text = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        traces.push(Trace::parse(&String::from_utf8_lossy(&text)));
        del(node, plugin, &untouched);
        del(node, plugin, &standing);
    }
    report::ratios(&[("ADD under strace / ADD", &slowed, &plain)]);
    let nothing: Samples = traces.iter().map(Trace::cost_of_nothing).collect();
    report::figures("microseconds", &[("a call that does nothing, under strace", &nothing)]);
    print_classes(&traces);
}

fn print_classes(traces: &[Trace]) {
    let of = |figure: &dyn Fn(&Trace) -> f64| -> Samples { traces.iter().map(figure).collect() };
    let rows: Vec<(String, Samples)> = Class::ALL
        .iter()
        .map(|class| {
            let calls = of(&|trace| trace.calls(*class)).median();
            let name = format!("{} ({calls:.0} calls)", class.name());
            (name, of(&|trace| trace.milliseconds(*class)))
        })
        .collect();
    let rows: Vec<(&str, &Samples)> =
        rows.iter().map(|(name, times)| (name.as_str(), times)).collect();
    report::figures("milliseconds in calls, without the cost of strace", &rows);
    let ipam = of(&Trace::ipam_milliseconds);
    report::figures(
        "milliseconds, strace included",
        &[("egret-ipam, from exec to its end", &ipam)],
    );
}

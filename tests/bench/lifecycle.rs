//! ADD and DEL of a selected pod, beside `sbr` on its twin and beside the main plugin that both
//! have in front of them: one after the other with all pods standing, then sixteen at once.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use egret_tests::{Families, Lab, Node, Pod, resources};
use serde_json::Value;

use crate::Scale;
use crate::chain::Plugin;
use crate::execution::{Execution, Took, milliseconds};
use crate::report;
use crate::samples::Samples;

/// How many start at the same time.
const PARALLEL: usize = 16;

/// A worker, on which all that is measured happens, and a gateway that is up.
pub(crate) fn lab() -> Lab {
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").start();
    lab.write_resources("20-policies.yaml", &resources::policy("shop", "partners", "tenants", ""));
    lab.node("g1").egretctl("gateway up").success();
    lab
}

/// A pod that `bridge` has added.
pub(crate) struct Standing<'lab> {
    pub(crate) pod: Pod<'lab>,
    pub(crate) previous: Value,
    pub(crate) took: Took,
}

/// Makes one.
pub(crate) fn stand<'lab>(lab: &'lab Lab, node: &Node, namespace: &str) -> Standing<'lab> {
    let pod = lab.pod(node.name(), namespace, "p").prepare();
    let add = Plugin::bridge(node).operation("ADD", &pod, None);
    let (answer, took) = node.ns().inside(|| add.answer());
    let previous = serde_json::from_str(&answer).expect("a result of bridge");
    Standing { pod, previous, took }
}

/// Measures and prints.
pub(crate) fn run(scale: Scale) {
    report::section("2. ADD and DEL of a selected pod, one after the other");
    let lab = lab();
    let node = lab.node("w1");
    sequential(scale, &lab, node);
    report::section(&format!("2. ADD and DEL of {PARALLEL} selected pods at once"));
    parallel(scale, &lab, node);
}

/// Times of the three plugins for one operation.
#[derive(Default)]
struct Times {
    bridge: Samples,
    egret: Samples,
    sbr: Samples,
}

impl Times {
    fn figures(&self, operation: &str) {
        report::figures(
            &format!("{operation}, milliseconds"),
            &[
                ("bridge + host-local", &self.bridge),
                ("egret + egret-ipam", &self.egret),
                ("sbr", &self.sbr),
            ],
        );
    }

    fn ratios(&self) {
        report::ratios(&[
            ("egret + egret-ipam / sbr", &self.egret, &self.sbr),
            ("egret + egret-ipam / bridge + host-local", &self.egret, &self.bridge),
        ]);
    }
}

fn sequential(scale: Scale, lab: &Lab, node: &Node) {
    let (egret, sbr, bridge) = (Plugin::egret(node), Plugin::sbr(), Plugin::bridge(node));
    let (mut add, mut del) = (Times::default(), Times::default());
    let mut pairs = Vec::new();
    for _ in 0..scale.pods() {
        let (selected, twin) = (stand(lab, node, "shop"), stand(lab, node, "other"));
        add.bridge.push(milliseconds(selected.took.wall));
        add.egret.push(time(node, &egret, "ADD", &selected));
        add.sbr.push(time(node, &sbr, "ADD", &twin));
        pairs.push((selected, twin));
    }
    for (selected, twin) in &pairs {
        del.egret.push(time(node, &egret, "DEL", selected));
        del.sbr.push(time(node, &sbr, "DEL", twin));
        del.bridge.push(time(node, &bridge, "DEL", selected));
        time(node, &bridge, "DEL", twin);
    }
    for (selected, twin) in &pairs {
        selected.pod.destroy_namespace();
        twin.pod.destroy_namespace();
    }
    for (times, operation) in [(&add, "ADD"), (&del, "DEL")] {
        times.figures(operation);
        times.ratios();
    }
}

fn time(node: &Node, plugin: &Plugin, operation: &str, standing: &Standing<'_>) -> f64 {
    let execution = plugin.operation(operation, &standing.pod, Some(&standing.previous));
    milliseconds(node.ns().inside(|| execution.run()).wall)
}

/// Times of single operations that ran at once, and of all sixteen together.
#[derive(Default)]
struct Batch {
    each: Times,
    all: Times,
}

fn parallel(scale: Scale, lab: &Lab, node: &Node) {
    let (egret, sbr, bridge) = (Plugin::egret(node), Plugin::sbr(), Plugin::bridge(node));
    let (mut add, mut del) = (Batch::default(), Batch::default());
    for _ in 0..scale.batches() {
        let pods = |namespace: &str| -> Vec<Pod<'_>> {
            (0..PARALLEL).map(|_| lab.pod("w1", namespace, "p").prepare()).collect()
        };
        let (selected, twins) = (pods("shop"), pods("other"));
        let first = at_once(node, &Members::new(&bridge, "ADD", &selected, &[]));
        first.keep(&mut add.each.bridge, &mut add.all.bridge);
        let before = first.results();
        let twins_before = at_once(node, &Members::new(&bridge, "ADD", &twins, &[])).results();
        for (batch, operation) in [(&mut add, "ADD"), (&mut del, "DEL")] {
            let members = Members::new(&egret, operation, &selected, &before);
            at_once(node, &members).keep(&mut batch.each.egret, &mut batch.all.egret);
            let members = Members::new(&sbr, operation, &twins, &twins_before);
            at_once(node, &members).keep(&mut batch.each.sbr, &mut batch.all.sbr);
        }
        at_once(node, &Members::new(&bridge, "DEL", &twins, &twins_before));
        let last = at_once(node, &Members::new(&bridge, "DEL", &selected, &before));
        last.keep(&mut del.each.bridge, &mut del.all.bridge);
        selected.iter().chain(&twins).for_each(Pod::destroy_namespace);
    }
    for (batch, operation) in [(&add, "ADD"), (&del, "DEL")] {
        batch.each.figures(&format!("{operation}, each of {PARALLEL}"));
        batch.all.figures(&format!("{operation}, all {PARALLEL}"));
        batch.all.ratios();
    }
}

/// Executions that shall start at the same time.
struct Members(Vec<Execution>);

impl Members {
    fn new(plugin: &Plugin, operation: &str, pods: &[Pod<'_>], previous: &[Value]) -> Self {
        let one = |(place, pod)| plugin.operation(operation, pod, previous.get(place));
        Self(pods.iter().enumerate().map(one).collect())
    }
}

/// What they answered and took.
struct Done {
    answers: Vec<(String, Took)>,
    all: Duration,
}

impl Done {
    fn keep(&self, each: &mut Samples, all: &mut Samples) {
        self.answers.iter().for_each(|(_, took)| each.push(milliseconds(took.wall)));
        all.push(milliseconds(self.all));
    }

    fn results(&self) -> Vec<Value> {
        let result = |(text, _): &(String, Took)| serde_json::from_str(text).expect("a result");
        self.answers.iter().map(result).collect()
    }
}

/// Threads made in the namespace are in it, and so is what they execute.
fn at_once(node: &Node, members: &Members) -> Done {
    let barrier = Barrier::new(members.0.len() + 1);
    let one = |execution: &Execution| {
        barrier.wait();
        execution.answer()
    };
    node.ns().inside(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                members.0.iter().map(|execution| scope.spawn(move || one(execution))).collect();
            barrier.wait();
            let start = Instant::now();
            let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            let answers = threads.into_iter().map(ended).collect();
            Done { answers, all: start.elapsed() }
        })
    })
}

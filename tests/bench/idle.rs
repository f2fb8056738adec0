//! What an execution costs that has nothing to do: a pod that no policy selects, a DEL of an
//! attachment that never was; beside an empty program, and beside plugins that do a little.

use std::path::Path;

use egret_tests::{Families, Lab, Pod, Program, resources};
use serde_json::Value;

use crate::Scale;
use crate::chain::Plugin;
use crate::execution::{Execution, milliseconds};
use crate::report;
use crate::samples::Samples;

/// How many policies the large directory of resources has.
const POLICIES: usize = 1000;

/// Measures and prints.
pub(crate) fn run(scale: Scale, empty: &Path) {
    report::section("1. Executions with nothing to do");
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").start();
    let policies = resources::policy("shop", "partners", "tenants", "");
    lab.write_resources("20-policies.yaml", &policies);
    let node = lab.node("w1");
    let pod = lab.pod("w1", "other", "plain").prepare();
    let (answer, _) =
        node.ns().inside(|| Plugin::bridge(node).operation("ADD", &pod, None).answer());
    let previous: Value = serde_json::from_str(&answer).expect("a result of bridge");
    let (egret, routes) = (Plugin::egret(node), Routes::of(&pod));
    let empty = Execution::new(empty.to_owned(), Vec::new(), String::new());
    let sbr = Plugin::sbr().operation("ADD", &pod, Some(&previous));
    let cases = [
        ("an empty static program", empty.clone()),
        ("egret VERSION", egret.version()),
        ("egret ADD, not selected", egret.operation("ADD", &pod, Some(&previous))),
        ("egret DEL, unknown", egret.for_container("DEL", &pod, "nobody", Some(&previous))),
        ("tuning ADD, one sysctl", Plugin::tuning().operation("ADD", &pod, Some(&previous))),
        ("sbr ADD", sbr),
    ];
    let taken = node.ns().inside(|| rounds(scale.executions(), &cases, || routes.restore()));
    let rows: Vec<_> = cases.iter().zip(&taken).map(|((name, _), times)| (*name, times)).collect();
    report::figures("milliseconds", &rows);
    report::ratios(&[
        ("egret VERSION / empty", &taken[1], &taken[0]),
        ("egret ADD, not selected / empty", &taken[2], &taken[0]),
        ("egret DEL, unknown / empty", &taken[3], &taken[0]),
        ("egret ADD, not selected / tuning ADD", &taken[2], &taken[4]),
        ("egret ADD, not selected / sbr ADD", &taken[2], &taken[5]),
        ("egret DEL, unknown / tuning ADD", &taken[3], &taken[4]),
    ]);
    with_many_policies(scale, &lab, &[cases[0].clone(), cases[2].clone(), cases[4].clone()]);
}

/// The same ADD when the directory is large: what is read grows with the cluster, not with the pod.
fn with_many_policies(scale: Scale, lab: &Lab, cases: &[(&str, Execution)]) {
    let policy = |number| resources::policy("shop", &format!("p{number}"), "tenants", "");
    let text: String = (0..POLICIES).map(policy).collect();
    lab.write_resources("30-many.yaml", &text);
    let taken = lab.node("w1").ns().inside(|| rounds(scale.executions().div_ceil(4), cases, || ()));
    let name = |peer| format!("egret ADD, not selected, {POLICIES} policies / {peer}");
    report::ratios(&[
        (&name("empty"), &taken[1], &taken[0]),
        (&name("tuning ADD"), &taken[1], &taken[2]),
    ]);
}

/// Executes all cases in each round, each round beginning with another; one round is not counted.
fn rounds(count: usize, cases: &[(&str, Execution)], restore: impl Fn()) -> Vec<Samples> {
    let mut taken = vec![Samples::default(); cases.len()];
    for round in 0..=count {
        for turn in 0..cases.len() {
            let place = (round + turn) % cases.len();
            let took = cases[place].1.run();
            if cases[place].0.starts_with("sbr") {
                restore();
            }
            if round > 0 {
                taken[place].push(milliseconds(took.wall));
            }
        }
    }
    taken
}

/// The pod's routes as `bridge` made them: sbr moves them into tables of its own, and what it finds
/// shall be the same each time.
struct Routes<'a> {
    pod: &'a Pod<'a>,
    families: [(&'static str, String); 2],
}

impl<'a> Routes<'a> {
    fn of(pod: &'a Pod<'a>) -> Self {
        let families = ["-4", "-6"].map(|family| {
            let shown = pod.exec(&format!("ip {family} route show dev eth0")).success();
            let mut routes: Vec<&str> = shown.lines().map(str::trim).collect();
            // A next hop must be in a network that is there already.
            routes.sort_by_key(|route| route.contains(" via "));
            let lines = routes.iter().map(|route| format!("route replace {route} dev eth0\n"));
            (family, lines.collect())
        });
        Self { pod, families }
    }

    fn restore(&self) {
        for (family, lines) in &self.families {
            for table in ["100", "101"] {
                // A table that was never used cannot be flushed, and need not.
                self.pod.exec(&format!("ip {family} route flush table {table}"));
                while self.pod.exec(&format!("ip {family} rule del table {table}")).succeeded() {}
            }
            let batch = Program::new("ip").args([family, "-n", self.pod.name(), "-batch", "-"]);
            batch.input(lines.as_str()).run().success();
        }
    }
}

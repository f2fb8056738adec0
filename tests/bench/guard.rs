//! What the pod guard costs: its part of an ADD beside the same objects by bare netlink, the packets
//! of a pod that nothing selects, and DEL beside deleting the same links and nft objects.
//!
//! The machine may be busy with others: times are of the processor, and, where waiting for the kernel
//! is most of it, the smallest by the clock. What is compared takes turns.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egret_egress::nft::Ruleset;
use egret_egress::object::{Object, Place};
use egret_egress::record::AttachmentRecord;
use egret_tests::{Families, Lab, Node, Ns, Question, external, resources};
use egret_types::{Family, ours};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::Scale;
use crate::bare;
use crate::chain::Plugin;
use crate::execution::{Execution, Took, milliseconds};
use crate::lifecycle::{Standing, lab, stand};
use crate::report;
use crate::samples::Samples;
use crate::server::Server;
use crate::traffic::{Kind, rate};

const SLICE: Duration = Duration::from_millis(40);
/// How many guarded pods the node has beside the one whose packets are counted.
const GUARDED: usize = 10;

/// Measures and prints.
pub(crate) fn run(scale: Scale) {
    let lab = lab();
    let node = lab.node("w1");
    // One that stays: what pods share is there, and is not deleted.
    let base = stand(&lab, node, "shop");
    took(node, &Plugin::egret(node), "ADD", &base);
    report::section("6. The pod guard's part of an ADD");
    part_of_add(scale, &lab, node);
    report::section("6. DEL of a selected pod, beside bare netlink");
    deletion(scale, &lab, node);
    drop(lab);
    report::section("6. Packets of an unselected pod, beside guarded ones");
    packets(scale);
}

fn took(node: &Node, plugin: &Plugin, operation: &str, standing: &Standing<'_>) -> Took {
    let execution = plugin.operation(operation, &standing.pod, Some(&standing.previous));
    node.ns().inside(|| execution.run())
}

/// Gives the pod's address back, too.
fn end(node: &Node, standing: &Standing<'_>) {
    took(node, &Plugin::bridge(node), "DEL", standing);
    standing.pod.destroy_namespace();
}

fn processor(took: Took) -> f64 {
    milliseconds(took.user + took.system)
}

/// The same plugin under resources that want no guard.
fn without_guard(node: &Node) -> Plugin {
    let directory = node.host_local_dir().join("unguarded");
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    std::fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    for file in ["10-defaults.yaml", "20-policies.yaml"] {
        let text = read(&node.resources_dir().join(file));
        put(&directory.join(file), &text.replace("guard: required", "guard: \"off\""));
    }
    Plugin::egret(node).with("resourcesDir", directory.display().to_string())
}

fn put(path: &std::path::Path, text: &str) {
    #[expect(
        clippy::disallowed_methods,
        reason = "input of a measurement, no state of the product"
    )]
    let written = std::fs::write(path, text);
    written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The record of a pod's attachment, and the file that it is in.
fn record(node: &Node, standing: &Standing<'_>) -> (AttachmentRecord, PathBuf) {
    let directory = node.state_dir().join("attachments");
    let files = std::fs::read_dir(&directory).expect("a directory of attachments");
    let id = standing.pod.container_id();
    for file in files.filter_map(Result::ok).map(|file| file.path()) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        if value["record"]["attachment"].to_string().contains(&id) {
            let record = serde_json::from_value(value["record"]["record"].clone());
            return (record.expect("a record of an attachment"), file);
        }
    }
    panic!("no record of {id}")
}

fn rulesets(record: &AttachmentRecord, place: Place) -> impl Iterator<Item = &Ruleset> {
    record.objects.iter().filter_map(move |placed| match &placed.object {
        Object::Nft(ruleset) if placed.place == place => Some(ruleset),
        _ => None,
    })
}

#[derive(Default)]
struct Adds {
    guarded: [Samples; 2],
    unguarded: [Samples; 2],
    bare: [Samples; 2],
}

fn part_of_add(scale: Scale, lab: &Lab, node: &Node) {
    let (required, off) = (Plugin::egret(node), without_guard(node));
    let mut adds = Adds::default();
    for round in 0..scale.pods() {
        let standing = stand(lab, node, "shop");
        let (changes, deletions) = guard_of(node, &required, &standing);
        let mut own = || {
            for (plugin, samples) in [(&required, &mut adds.guarded), (&off, &mut adds.unguarded)] {
                let add = took(node, plugin, "ADD", &standing);
                samples[0].push(processor(add));
                samples[1].push(milliseconds(add.wall));
                took(node, plugin, "DEL", &standing);
            }
        };
        let mut peer = || {
            let (used, wall) = node.ns().inside(|| timed(|| bare::transaction(&changes)));
            adds.bare[0].push(milliseconds(used));
            adds.bare[1].push(milliseconds(wall));
            node.ns().inside(|| timed(|| bare::transaction(&deletions)));
        };
        if round % 2 == 0 {
            own();
            peer();
        } else {
            peer();
            own();
        }
        end(node, &standing);
    }
    print_adds(&adds);
}

/// The changes that an ADD of this pod makes for its guard, as strace saw them, and how they go.
fn guard_of(node: &Node, plugin: &Plugin, standing: &Standing<'_>) -> (Vec<u8>, Vec<u8>) {
    let file = node.host_local_dir().join("trace");
    let arguments = ["-f", "-qq", "-s", "0", "-e", "trace=sendto,sendmsg", "-e", "write=all", "-o"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(file.display().to_string());
    let execution = plugin.operation("ADD", &standing.pod, Some(&standing.previous));
    node.ns().inside(|| execution.under("/usr/bin/strace", arguments).run());
    let trace = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let changes = bare::seen(&String::from_utf8_lossy(&trace), ours::NFT_GUARD_TABLE);
    assert!(!changes.is_empty(), "strace saw no transaction of the guard");
    let (record, _) = record(node, standing);
    let deletions = rulesets(&record, Place::Root).flat_map(bare::deletion).collect();
    took(node, plugin, "DEL", standing);
    (changes, deletions)
}

/// Processor time of this thread, and time.
fn timed(work: impl FnOnce() -> std::io::Result<()>) -> (Duration, Duration) {
    let used = || {
        let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        Duration::from(now.unwrap_or_else(|e| panic!("the clock of this thread: {e}")))
    };
    let (before, start) = (used(), Instant::now());
    work().unwrap_or_else(|e| panic!("bare netlink: {e}"));
    let wall = start.elapsed();
    (used().saturating_sub(before), wall)
}

fn print_adds(adds: &Adds) {
    for (at, unit) in ["milliseconds of the processor", "milliseconds"].into_iter().enumerate() {
        let [guarded, unguarded, bare] =
            [&adds.guarded, &adds.unguarded, &adds.bare].map(|all| &all[at]);
        let part = guarded.paired(unguarded, |with, without| with - without);
        report::figures(
            unit,
            &[
                ("egret ADD, guard: required", guarded),
                ("egret ADD, guard: off", unguarded),
                ("the guard's part: the difference, pair by pair", &part),
                ("the same objects by bare netlink", bare),
            ],
        );
        let smallest = |samples: &Samples| samples.spread()[0];
        report::line(&format!(
            "  the guard's part / bare netlink: medians {:.2}, minima {:.2}",
            part.median() / bare.median(),
            (smallest(guarded) - smallest(unguarded)) / smallest(bare)
        ));
    }
}

fn deletion(scale: Scale, lab: &Lab, node: &Node) {
    let plugin = Plugin::egret(node);
    let (mut own, mut bare): ([Samples; 2], [Samples; 2]) = Default::default();
    for round in 0..scale.pods() {
        let pods = [stand(lab, node, "shop"), stand(lab, node, "shop")];
        for standing in &pods {
            took(node, &plugin, "ADD", standing);
        }
        let mut ours = || {
            let del = took(node, &plugin, "DEL", &pods[0]);
            own[0].push(processor(del));
            own[1].push(milliseconds(del.wall));
        };
        let mut peer = || {
            let execution = bare_deletion(node, &pods[1]);
            let del = node.ns().inside(|| execution.run());
            bare[0].push(processor(del));
            bare[1].push(milliseconds(del.wall));
        };
        if round % 2 == 0 {
            ours();
            peer();
        } else {
            peer();
            ours();
        }
        for standing in &pods {
            took(node, &plugin, "DEL", standing);
            end(node, standing);
        }
    }
    for (at, unit) in ["milliseconds of the processor", "milliseconds"].into_iter().enumerate() {
        report::figures(unit, &[("egret + egret-ipam DEL", &own[at]), ("bare netlink", &bare[at])]);
        report::ratios(&[("egret + egret-ipam DEL / bare netlink", &own[at], &bare[at])]);
        let smallest = |samples: &Samples| samples.spread()[0];
        report::line(&format!("  of the minima {:.2}", smallest(&own[at]) / smallest(&bare[at])));
    }
}

/// The same links and nft objects, in one process: in the pod, the egret namespace and the root
/// namespace, and the file of the record. Nothing that DEL writes is synced.
fn bare_deletion(node: &Node, standing: &Standing<'_>) -> Execution {
    let (record, file) = record(node, standing);
    let nft = |bytes: Vec<u8>| format!("nft {}", bare::digits(&bytes));
    let netns = |path: PathBuf| format!("netns {}", path.display());
    let veth = record.objects.iter().find_map(|placed| match &placed.object {
        Object::Veth(veth) => Some(&veth.peer),
        _ => None,
    });
    let lines = [
        nft(rulesets(&record, Place::Root).flat_map(bare::deletion).collect()),
        netns(standing.pod.path()),
        nft(rulesets(&record, Place::Pod).flat_map(bare::table_deletion).collect()),
        netns(node.egress_ns().path()),
        nft(rulesets(&record, Place::Egret).flat_map(bare::deletion).collect()),
        format!("link {}", veth.expect("a pod has a link")),
        format!("unlink {}", file.display()),
    ];
    let orders = node.host_local_dir().join("orders");
    put(&orders, &lines.join("\n"));
    let program = std::env::current_exe().expect("this program");
    Execution::new(program, Vec::new(), String::new())
        .with_arguments(["--bare".to_owned(), orders.display().to_string()])
}

/// A pod that nothing selects, on a node with guarded pods or with pods that are selected and not
/// guarded.
struct Lane {
    lab: Lab,
    pod: Ns,
    server: Server,
}

impl Lane {
    fn new(guard: &str) -> Self {
        let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").start();
        let defaults = resources::defaults(lab.nodes(), lab.families());
        let guard = format!("guard: \"{guard}\"");
        lab.write_resources("10-defaults.yaml", &defaults.replace("guard: required", &guard));
        let policy = resources::policy("shop", "partners", "tenants", "");
        lab.write_resources("20-policies.yaml", &policy);
        lab.node("g1").egretctl("gateway up").success();
        for number in 0..GUARDED {
            lab.add_pod("w1", "shop", &format!("p{number}"));
        }
        let pod = lab.add_pod("w1", "other", "plain").ns().clone();
        let lane = Self { server: Server::start(lab.external()), pod, lab };
        for family in Family::BOTH {
            let seen = lane.pod.who(Question::Tcp, lane.lab.external_address(family));
            let seen = seen.map(|seen| seen.address).map_err(|error| error.to_string());
            assert_eq!(seen, Ok(external(family, 11)), "the source of an unselected pod");
        }
        let tables = lane.lab.node("w1").ns().exec("nft list tables").success();
        let there = tables.contains(ours::NFT_GUARD_TABLE);
        assert_eq!(there, guard.contains("required"), "guard tables: {tables}");
        lane
    }
}

fn packets(scale: Scale) {
    let lanes = ["off", "off", "required"].map(Lane::new);
    for family in Family::BOTH {
        for kind in Kind::ALL {
            let mut work = <[Samples; 3]>::default();
            for round in 0..scale.rounds() {
                for turn in 0..lanes.len() {
                    let place = (round + turn) % lanes.len();
                    let lane = &lanes[place];
                    let to = (lane.lab.external_address(family), &lane.server);
                    work[place].push(rate(&lane.pod, to, kind, SLICE).work);
                }
            }
            report::rates(
                &format!("{}, {family}, ratio by processor time", kind.name()),
                &[
                    ("guard / no guard", &work[2], &work[0]),
                    ("noise: no guard, another laboratory / no guard", &work[1], &work[0]),
                ],
            );
        }
    }
}

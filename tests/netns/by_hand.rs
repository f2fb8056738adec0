//! A node that is cleaned with the lines of docs/operations.md, and with none of our programs.

use egret_tests::{Families, Question, Snapshot, external, root};
use rstest::rstest;

use crate::world;

const HEADING: &str = "## Clean a node by hand";

/// The script below the heading, for other places than the defaults.
fn script(places: [&str; 3], pods: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let block = text.split(HEADING).last().unwrap().split("```").nth(1).unwrap();
    let lines = block.strip_prefix("sh\n").unwrap();
    let [egret, state, run] = places;
    let mut given = 0;
    let place = |line: &str| {
        let own = match line.split('=').next() {
            Some("E") => format!("E={egret} STATE={state} RUN={run}"),
            Some("PODS") => format!("PODS='{pods}'"),
            _ => return line.to_owned(),
        };
        given += 1;
        own
    };
    let lines: Vec<String> = lines.lines().map(place).collect();
    assert_eq!(given, 2, "the lines with the places: {lines:#?}");
    lines.join("\n")
}

#[rstest]
fn the_documented_lines_clean_workers_and_gateways(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    lab.warm_up();
    let before = lab.snapshot();
    world::open(&lab);
    let pods = [lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "ledger")];
    let other = lab.add_pod("w1", "other", "plain");
    let ours = |snapshot: &Snapshot| {
        let signs = [" table 230", " proto 230", "egr0", "egret"];
        signs.iter().any(|sign| snapshot.mentions(sign))
    };
    for pod in &pods {
        assert!(ours(&pod.snapshot()), "a selected pod has something of ours");
    }
    let untouched = other.snapshot();
    for name in ["w1", "g1"] {
        let node = lab.node(name);
        let paths = [node.egress_ns().path(), node.state_dir(), node.run_dir()];
        let [egret, state, run] = paths.map(|path| path.display().to_string());
        let all = pods.iter().chain([&other]).map(|pod| pod.path().display().to_string());
        let all: Vec<String> = all.collect();
        let lines = script([&egret, &state, &run], &all.join(" "));
        node.ns().program("bash").args(["-s"]).input(lines).run();
        assert!(!node.egress_ns().exists(), "{name}");
    }
    for pod in &pods {
        let left =
            pod.snapshot().without("rp_filter").without("src_valid_mark").without("mark_reflect");
        assert!(!ours(&left), "{:#?}", left.lines().collect::<Vec<_>>());
        for family in families.list() {
            let seen = pod.who(Question::Udp, lab.external_address(*family)).unwrap();
            assert_eq!(seen.address, external(*family, 11), "as the node lets it");
        }
    }
    egret_tests::assert_no_leftovers(&untouched, &other.snapshot());
    for pod in pods.iter().chain([&other]) {
        lab.node("w1").edit_conflist(|list| {
            list["plugins"].as_array_mut().unwrap().retain(|plugin| plugin["type"] != "egret");
        });
        pod.del().unwrap();
        pod.destroy_namespace();
    }
    // What others keep of pods that have been, and what operators write.
    let promised = ["/state/", "20-policies", "10-egret.conflist", "10-defaults"];
    lab.assert_as_before(&before, &promised);
}

//! Many at once on one node: runtimes start pods in parallel, and nobody waits for `egretctl gc`.

use std::sync::atomic::{AtomicBool, Ordering};

use egret_tests::{Families, Lab, PluginRun, Pod, Question, egress_ip};
use egret_types::Family;
use serde_json::Value;

use crate::world::{self, SHOP};

/// Leases stay by design; directories and locks are no state.
const KEPT: [&str; 3] = ["/state/leases/", "directory ", "/run/"];

fn prepared(lab: &Lab, count: usize) -> Vec<(Pod<'_>, Value)> {
    let pod = |number: usize| {
        let mut pod = lab.pod("w1", "shop", &format!("cart-{number}")).prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        (pod, previous)
    };
    (0..count).map(pod).collect()
}

/// All at once, as many processes as there are pods.
fn at_once<T: Send>(
    pods: &[(Pod<'_>, Value)],
    work: impl Fn(&Pod<'_>, &Value) -> T + Sync,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            pods.iter().map(|(pod, previous)| scope.spawn(move || work(pod, previous))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn add(pod: &Pod<'_>, previous: &Value) -> Value {
    PluginRun::for_pod(pod, "ADD", Some(previous)).run().result()
}

fn del(pod: &Pod<'_>, _: &Value) {
    assert_eq!(PluginRun::for_pod(pod, "DEL", None).run().finished.success(), "");
}

#[test]
fn item_36_a_hundred_adds_on_a_bare_node_share_everything_and_a_hundred_dels_leave_nothing() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pods = prepared(&lab, 100);
    let before = lab.snapshot();
    let mut names: Vec<String> = at_once(&pods, add)
        .into_iter()
        .map(|result| result["interfaces"][4]["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100, "every pod has a link of its own");
    let egress = lab.node("w1").egress_ns();
    let count = |line: &str| egress.exec(line).success().lines().count();
    assert_eq!(count("ip -o link show type vxlan"), 1);
    assert_eq!(count("ip -o link show type veth"), 100);
    assert_eq!(count("nft list tables"), 1);
    let chains = egress.exec("nft list chains netdev").success();
    assert_eq!(chains.matches("chain d").count(), 2, "one decision, two families: {chains}");
    for (pod, _) in pods.iter().step_by(25) {
        for family in Family::BOTH {
            let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
            assert_eq!(seen.address, egress_ip(family, SHOP));
        }
    }
    at_once(&pods, del);
    assert_eq!(count("ip -o link show type veth"), 0);
    let table = egress.exec("nft list table netdev egret").success();
    assert!(!table.contains("10.244.11.") && !table.contains("chain d"), "{table}");
    lab.node("w1").egretctl("gc").success();
    lab.assert_as_before(&before, &KEPT);
}

#[test]
fn gc_while_pods_come_and_go_never_breaks_an_add() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pods = prepared(&lab, 8);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| {
            let mut removed = 0;
            while !over.load(Ordering::Relaxed) {
                let said = lab.node("w1").egretctl("gc").success();
                removed += usize::from(said.contains("removed"));
            }
            removed
        });
        for _ in 0..5 {
            for chunk in pods.chunks(4) {
                let results = at_once(chunk, add);
                for ((pod, _), result) in chunk.iter().zip(&results) {
                    let check = PluginRun::for_pod(pod, "CHECK", Some(result)).run();
                    assert_eq!(check.finished.success(), "");
                }
                at_once(chunk, del);
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(cleaner.join().unwrap() > 0, "gc never found the node without a pod");
    });
}

#[test]
fn gc_takes_nothing_from_a_pod_also_when_its_record_is_lost() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let node = lab.node("w1");
    let pods = prepared(&lab, 2);
    let before = lab.snapshot();
    let results = at_once(&pods, add);
    let works = |pod: &Pod<'_>| {
        let seen = pod.who(Question::Tcp, lab.external_address(Family::V4)).unwrap();
        assert_eq!(seen.address, egress_ip(Family::V4, SHOP));
    };
    let said = node.egretctl("gc").success();
    assert!(said.contains("2 attachments"), "{said}");
    let with_pods = lab.snapshot();
    node.egretctl("gc --dry-run");
    assert_eq!(with_pods.changes_to(&lab.snapshot()), "");
    del(&pods[0].0, &results[0]);
    let records = std::fs::read_dir(node.state_dir().join("attachments")).unwrap();
    for entry in records {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let refused = node.egretctl("gc").exits(1);
    let link = results[1]["interfaces"][4]["name"].as_str().unwrap();
    assert!(refused.stdout.contains(link), "{refused}");
    works(&pods[1].0);
    // DEL goes by name where there is no record. What the IPAM plugin knows of it stays.
    del(&pods[1].0, &results[1]);
    node.egretctl("gc").success();
    lab.assert_as_before(&before, &[&KEPT[..], &["/state/holders/"]].concat());
}

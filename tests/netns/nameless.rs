//! Runtimes without Kubernetes: they tell no namespace of a pod. Policies of namespaces leave such
//! containers alone; one for everybody selects them, and gives them a pair that needs no namespace.

use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{
    Containerd, ContainerdVersion, Families, Finished, Lab, Podman, Snapshot, egress_ip,
    eventually, external, resources,
};
use egret_types::Family;
use rstest::rstest;

use crate::hygiene::Outside;
use crate::world;

/// Leases stay by design; directories and locks are no state, and resources are the test's own.
const KEPT: [&str; 4] = ["/state/leases/", "directory ", "/run/", "/resources.d/"];

fn open() -> Lab {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    lab
}

/// A policy for everybody, whose pair belongs to this scope.
fn select_everybody(lab: &Lab, scope: &str) {
    let pair = format!("  egressIP: {{ scope: {scope} }}\n");
    let everybody = resources::cluster_policy("everybody", &[], "tenants", &pair);
    let everybody = everybody.replace("{ namespaces: { names: [] } }", "{}");
    lab.write_resources("30-everybody.yaml", &everybody);
}

/// The pair that is given out first: the lowest that no policy names.
fn first(family: Family) -> IpAddr {
    egress_ip(family, 0)
}

#[track_caller]
fn saw(finished: Finished) -> IpAddr {
    let text = finished.success();
    text.trim().parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

#[track_caller]
fn is_clean(lab: &Lab, before: &Snapshot, kept: &[&str]) {
    let node = lab.node("w1");
    node.egretctl("gc").success();
    lab.assert_as_before(before, &[&KEPT[..], kept].concat());
    let addresses = Snapshot::of_files(&node.host_local_dir());
    let addresses = addresses.without("last_reserved_ip").without("/lock ").without("directory ");
    assert_eq!(addresses, Snapshot::default(), "addresses of the main plugin");
}

#[rstest]
fn ctr_run_gives_its_container_a_network_for_as_long_as_it_runs(
    #[values(ContainerdVersion::One, ContainerdVersion::Two)] version: ContainerdVersion,
) {
    let lab = open();
    let runtime = Containerd::start(lab.node("w1"), version);
    let before = lab.snapshot();
    let probe = egret_tests::probe();
    let ask = |id: &str, how: &str, family: Family| {
        let server = lab.external_address(family).to_string();
        runtime.ctr_run(id, &[&probe, "who", how, &server])
    };
    assert_eq!(saw(ask("plain", "tcp", Family::V4)), external(Family::V4, 11));
    select_everybody(&lab, "Namespace");
    let refused = ask("refused", "tcp", Family::V4);
    let said = format!("{refused}");
    assert!(!refused.succeeded() && said.contains("K8S_POD_NAMESPACE"), "{said}");
    runtime.ctr_remove("refused");
    select_everybody(&lab, "Policy");
    let outside = Outside::watch(&lab);
    for family in Family::BOTH {
        for how in ["tcp", "udp"] {
            let id = format!("job-{family}-{how}");
            assert_eq!(saw(ask(&id, how, family)), first(family));
        }
    }
    outside.saw_exactly(Family::BOTH.map(first));
    // Its DEL names no network namespace: there bridge leaves its rules for the pod's address.
    is_clean(&lab, &before, &["nft table ip nat", "nft table ip6 nat"]);
}

#[test]
fn podman_gives_a_container_its_way_out_with_every_start_and_takes_it_with_every_stop() {
    let lab = open();
    let podman = Podman::start(lab.node("w1"));
    let before = lab.snapshot();
    let leaves_from = |name: &str, from: &dyn Fn(Family) -> IpAddr| {
        for family in Family::BOTH {
            for how in ["tcp", "udp"] {
                let server = lab.external_address(family);
                assert_eq!(saw(podman.who(name, how, server)), from(family), "{how}");
            }
        }
    };
    podman.run("plain").success();
    leaves_from("plain", &|family| external(family, 11));
    podman.command(&["rm", "--force", "--time", "0", "plain"]).success();
    select_everybody(&lab, "Namespace");
    let refused = podman.run("refused");
    assert!(!refused.succeeded() && refused.stderr.contains("K8S_POD_NAMESPACE"), "{refused}");
    podman.command(&["rm", "--force", "refused"]).success();
    select_everybody(&lab, "Policy");
    let outside = Outside::watch(&lab);
    podman.run("job").success();
    leaves_from("job", &first);
    podman.command(&["stop", "--time", "0", "job"]).success();
    let held = || lab.node("w1").state_dir().join("holders").read_dir().unwrap().count();
    eventually("stop is DEL", Duration::from_secs(10), || (held() == 0).then_some(()));
    podman.command(&["start", "job"]).success();
    leaves_from("job", &first);
    outside.saw_exactly(Family::BOTH.map(first));
    podman.command(&["rm", "--force", "--time", "0", "job"]).success();
    is_clean(&lab, &before, &[]);
}

//! Runtimes without Kubernetes: they tell no namespace of a pod. By themselves such containers are
//! left alone, or refused; a script in the plugin's place that adds a namespace makes them a tenant's.

use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{
    Containerd, ContainerdVersion, Families, Finished, Lab, Podman, Snapshot, egress_ip,
    eventually, external, product, resources,
};
use egret_types::Family;
use rstest::rstest;

use crate::hygiene::Outside;
use crate::world::{self, SHOP};

/// Leases stay by design; directories and locks are no state.
const KEPT: [&str; 3] = ["/state/leases/", "directory ", "/run/"];

/// In the plugin's place: the plugin, told that the container is one of the shop's.
fn of_the_shop() -> String {
    format!(
        "export CNI_ARGS=\"${{CNI_ARGS:+$CNI_ARGS;}}K8S_POD_NAMESPACE=shop\"\nexec {}\n",
        product("egret").display()
    )
}

fn open() -> Lab {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    lab
}

/// A policy for everybody, which gives each namespace its own pair.
fn select_everybody(lab: &Lab) {
    let everybody = resources::cluster_policy("everybody", &[], "tenants", "");
    let everybody = everybody.replace("{ namespaces: { names: [] } }", "{}");
    lab.write_resources("30-everybody.yaml", &everybody);
}

fn select_everybody_no_more(lab: &Lab) {
    lab.nodes().iter().for_each(|node| node.remove_resources("30-everybody.yaml"));
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
    select_everybody(&lab);
    let refused = ask("refused", "tcp", Family::V4);
    let said = format!("{refused}");
    assert!(!refused.succeeded() && said.contains("K8S_POD_NAMESPACE"), "{said}");
    runtime.ctr_remove("refused");
    select_everybody_no_more(&lab);
    runtime.add_plugin("egret", &of_the_shop());
    let outside = Outside::watch(&lab);
    for family in Family::BOTH {
        for how in ["tcp", "udp"] {
            let id = format!("cart-{family}-{how}");
            assert_eq!(saw(ask(&id, how, family)), egress_ip(family, SHOP));
        }
    }
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    // Its DEL names no network namespace: there bridge leaves its rules for the pod's address.
    is_clean(&lab, &before, &["nft table ip nat", "nft table ip6 nat"]);
}

#[test]
fn podman_runs_stops_starts_and_removes_a_container_of_a_tenant() {
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
    select_everybody(&lab);
    let refused = podman.run("refused");
    assert!(!refused.succeeded() && refused.stderr.contains("K8S_POD_NAMESPACE"), "{refused}");
    podman.command(&["rm", "--force", "refused"]).success();
    select_everybody_no_more(&lab);
    podman.replace_plugin("egret", &of_the_shop());
    let outside = Outside::watch(&lab);
    podman.run("cart").success();
    leaves_from("cart", &|family| egress_ip(family, SHOP));
    podman.command(&["stop", "--time", "0", "cart"]).success();
    let held = || lab.node("w1").state_dir().join("holders").read_dir().unwrap().count();
    eventually("stop is DEL", Duration::from_secs(10), || (held() == 0).then_some(()));
    podman.command(&["start", "cart"]).success();
    leaves_from("cart", &|family| egress_ip(family, SHOP));
    outside.saw_exactly(Family::BOTH.map(|family| egress_ip(family, SHOP)));
    podman.command(&["rm", "--force", "--time", "0", "cart"]).success();
    is_clean(&lab, &before, &[]);
}

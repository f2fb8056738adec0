//! `egretctl repair` puts back what ADD made, and what it does not look at again.

use egret_tests::{Families, Lab, PluginRun, Pod, Question, egress_ip};
use egret_types::Family;
use rstest::rstest;

use crate::check::{self, Attached};
use crate::world::{self, SHOP};

fn assert_leaves(lab: &Lab, pod: &Pod) {
    for family in lab.families().list() {
        let seen = pod.who(Question::Udp, lab.external_address(*family)).unwrap();
        assert_eq!(seen.address, egress_ip(*family, SHOP));
    }
}

#[test]
fn destinations_that_were_changed_by_hand_are_put_back() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let node = lab.node("w1");
    let egress = node.egress_ns();
    let listing = egress.exec("nft list sets netdev").success();
    let sets: Vec<&str> = listing.lines().filter_map(|l| l.trim().strip_prefix("set d")).collect();
    let sets: Vec<String> = sets.iter().map(|l| format!("d{}", l.trim_end_matches(" {"))).collect();
    let [v4, v6] = &sets[..] else { panic!("two decisions, one a family: {listing}") };
    let check = || PluginRun::for_pod(&pod, "CHECK", Some(pod.result())).run();
    assert_eq!(check().finished.success(), "");
    for command in [
        format!("flush set netdev egret {v4}"),
        format!("flush set netdev egret {v6}"),
        // A network of the cluster, which is nobody's business outside.
        format!("add element netdev egret {v4} {{ 10.244.0.0/16 }}"),
    ] {
        egress.exec(&format!("nft {command}")).success();
        let (code, sentence) = check().error();
        assert!(code == 110 && sentence.contains("set netdev egret d"), "{command}: {sentence}");
        if command.starts_with("flush") {
            let all = lab.families().list().iter();
            let lost = all.filter(|f| pod.who(Question::Udp, lab.external_address(**f)).is_err());
            assert_eq!(lost.count(), 1, "{command}");
        }
        let said = node.egretctl("repair").success();
        assert!(said.contains("put back set netdev egret d"), "{command}: {said}");
        assert_eq!(check().finished.success(), "", "{command}");
        assert_leaves(&lab, &pod);
    }
    assert!(!node.egretctl("repair").success().contains("put back"));
}

/// Every damage of CHECK's own test but those to links, which cannot be made again as they were.
#[test]
fn what_check_names_of_a_pod_is_put_back() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    let node = lab.node("w1");
    let mut all = check::in_the_pod(attached.pod.ns());
    all.extend(check::in_the_egress_namespace(&attached));
    let mut wrong = Vec::new();
    let mut repaired = 0;
    for damage in all.iter().filter(|damage| !damage.command.starts_with("ip link del")) {
        check::hit(node, attached.pod.ns(), damage);
        let (code, sentence) = attached.check().error();
        let named = code == 110 && damage.named.iter().all(|word| sentence.contains(word));
        let told = node.egretctl("check").exits(1).stdout;
        let said = node.egretctl("repair").success();
        let fine = node.egretctl("check");
        if !named || !damage.named.iter().all(|word| told.contains(word)) || !fine.succeeded() {
            wrong.push(format!("{}: {sentence}\n{told}\n{said}\n{fine}", damage.command));
        }
        attached.is_fine();
        assert_leaves(&lab, &attached.pod);
        repaired += 1;
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(repaired > 25, "{repaired} damages");
    let said = node.egretctl("repair").success();
    assert_eq!(said, "1 egress IPs in use, 0 entries written\n");
}

/// A pod that has lost its link, or its tunnel, is named; nothing of it is touched then, and another
/// one is put back all the same.
#[rstest]
#[case::the_pods_link("ip link del egr0")]
#[case::the_pods_link_by_another_name("ip link set egr0 down name egr1")]
#[case::a_link_of_somebodys(
    "ip link set egr0 down name egr1; ip link add egr0 type veth peer name other0"
)]
fn what_cannot_be_put_back_is_named_and_nothing_else_suffers(#[case] damage: &str) {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let broken = Attached::new(&lab, "shop");
    let other = lab.add_pod("w1", "shop", "other");
    let node = lab.node("w1");
    broken.pod.program("sh").args(["-c", damage]).run().success();
    let before = broken.pod.snapshot();
    other.exec("ip rule del pref 1000").success();
    let told = node.egretctl("repair").exits(1).stdout;
    let of = |pod: &Pod| told.lines().filter(|line| line.contains(&pod.container_id())).count();
    assert_eq!(of(&broken.pod), 1, "{told}");
    assert!(told.contains("start the pod anew") || told.contains("link egr0"), "{told}");
    assert!(told.contains(": wrote ipv4 rule pref 1000"), "{told}");
    egret_tests::assert_no_leftovers(&before, &broken.pod.snapshot());
    other.check().unwrap();
    assert_leaves(&lab, &other);
    assert!(!node.egretctl("check").succeeded());
}

#[test]
fn a_tunnel_that_is_gone_or_was_made_anew_is_named() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    let node = lab.node("w1");
    node.egress_ns().ip("link del egret0");
    for anew in [false, true] {
        if anew {
            lab.add_pod("w1", "shop", "next");
        }
        for command in ["check", "repair"] {
            let told = node.egretctl(command).exits(1).stdout;
            let of = |line: &&str| {
                line.contains(&attached.pod.container_id()) && line.contains("egret0")
            };
            assert!(told.lines().any(|line| of(&line)), "{command}, {anew}: {told}");
        }
    }
    attached.add_again();
    node.egretctl("repair").success();
    node.egretctl("check").success();
    assert_leaves(&lab, &attached.pod);
}

/// Another namespace under the path of the pod's is another pod's.
#[test]
fn a_namespace_that_is_not_the_recorded_one_is_left_alone() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    pod.renew_namespace();
    let before = pod.snapshot();
    let told = lab.node("w1").egretctl("repair").exits(1).stdout;
    assert!(told.contains("is gone, and no DEL came; see egretctl gc"), "{told}");
    egret_tests::assert_no_leftovers(&before, &pod.snapshot());
}

/// The record of a pod that ended without DEL does not take the guard of the next one with its
/// address.
#[test]
fn a_dead_pods_guard_is_not_put_over_a_living_ones() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let dead = lab.add_pod("w1", "shop", "dead");
    dead.destroy_namespace();
    std::fs::remove_dir_all(lab.node("w1").host_local_dir()).unwrap();
    // The addresses are given from the first on again.
    lab.add_pod("w1", "shop", "first");
    let living = lab.add_pod("w1", "billing", "living");
    assert_eq!(living.address(Family::V4), dead.address(Family::V4));
    let node = lab.node("w1");
    let guard = || node.ns().exec("nft list map inet egret-guard guarded4").success();
    let before = guard();
    for _ in 0..2 {
        let told = node.egretctl("repair").exits(1).stdout;
        assert!(!told.contains("egret-guard"), "{told}");
        assert_eq!(guard(), before);
    }
    node.ns().exec("nft delete table inet egret-guard").success();
    assert!(!node.egretctl("repair").succeeded());
    assert_eq!(guard(), before);
}

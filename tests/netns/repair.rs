//! `egretctl repair` puts back what ADD does not look at again.

use egret_tests::{Families, Lab, PluginRun, Pod, Question, egress_ip};

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

//! Connections from outside to a selected pod: they arrive on the primary link and must be answered
//! there. The pod's reverse path filter is strict before ADD.

use std::time::Duration;

use egret_tests::{
    Client, Families, Lab, PluginRun, Pod, Question, assert_no_leftovers, egress_ip,
};
use egret_types::Family;
use rstest::rstest;

use crate::world::{self, SHOP};

#[rstest]
fn the_outside_reaches_a_selected_pod_at_its_own_address(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.pod("w1", "shop", "cart").sysctl("net.ipv4.conf.all.rp_filter", "1");
    let pod = pod.sysctl("net.ipv4.conf.default.rp_filter", "1").add().unwrap();
    assert_eq!(pod.sysctl("net.ipv4.conf.eth0.rp_filter"), "1");
    lab.serve(pod.ns());
    lab.route_pods_from_outside();
    for family in families.list() {
        for question in Question::ALL {
            let seen = lab.external().who(question, pod.address(*family)).unwrap();
            assert_eq!(seen.address, lab.external_address(*family), "{question:?}");
            // And its own connections still leave through the gateway.
            let seen = pod.who(question, lab.external_address(*family)).unwrap();
            assert_eq!(seen.address, egress_ip(*family, SHOP), "{question:?}");
        }
        assert!(lab.external().ping(pod.address(*family)), "ping over {family}");
    }
    // Control: it is the rule for replies that answers on the primary link.
    for family in families.list() {
        let option = if *family == Family::V4 { "-4" } else { "-6" };
        pod.exec(&format!("ip {option} rule del pref 990")).success();
        let patience = Duration::from_millis(700);
        let client = Client { patience, ..Client::new(pod.address(*family)) };
        lab.external().ask(&client, Question::Tcp).unwrap_err();
    }
}

#[rstest]
fn del_leaves_a_living_namespace_as_add_found_it(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    for filter in ["0", "1", "2"] {
        let pod = lab.pod("w1", "shop", "cart").sysctl("net.ipv4.conf.all.rp_filter", filter);
        attach_and_detach(&lab, pod.sysctl("net.ipv4.fwmark_reflect", "0").prepare());
    }
}

fn attach_and_detach(lab: &Lab, mut pod: Pod) {
    let previous = pod.add_before_ours().unwrap().clone();
    pod.set_sysctl("net.ipv4.conf.eth0.rp_filter", "2");
    let before = pod.snapshot();
    PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
    let changes = before.changes_to(&pod.snapshot());
    for part in ["link egr0", "rule", "table 230", "nft table inet egret", "fwmark_reflect = 1"] {
        assert!(changes.contains(part), "{part} is no part of what ADD did:\n{changes}");
    }
    for family in lab.families().list() {
        let seen = pod.who(Question::Tcp, lab.external_address(*family)).unwrap();
        assert_eq!(seen.address, egress_ip(*family, SHOP));
    }
    PluginRun::for_pod(&pod, "DEL", Some(&previous)).run().finished.success();
    assert_no_leftovers(&before, &pod.snapshot());
}

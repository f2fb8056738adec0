//! The main job: a selected pod leaves from its egress IP, seen by the host outside, for every
//! family, protocol and plugin set.

use egret_tests::{Families, Packet, PluginSet, Question, egress_ip, external};
use rstest::rstest;

use crate::hygiene::Outside;
use crate::world::{self, BILLING, SHOP};

#[rstest]
fn a_selected_pod_leaves_with_its_egress_ip_and_another_does_not(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(PluginSet::Debian, PluginSet::Newest)] plugins: PluginSet,
) {
    let lab = world::builder(families).plugins(plugins).start();
    world::open(&lab);
    let outside = Outside::watch(&lab);
    let shop = lab.add_pod("w1", "shop", "cart");
    let billing = lab.add_pod("w1", "billing", "ledger");
    for family in families.list() {
        let server = lab.external_address(*family);
        for (pod, index) in [(&shop, SHOP), (&billing, BILLING)] {
            for question in Question::ALL {
                let seen = pod.who(question, server).unwrap();
                assert_eq!(seen.address, egress_ip(*family, index), "{question:?}");
            }
            let echoes = lab.external().capture("eth0", "icmp or icmp6");
            assert!(pod.ping(server), "ping over {family}");
            let request = |packet: &Packet| matches!(packet.payload.first(), Some(8 | 128));
            let seen = echoes.wait_for("the echo request", request);
            assert_eq!(seen.source, Some(egress_ip(*family, index)));
        }
    }
    let pairs = |index| families.list().iter().map(move |family| egress_ip(*family, index));
    outside.saw_exactly(pairs(SHOP).chain(pairs(BILLING)));
    let other = lab.add_pod("w1", "other", "plain");
    for family in families.list() {
        for question in Question::ALL {
            let seen = other.who(question, lab.external_address(*family)).unwrap();
            assert_eq!(seen.address, external(*family, 11), "{question:?} of an unselected pod");
        }
    }
    for pod in [&shop, &billing, &other] {
        pod.check().unwrap();
        pod.del().unwrap();
    }
}

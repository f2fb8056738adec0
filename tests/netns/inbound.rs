//! Connections from outside to a selected pod: they arrive on the primary link and must be answered
//! there. The pod's reverse path filter is strict in every laboratory.

use egret_tests::{Families, Question, egress_ip};
use rstest::rstest;

use crate::world::{self, SHOP};

#[rstest]
fn the_outside_reaches_a_selected_pod_at_its_own_address(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    lab.serve(pod.ns());
    lab.route_pods_from_outside();
    for family in families.list() {
        for question in [Question::Tcp, Question::Udp] {
            let seen = lab.external().who(question, pod.address(*family)).unwrap();
            assert_eq!(seen.address, lab.external_address(*family));
        }
        assert!(lab.external().ping(pod.address(*family)), "ping over {family}");
        // And its own connections still leave through the gateway.
        let seen = pod.who(Question::Tcp, lab.external_address(*family)).unwrap();
        assert_eq!(seen.address, egress_ip(*family, SHOP));
    }
}

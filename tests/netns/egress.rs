//! The main job: a selected pod leaves from its egress IP, seen by the host outside.

use egret_tests::resources;
use egret_tests::{Families, Lab, PluginSet, Question, egress_ip, external};
use rstest::rstest;

/// Two workers and a gateway that is up, with these more resources.
pub(crate) fn lab(families: Families, plugins: PluginSet, more: &str) -> Lab {
    let lab = Lab::builder(families).worker("w1").worker("w2").gateway("gw1").plugins(plugins);
    let lab = lab.start();
    lab.write_resources("20-policies.yaml", more);
    lab.node("gw1").egretctl("gateway up").success();
    lab
}

#[rstest]
fn a_selected_pod_leaves_with_its_egress_ip_and_another_does_not(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
    #[values(PluginSet::Debian, PluginSet::Newest)] plugins: PluginSet,
) {
    let lab = lab(families, plugins, &resources::policy("shop", "all", "tenants", ""));
    let selected = lab.add_pod("w1", "shop", "cart");
    let other = lab.add_pod("w1", "billing", "bill");
    for family in families.list() {
        let outside = lab.external_address(*family);
        for question in Question::ALL {
            let seen = selected.who(question, outside).unwrap();
            assert_eq!(seen.address, egress_ip(*family, 0), "{question:?} of the selected pod");
            let seen = other.who(question, outside).unwrap();
            assert_eq!(seen.address, external(*family, 11), "{question:?} of the other pod");
        }
        assert!(selected.ping(outside), "ping over {family}");
    }
    selected.check().unwrap();
    selected.del().unwrap();
}

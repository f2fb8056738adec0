//! The gateway role of a node: what `gateway up` refuses to take, and a record of it that is damaged.

use egret_tests::{Families, resources};
use rstest::rstest;

use crate::world;

/// The pair of the router outside, and of `g1` itself, in a pool.
#[rstest]
#[case("next hop", "203.0.113.50-203.0.113.59", "203.0.113.10-203.0.113.19", "203.0.113.10")]
#[case(
    "next hop",
    "2001:db8:ff::50-2001:db8:ff::59",
    "2001:db8:ff::7-2001:db8:ff::10",
    "2001:db8:ff::10"
)]
#[case("ext0", "203.0.113.50-203.0.113.59", "203.0.113.20-203.0.113.29", "203.0.113.21")]
#[case(
    "ext0",
    "2001:db8:ff::50-2001:db8:ff::59",
    "2001:db8:ff::20-2001:db8:ff::29",
    "2001:db8:ff::21"
)]
fn an_egress_address_of_the_router_or_of_the_node_itself_is_refused_by_name(
    #[case] whose: &str,
    #[case] range: &str,
    #[case] taken: &str,
    #[case] address: &str,
) {
    let lab = world::builder(Families::Dual).start();
    let node = lab.node("g1");
    let defaults = resources::defaults(lab.nodes(), lab.families());
    assert!(defaults.contains(range), "{defaults}");
    let text = defaults.replace(range, taken);
    lab.write_resources("10-defaults.yaml", &text);
    let refused = node.egretctl("gateway up").exits(2);
    for word in [whose, &format!("egress address {address} is"), "exclude"] {
        assert!(refused.stderr.contains(word), "no {word:?} in {refused}");
    }
    assert!(!node.egress_ns().exists() && !node.state_dir().join("gateway.json").exists());
    // Control: as the sentence says.
    let excluded = format!("  node: w1\n  exclude: [\"{address}\"]\n");
    lab.write_resources("10-defaults.yaml", &text.replace("  node: w1\n", &excluded));
    node.egretctl("gateway up").success();
}

#[test]
fn a_gateway_whose_record_is_damaged_is_shown_goes_down_and_comes_up() {
    let lab = world::builder(Families::Dual).start();
    lab.warm_up();
    let node = lab.node("g1");
    let before = lab.snapshot();
    node.egretctl("gateway up").success();
    node.egretctl("gateway status").success();
    let damage = || {
        let record = node.state_dir().join("gateway.json");
        node.ns().exec(&format!("sed -i s/egru0/egru9/ {}", record.display())).success();
    };
    damage();
    // It cannot say what should be there, so something is not as it should be.
    let status = node.egretctl("gateway status").exits(1);
    assert!(status.stdout.contains("node g1: gateway up, 20 egress addresses"), "{status}");
    node.egretctl("gateway up").success();
    node.egretctl("gateway status").success();
    damage();
    assert!(node.egretctl("gateway down").success().contains("gateway down"));
    // The files still give it the egress IPs: workers send to it.
    let status = node.egretctl("gateway status").exits(1).stdout;
    assert!(status.contains("gateway down, 0 egress addresses"), "{status}");
    assert!(status.contains("serves none of its egress IPs"), "{status}");
    node.egretctl("gc").success();
    lab.assert_as_before(&before, &["/run/", "/state/"]);
}

//! The world that most tests on the wire share: two workers, a gateway that is up, and two tenants
//! with a pair each.

use egret_tests::{Families, Lab, LabBuilder, resources};

/// Index of the pair of namespace `shop`, and of namespace `billing`.
pub(crate) const SHOP: u8 = 3;
/// See [`SHOP`].
pub(crate) const BILLING: u8 = 4;

/// The builder of this world, for tests that want more of it.
pub(crate) fn builder(families: Families) -> LabBuilder {
    Lab::builder(families).worker("w1").worker("w2").gateway("g1")
}

/// Policies for both tenants, then the gateway, then the main plugin's standing objects.
pub(crate) fn open(lab: &Lab) {
    let families = lab.families();
    let policy = |namespace: &str, index: u8| {
        let pair = resources::egress_pair(index, families);
        resources::policy(namespace, "partners", "tenants", &pair)
    };
    lab.write_resources("20-policies.yaml", &(policy("shop", SHOP) + &policy("billing", BILLING)));
    lab.node("g1").egretctl("gateway up").success();
    lab.warm_up();
}

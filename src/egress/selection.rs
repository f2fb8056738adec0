//! Which policies select a pod. So far by namespace; labels come with their own issue.

use egret_resources::{EgressPolicy, Selector};
use egret_types::Namespace;

/// The policies that select a pod of this namespace, in the order of the resources. A pod of which
/// nobody knows the namespace is selected only by a cluster policy with an empty selector.
pub fn select<'a>(
    policies: &'a [EgressPolicy],
    namespace: Option<&Namespace>,
) -> Vec<&'a EgressPolicy> {
    policies.iter().filter(|policy| selects(&policy.selector, namespace)).collect()
}

fn selects(selector: &Selector, namespace: Option<&Namespace>) -> bool {
    match selector {
        Selector::Everything => true,
        Selector::Namespace(own) => namespace == Some(own),
        Selector::Namespaces(names) => namespace.is_some_and(|n| names.contains(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_matches_by_namespace_and_an_unknown_one_only_the_empty_selector() {
        let namespace = |text: &str| text.parse::<Namespace>().unwrap();
        let (shop, billing) = (namespace("shop"), namespace("billing"));
        let own = Selector::Namespace(shop.clone());
        let listed = Selector::Namespaces(vec![billing.clone()]);
        for (selector, of_shop, of_billing, unknown) in [
            (own, true, false, false),
            (listed, false, true, false),
            (Selector::Everything, true, true, true),
        ] {
            assert_eq!(selects(&selector, Some(&shop)), of_shop, "{selector:?}");
            assert_eq!(selects(&selector, Some(&billing)), of_billing, "{selector:?}");
            assert_eq!(selects(&selector, None), unknown, "{selector:?}");
        }
    }
}

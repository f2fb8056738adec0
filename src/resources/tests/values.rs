//! What the readers make of a directory of resources: values, defaults, look-ups.

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use egret_resources::{
        EgressCluster, EgressIp, Guard, PodNetwork, ProblemKind, Resources, Scope, Selector,
        Serves, SourceFile, explicit_pairs, parse,
    };
    use egret_types::{DualStack, Family, PolicyName};

    fn source(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.to_owned(), text: text.to_owned() }
    }

    fn sample() -> Resources {
        let text = include_str!("../../../testdata/resources/valid-two-tenants.yaml");
        parse(&[source("sample.yaml", text)]).unwrap()
    }

    fn policy_name(namespace: Option<&str>, name: &str) -> PolicyName {
        let namespace = namespace.map(|namespace| namespace.parse().unwrap());
        PolicyName { namespace, name: name.to_owned() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_files_give_every_default() {
        let resources = parse(&[]).unwrap();
        assert_eq!(resources, Resources::default());
        let EgressCluster { tunnel, guard, auto_detect, service_cidrs, .. } = resources.cluster;
        assert_eq!((u32::from(tunnel.vni), tunnel.port, tunnel.mtu), (230, 7790, None));
        assert_eq!((guard, auto_detect, service_cidrs), (Guard::Required, true, None));
    }

    #[test]
    fn a_cluster_keeps_none_apart_from_not_said() {
        let text = include_str!("../../../testdata/resources/valid-no-services.yaml");
        let resources = parse(&[source("x.yaml", text)]).unwrap();
        assert_eq!(resources.cluster.service_cidrs, Some(vec![]));
        assert_eq!(resources.cluster.guard, Guard::BestEffort);
    }

    #[test]
    fn a_cluster_says_what_was_written() {
        let cluster = sample().cluster;
        assert_eq!(cluster.cluster_cidrs.len(), 2);
        assert_eq!(cluster.node_cidrs.len(), 1);
        assert!(!cluster.auto_detect);
        assert_eq!((u32::from(cluster.tunnel.vni), cluster.tunnel.port), (231, 7791));
        assert_eq!(cluster.tunnel.mtu.map(egret_types::Mtu::bytes), Some(1450));
        assert_eq!(cluster.guard, Guard::Off);
    }

    #[test]
    fn a_node_without_an_id_is_named_by_its_first_vtep() {
        let resources = sample();
        let node = resources.node(&"worker-1".parse().unwrap()).unwrap();
        assert_eq!(node.id.number(), 11);
        let v6_first = "apiVersion: egret.dev/v1alpha1\nkind: EgressNode\nmetadata: {name: a}\n\
                        spec: {vtep: ['fd00::1:2', 172.18.0.9]}\n";
        let resources = parse(&[source("x.yaml", v6_first)]).unwrap();
        assert_eq!(resources.nodes[0].id.number(), 2);
        assert_eq!(
            resources.nodes[0].vtep,
            DualStack { v4: Some(address("172.18.0.9")), v6: Some(address("fd00::1:2")) }
        );
    }

    #[test]
    fn everything_is_found_by_its_name() {
        let resources = sample();
        for node in &resources.nodes {
            assert_eq!(resources.node(&node.name), Some(node));
        }
        for pool in &resources.pools {
            assert_eq!(resources.pool(&pool.name), Some(pool));
        }
        for gateway in &resources.gateways {
            assert_eq!(resources.gateway(&gateway.name), Some(gateway));
            assert_eq!(resources.pools_of(&gateway.name).count(), 2);
        }
        for policy in &resources.policies {
            assert_eq!(resources.policy(&policy.name), Some(policy));
        }
        assert_eq!(resources.node(&"stranger".parse().unwrap()), None);
    }

    #[test]
    fn a_pool_keeps_the_order_of_its_ranges() {
        let resources = sample();
        let pool = resources.pool(&"tenants".parse().unwrap()).unwrap();
        let shown = |family| -> Vec<String> {
            pool.ranges(family).iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown(Family::V4), ["203.0.113.50-203.0.113.59", "198.51.100.0-198.51.100.15"]);
        assert_eq!(shown(Family::V6), ["2001:db8:ff::100-2001:db8:ff::17f", "2001:db8:ff::1"]);
        assert_eq!(pool.exclude, ["198.51.100.7".parse().unwrap()]);
        assert_eq!(pool.node.as_ref().unwrap().as_str(), "worker-1");
    }

    #[test]
    fn a_pool_without_a_gateway_gives_pods_addresses_of_networks() {
        let text = include_str!("../../../testdata/resources/valid-pod-addresses.yaml");
        let resources = parse(&[source("x.yaml", text)]).unwrap();
        let pool = &resources.pools[0];
        let network = |network: &str, gateway| PodNetwork {
            network: network.parse().unwrap(),
            gateway: address(gateway),
        };
        let networks = vec![
            network("10.244.1.0/24", "10.244.1.1"),
            network("10.244.2.0/24", "10.244.2.254"),
            network("fd00:10:244:1::/64", "fd00:10:244:1::1"),
        ];
        assert_eq!(pool.serves, Serves::Pods(networks));
        assert_eq!(pool.gateway(), None);
        let holes: Vec<String> = pool.holes().iter().map(ToString::to_string).collect();
        assert_eq!(
            holes,
            [
                "10.244.1.7",
                "10.244.1.0",
                "10.244.1.1",
                "10.244.1.255",
                "10.244.2.0",
                "10.244.2.254",
                "10.244.2.255",
                "fd00:10:244:1::",
                "fd00:10:244:1::1",
            ]
        );
    }

    #[test]
    fn policies_select_by_namespace() {
        let resources = sample();
        let selector = |namespace, name| {
            resources.policy(&policy_name(namespace, name)).unwrap().selector.clone()
        };
        let shop = "shop".parse().unwrap();
        assert_eq!(selector(Some("shop"), "partners"), Selector::Namespace(shop));
        let both = vec!["a".parse().unwrap(), "b".parse().unwrap()];
        assert_eq!(selector(None, "partners"), Selector::Namespaces(both));
        assert_eq!(selector(None, "everyone"), Selector::Everything);
    }

    #[test]
    fn absent_destinations_mean_everything_and_an_absent_egress_ip_is_the_namespaces() {
        let resources = sample();
        let partners = resources.policy(&policy_name(None, "partners")).unwrap();
        assert_eq!(
            (&partners.destinations, &partners.egress_ip),
            (&None, &EgressIp::Shared(Scope::Namespace))
        );
        let shop = resources.policy(&policy_name(Some("shop"), "partners")).unwrap();
        assert_eq!(shop.destinations.as_ref().map(Vec::len), Some(2));
        assert_eq!(shop.except, ["192.0.2.128/25".parse().unwrap()]);
    }

    #[test]
    fn explicit_pairs_are_those_of_every_policy_of_the_pool() {
        let resources = sample();
        let pairs = |pool: &str| -> Vec<DualStack<IpAddr>> {
            explicit_pairs(&resources, &pool.parse().unwrap()).copied().collect()
        };
        let full =
            DualStack { v4: Some(address("203.0.113.58")), v6: Some(address("2001:db8:ff::108")) };
        let half = DualStack { v4: Some(address("198.51.100.1")), v6: None };
        assert_eq!(pairs("tenants"), [half, full]);
        assert_eq!(pairs("v6-only"), []);
    }

    #[test]
    fn the_outer_family_is_the_first_that_every_node_has() {
        let node = |name: &str, vtep: &str| {
            let text = format!(
                "apiVersion: egret.dev/v1alpha1\nkind: EgressNode\n\
                 metadata: {{name: {name}}}\nspec: {{vtep: [{vtep}]}}\n"
            );
            source(name, &text)
        };
        let family = |files: &[SourceFile]| parse(files).unwrap().outer_family();
        let (both, v4, v6) = ("10.0.0.1, 'fd00::1'", "10.0.0.2", "'fd00::3'");
        assert_eq!(family(&[node("a", both), node("b", v4)]), Ok(Family::V4));
        assert_eq!(family(&[node("a", both), node("b", v6)]), Ok(Family::V6));
        assert!(family(&[]).is_err());
    }

    #[test]
    fn problems_of_all_files_come_in_the_order_of_the_files() {
        let files = [
            source("b.yaml", "\nkind: EgressNode\n"),
            source("a.yaml", "apiVersion: v1\nkind: Pod\n---\n- x\n"),
            source("c.yaml", "["),
        ];
        let problems = parse(&files).unwrap_err();
        let seen: Vec<_> = problems.iter().map(|p| (p.file.as_str(), p.line, p.kind)).collect();
        let malformed = ProblemKind::Malformed;
        assert_eq!(
            seen,
            [
                ("b.yaml", 2, malformed),
                ("a.yaml", 2, ProblemKind::NotHonoured),
                ("a.yaml", 4, malformed),
                ("c.yaml", 1, malformed),
            ]
        );
    }

    #[test]
    fn json_and_yaml_of_the_same_resource_are_equal() {
        let json = include_str!("../../../testdata/resources/valid-node.json");
        let yaml = "apiVersion: egret.dev/v1alpha1\nkind: EgressNode\nmetadata: {name: worker}\n\
                    spec:\n  vtep: [172.18.0.11]\n  id: 7\n";
        assert_eq!(parse(&[source("a.json", json)]), parse(&[source("a.yaml", yaml)]));
    }
}

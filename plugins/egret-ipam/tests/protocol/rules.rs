//! What pools say about their leases: who may have one, how many, for how long; and who shares one.

mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use serde_json::{Value, json};

    use crate::node::{Answer, Node, explicit, request};

    const NETWORK: &str = "
apiVersion: egret.dev/v1alpha1
kind: EgressGateway
metadata: { name: edge }
spec: { members: [gw-1], uplink: { interface: ext0 } }
---
apiVersion: egret.dev/v1alpha1
kind: EgressCluster
metadata: { name: default }
spec: { guard: \"off\" }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: gw-1 }
spec: { vtep: [\"172.18.0.21\"] }
";

    /// Resources with one pool of these addresses and these further keys.
    fn resources(range: &str, keys: &str) -> String {
        format!(
            "{NETWORK}---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: {{ name: tenants }}
spec: {{ id: 1, gateway: edge, ipv4: [\"{range}\"], {keys} }}
"
        )
    }

    fn worker(range: &str, keys: &str) -> Node {
        Node::new("worker-1", &resources(range, keys))
    }

    /// A request of this scope for a pod of namespace `shop`.
    fn scoped(scope: &str, key: &str) -> Value {
        let mut request = request("tenants", "shop");
        (request["scope"], request["key"]) = (scope.into(), key.into());
        request
    }

    fn pod(namespace: &str, uid: u32) -> Value {
        let mut request = request("tenants", namespace);
        request["scope"] = "Pod".into();
        request["key"] = format!("{namespace}/web/{uid}").into();
        request
    }

    fn index(answer: &Answer) -> u64 {
        answer.leases()[0].0
    }

    #[rstest]
    #[case::cluster("Cluster", "*", "*")]
    #[case::policy("Policy", "shop/partners", "shop/partners")]
    #[case::cluster_policy("Policy", "/everyone", "/everyone")]
    #[case::workload("Workload", "shop/web", "shop/web")]
    #[case::pod("Pod", "shop/web/1", "shop/web/1")]
    fn who_has_one_key_shares_one_pair(
        #[case] scope: &str,
        #[case] first: &str,
        #[case] second: &str,
    ) {
        let node = worker("203.0.113.50-203.0.113.59", "");
        let namespaced = index(&node.add("c0", &[request("tenants", "shop")]));
        let one = index(&node.add("c1", &[scoped(scope, first)]));
        let two = index(&node.add("c2", &[scoped(scope, second)]));
        assert_eq!(one, two);
        assert_ne!(one, namespaced, "another scope is another owner");
    }

    #[test]
    fn a_key_of_another_namespace_is_refused() {
        let node = worker("203.0.113.50-203.0.113.59", "");
        for (scope, key) in [("Workload", "bank/web"), ("Pod", "bank/web/1"), ("Cluster", "all")] {
            let (code, msg) = node.add("c1", &[scoped(scope, key)]).error();
            assert_eq!(code, 7);
            assert!(msg.contains(&format!("key {key:?} is none of scope {scope}")), "{msg}");
        }
    }

    #[test]
    fn only_the_namespaces_that_a_pool_names_may_use_it() {
        let node = worker("203.0.113.50-203.0.113.59", "namespaces: { names: [shop] }");
        assert_eq!(index(&node.add("c1", &[request("tenants", "shop")])), 0);
        let foreign = [
            request("tenants", "bank"),
            explicit("tenants", "bank", "ipv4", "203.0.113.55"),
            pod("bank", 1),
        ];
        for request in foreign {
            let (code, msg) = node.add("c2", &[request]).error();
            assert_eq!(
                (code, msg.as_str()),
                (
                    102,
                    "namespace \"bank\" may not use pool \"tenants\": the pool's \"namespaces\" \
                     do not name it"
                )
            );
        }
        let mut nameless = scoped("Cluster", "*");
        nameless.as_object_mut().unwrap().remove("namespace");
        assert_eq!(node.add("c3", &[nameless]).error().0, 102);
        assert_eq!(node.pairs().len(), 1, "nothing was written for those refused");
        let mut config = node.config(None);
        config["cniVersion"] = "1.1.0".into();
        let status = crate::node::finish(crate::node::call("STATUS", "", &config));
        assert!(status.is_silent_success(), "{status:?}");
    }

    #[test]
    fn labels_that_nobody_told_are_asked_for_again_and_never_guessed() {
        let node =
            worker("203.0.113.50-203.0.113.59", "namespaces: { matchLabels: { tier: gold } }");
        let with = |labels: Value| {
            let mut request = request("tenants", "shop");
            request["namespaceLabels"] = labels;
            request
        };
        let (code, msg) = node.add("c1", &[request("tenants", "shop")]).error();
        assert_eq!(code, 11);
        assert!(msg.contains("labels of namespace \"shop\"") && msg.contains("tenants"), "{msg}");
        assert_eq!(node.add("c1", &[with(json!({ "tier": "silver" }))]).error().0, 102);
        assert_eq!(node.add("c1", &[with(json!({ "tier": 7 }))]).error().0, 7);
        let gold = json!({ "tier": "gold", "zone": "a" });
        assert_eq!(index(&node.add("c1", &[with(gold)])), 0);
    }

    #[test]
    fn a_quota_counts_whatever_the_scope_and_says_how_many() {
        let node = worker("203.0.113.50-203.0.113.59", "quotaPerNamespace: 2");
        node.add("c1", &[request("tenants", "shop")]).leases();
        node.add("c2", &[explicit("tenants", "shop", "ipv4", "203.0.113.50")]).leases();
        node.add("c3", &[scoped("Workload", "shop/web")]).leases();
        for more in [
            scoped("Workload", "shop/db"),
            pod("shop", 1),
            scoped("Cluster", "*"),
            scoped("Policy", "shop/partners"),
        ] {
            let (code, msg) = node.add("c4", &[more]).error();
            assert_eq!(
                (code, msg.as_str()),
                (
                    102,
                    "namespace \"shop\" has used up its quota of pool \"tenants\": 2 of 2 leases \
                     (quotaPerNamespace)"
                )
            );
        }
        assert_eq!(index(&node.add("c5", &[request("tenants", "bank")])), 2);
        assert_eq!(node.pairs().len(), 3, "those refused left nothing");
        assert_eq!(index(&node.add("c6", &[request("tenants", "shop")])), 0, "a known owner is in");
    }

    /// A third pod waits for nobody's quarantine: the pair rests, the slot does not.
    #[test]
    fn a_pod_that_is_gone_takes_nothing_of_the_quota() {
        let node = worker("203.0.113.50-203.0.113.59", "quotaPerNamespace: 1, quarantine: 1h");
        let mut given = Vec::new();
        for uid in 0..5 {
            given.push(index(&node.add("c1", &[pod("shop", uid)])));
            assert_eq!(node.add("c2", &[pod("shop", 100 + uid)]).error().0, 102);
            assert!(node.del("c1").is_silent_success());
        }
        assert_eq!(given.len(), 5);
        given.dedup();
        assert_eq!(given.len(), 5, "each got another pair: those before it rest ({given:?})");
    }

    #[test]
    fn a_smaller_quota_takes_nothing_away() {
        let node = worker("203.0.113.50-203.0.113.59", "quotaPerNamespace: 3");
        for uid in 0..3 {
            node.add(&format!("c{uid}"), &[pod("shop", uid)]).leases();
        }
        node.set_resources(&resources("203.0.113.50-203.0.113.59", "quotaPerNamespace: 1"));
        assert_eq!(index(&node.add("c2", &[pod("shop", 2)])), 2);
        let (code, msg) = node.add("c3", &[pod("shop", 3)]).error();
        assert_eq!(code, 102);
        assert!(msg.contains("3 of 1 leases"), "{msg}");
    }

    #[test]
    fn leases_from_before_a_quota_stay_and_count_when_their_pods_come_again() {
        let node = worker("203.0.113.50-203.0.113.59", "");
        node.add("c1", &[scoped("Workload", "shop/web")]).leases();
        node.add("c2", &[scoped("Workload", "shop/db")]).leases();
        node.set_resources(&resources("203.0.113.50-203.0.113.59", "quotaPerNamespace: 1"));
        assert_eq!(index(&node.add("c1", &[scoped("Workload", "shop/web")])), 0);
        assert_eq!(index(&node.add("c2", &[scoped("Workload", "shop/db")])), 1);
        assert_eq!(node.add("c3", &[request("tenants", "shop")]).error().0, 102);
    }

    #[test]
    fn a_draining_range_gives_nothing_new_and_keeps_what_it_gave() {
        let node = worker("203.0.113.50-203.0.113.53", "");
        for namespace in ["a", "b"] {
            node.add(namespace, &[request("tenants", namespace)]).leases();
        }
        let draining = "draining: [\"203.0.113.50-203.0.113.52\"]";
        node.set_resources(&resources("203.0.113.50-203.0.113.53", draining));
        assert_eq!(index(&node.add("a2", &[request("tenants", "a")])), 0, "it keeps its pair");
        assert_eq!(index(&node.add("c", &[request("tenants", "c")])), 3);
        let (code, msg) = node.add("d", &[request("tenants", "d")]).error();
        assert_eq!(code, 100);
        assert!(msg.contains("of 4 usable pairs") && msg.contains("3 are draining"), "{msg}");
        let (code, msg) =
            node.add("d", &[explicit("tenants", "d", "ipv4", "203.0.113.52")]).error();
        assert_eq!(code, 101);
        assert!(msg.contains("203.0.113.52 is in a draining range of pool \"tenants\""), "{msg}");
        assert_eq!(node.pairs().len(), 3);
    }

    #[test]
    fn a_full_pool_takes_what_has_rested_longest_but_nothing_that_is_held() {
        let node = worker("203.0.113.50-203.0.113.52", "quarantine: 1h");
        let given: Vec<_> =
            (0..3).map(|uid| index(&node.add(&format!("c{uid}"), &[pod("shop", uid)]))).collect();
        assert_eq!(given, [0, 1, 2]);
        assert_eq!(node.add("c3", &[pod("shop", 3)]).error().0, 100, "all of them are held");
        node.del("c1");
        std::thread::sleep(Duration::from_millis(1100));
        node.del("c0");
        assert_eq!(index(&node.add("c4", &[pod("shop", 4)])), 1, "the one that left first");
        assert_eq!(index(&node.add("c5", &[pod("shop", 5)])), 0);
        assert_eq!(node.add("c6", &[pod("shop", 6)]).error().0, 100);
    }

    #[test]
    fn a_pair_rests_before_another_gets_it_and_its_own_pod_may_come_back() {
        let node = worker("203.0.113.50-203.0.113.52", "quarantine: 1h");
        assert_eq!(index(&node.add("c0", &[pod("shop", 0)])), 0);
        node.del("c0");
        assert_eq!(index(&node.add("c1", &[pod("shop", 1)])), 1);
        node.del("c1");
        assert_eq!(index(&node.add("c2", &[pod("shop", 2)])), 2, "0 and 1 rest");
        assert_eq!(index(&node.add("c3", &[pod("shop", 1)])), 1, "it is the same pod");
    }

    #[test]
    fn an_explicit_pair_is_had_when_its_owner_gave_it_up() {
        let address = "203.0.113.50";
        let node = worker("203.0.113.50-203.0.113.52", "retain: 1s, quarantine: 1h");
        node.add("c1", &[explicit("tenants", "bank", "ipv4", address)]).leases();
        assert_eq!(node.add("c2", &[explicit("tenants", "shop", "ipv4", address)]).error().0, 101);
        node.del("c1");
        assert_eq!(node.add("c2", &[explicit("tenants", "shop", "ipv4", address)]).error().0, 101);
        std::thread::sleep(Duration::from_millis(2100));
        assert_eq!(index(&node.add("c2", &[explicit("tenants", "shop", "ipv4", address)])), 0);
    }

    #[test]
    fn gc_releases_what_ran_out_and_nothing_else() {
        let node = worker("203.0.113.50-203.0.113.59", "retain: 1s, quarantine: 0s");
        node.add("held", &[request("tenants", "held")]).leases();
        node.add("gone", &[request("tenants", "gone")]).leases();
        node.del("gone");
        std::thread::sleep(Duration::from_millis(2100));
        node.add("fresh", &[request("tenants", "fresh")]).leases();
        node.del("fresh");
        let mut config = node.config(None);
        config["cniVersion"] = "1.1.0".into();
        config["cni.dev/valid-attachments"] = json!([{ "containerID": "held", "ifname": "eth0" }]);
        let gc = crate::node::finish(crate::node::call("GC", "", &config));
        assert!(gc.is_silent_success(), "{gc:?}");
        let left: Vec<_> = node.pairs();
        assert_eq!(left, ["leases/001/pairs/00000000.json", "leases/001/pairs/00000002.json"]);
    }

    /// Of every pod another key, so that a pair is had only by taking it back.
    #[test]
    fn a_pool_of_three_serves_three_all_the_time() {
        let node = worker("203.0.113.50-203.0.113.52", "quarantine: 60s, quotaPerNamespace: 3");
        for uid in 0..3 {
            node.add(&format!("c{uid}"), &[pod("shop", uid)]).leases();
        }
        for uid in 3..33 {
            node.del(&format!("c{}", uid - 3));
            let pair = index(&node.add(&format!("c{uid}"), &[pod("shop", uid)]));
            assert_eq!(pair, u64::from(uid % 3), "the only one that nobody holds");
        }
    }
}

//! Each operation, what it answers and what it refuses.

mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use crate::node::{Node, call, explicit, finish, plugin, request, start};

    const RESOURCES: &str = "
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
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: worker-1 }
spec: { vtep: [\"172.18.0.11\"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: tenants }
spec:
  id: 1
  gateway: edge
  ipv4: [\"203.0.113.50-203.0.113.55\"]
  ipv6: [\"2001:db8:ff::100/121\"]
  exclude: [\"203.0.113.51\"]
  node: worker-1
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: small }
spec: { id: 2, gateway: edge, ipv4: [\"198.51.100.7\"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressPolicy
metadata: { name: partners, namespace: bank }
spec:
  selector: {}
  pool: tenants
  egressIP: { ipv4: 203.0.113.50 }
";

    fn worker() -> Node {
        Node::new("worker-1", RESOURCES)
    }

    #[test]
    fn add_answers_one_lease_for_each_request_in_order() {
        let node = worker();
        let answer = node.add("c1", &[request("small", "shop"), request("tenants", "shop")]);
        assert_eq!(
            answer.json(),
            json!({
                "cniVersion": "1.0.0",
                "ips": [{ "address": "198.51.100.7/32" }, { "address": "203.0.113.52/32" },
                        { "address": "2001:db8:ff::102/128" }],
                "egret.dev/leases": [
                    { "pool": "small", "index": 0, "ipv4": "198.51.100.7" },
                    { "pool": "tenants", "index": 2, "ipv4": "203.0.113.52",
                      "ipv6": "2001:db8:ff::102" }],
            })
        );
    }

    #[test]
    fn add_again_answers_the_same_and_writes_nothing() {
        let node = worker();
        let requests = [request("tenants", "shop")];
        let first = node.add("c1", &requests);
        let holders = node.state().join("holders");
        let written = || fs::metadata(&holders).unwrap().modified().unwrap();
        let before = written();
        assert_eq!(node.add("c1", &requests), first);
        assert_eq!(written(), before);
        assert_eq!(node.pairs().len(), 1);
    }

    #[test]
    fn a_namespace_keeps_its_pair_when_all_its_pods_are_gone() {
        let node = worker();
        let first = node.add("c1", &[request("tenants", "shop")]).leases();
        assert!(node.del("c1").is_silent_success());
        let other = node.add("c2", &[request("tenants", "other")]).leases();
        assert_ne!(first, other);
        assert_eq!(node.add("c3", &[request("tenants", "shop")]).leases(), first);
    }

    #[test]
    fn pods_of_a_namespace_share_its_pair() {
        let node = worker();
        let answers: Vec<_> = ["c1", "c2", "c3"]
            .iter()
            .map(|container| node.add(container, &[request("tenants", "shop")]).leases())
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }

    #[test]
    fn del_succeeds_whatever_is_gone_and_as_often_as_it_is_called() {
        let node = worker();
        assert!(node.del("never-added").is_silent_success());
        assert!(!node.state().exists(), "DEL makes nothing");
        node.add("c1", &[request("tenants", "shop")]);
        node.set_resources("nonsense");
        for requests in [None, Some(json!("nonsense")), Some(json!([{ "pool": 7 }]))] {
            assert!(node.call("DEL", "c1", requests.as_ref()).is_silent_success());
        }
        let mut config = node.config(None);
        config["ipam"]["pools"] = json!(["pods"]);
        config["ipam"]["nodeName"] = json!("not a name");
        let mut bare = plugin("DEL", "c1");
        bare.env_remove("CNI_NETNS");
        assert!(finish(start(bare, &config)).is_silent_success());
        assert!(!node.files().iter().any(|name| name.starts_with("holders/")));
    }

    #[test]
    fn del_of_one_container_leaves_another_alone() {
        let node = worker();
        node.add("old", &[request("tenants", "shop")]);
        node.add("new", &[request("tenants", "shop")]);
        node.del("old");
        assert!(node.check("new").is_silent_success());
        assert_eq!(node.check("old").error().0, 111);
    }

    #[test]
    fn check_wants_the_lease_and_its_owner() {
        let node = worker();
        assert_eq!(node.check("c1").error().0, 111);
        node.add("c1", &[request("tenants", "shop")]);
        for _ in 0..20 {
            assert!(node.check("c1").is_silent_success());
        }
        let asked =
            |namespace| node.call("CHECK", "c1", Some(&json!([request("tenants", namespace)])));
        assert!(asked("shop").is_silent_success());
        assert_eq!(asked("other").error().0, 111);
        let pair = node.state().join(&node.pairs()[0]);
        fs::remove_file(&pair).unwrap();
        let (code, msg) = node.check("c1").error();
        assert_eq!(code, 111);
        assert!(msg.contains("c1/eth0") && msg.contains("its lease is missing"), "{msg}");
        node.add("c2", &[request("tenants", "other")]);
        let record = fs::read(node.state().join(&node.pairs()[0])).unwrap();
        assert!(String::from_utf8(record).unwrap().contains("other"));
    }

    #[test]
    fn a_failed_request_takes_back_what_the_call_made_and_nothing_else() {
        let node = worker();
        node.add("c1", &[request("small", "bank")]);
        node.add("c2", &[request("tenants", "shop")]);
        let before = node.pairs();
        let answer = node.add("c3", &[request("tenants", "new"), request("small", "new")]);
        let (code, msg) = answer.error();
        assert_eq!(code, 100);
        assert_eq!(
            msg,
            "pool \"small\" is exhausted: of 1 usable pairs 0 are excluded, \
             0 are named by policies, 0 are draining and 1 are leased"
        );
        let answer = node.add("c4", &[request("tenants", "shop"), request("small", "shop")]);
        assert_eq!(answer.error().0, 100);
        assert_eq!(node.pairs(), before);
        assert_eq!(node.check("c3").error().0, 111);
        assert!(node.check("c2").is_silent_success());
    }

    /// The allocating worker goes first and takes all it can; the pair that a policy names is left.
    #[test]
    fn a_pair_that_a_policy_names_is_never_chosen() {
        let node = worker();
        let mut chosen = Vec::new();
        for n in 0.. {
            let answer = node.add(&format!("c{n}"), &[request("tenants", &format!("ns-{n}"))]);
            if answer.status == 1 {
                let (code, msg) = answer.error();
                assert_eq!(code, 100);
                assert!(msg.contains("of 6 usable pairs 1 are excluded, 1 are named"), "{msg}");
                break;
            }
            chosen.extend(answer.leases().into_iter().map(|(index, _)| index));
        }
        assert_eq!(chosen, [2, 3, 4, 5], "0 is named by a policy, 1 is excluded");
        let other = Node::new("worker-2", RESOURCES);
        for worker in [&node, &other] {
            let named = worker.add("p", &[explicit("tenants", "bank", "ipv4", "203.0.113.50")]);
            assert_eq!(named.leases(), [(0, "203.0.113.50 2001:db8:ff::100".to_owned())]);
        }
    }

    #[test]
    fn only_the_pools_node_chooses() {
        let other = Node::new("worker-2", RESOURCES);
        let (code, msg) = other.add("c1", &[request("tenants", "shop")]).error();
        assert_eq!(code, 101);
        assert!(msg.contains("\"tenants\"") && msg.contains("\"worker-1\""), "{msg}");
        assert_eq!(other.add("c1", &[request("small", "shop")]).leases().len(), 1);
    }

    #[test]
    fn an_explicit_pair_must_be_one_and_free() {
        let node = worker();
        let mut two = explicit("tenants", "bank", "ipv4", "203.0.113.52");
        two["ipv6"] = "2001:db8:ff::103".into();
        for (asked, text) in [
            (two, "two different pairs"),
            (explicit("tenants", "bank", "ipv4", "203.0.113.51"), "excluded"),
            (explicit("tenants", "bank", "ipv4", "192.0.2.1"), "not an address of pool"),
            (explicit("tenants", "bank", "ipv6", "2001:db8:ff::106"), "no partner"),
        ] {
            let (code, msg) = node.add("c1", &[asked]).error();
            assert_eq!(code, 101);
            assert!(msg.contains(text), "{msg}");
        }
        node.add("c1", &[explicit("tenants", "bank", "ipv4", "203.0.113.50")]);
        node.del("c1");
        let (code, msg) =
            node.add("c2", &[explicit("tenants", "shop", "ipv4", "203.0.113.50")]).error();
        assert_eq!(code, 101);
        assert!(msg.contains("it is the lease of namespace \"bank\" on pair 0"), "{msg}");
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        let node = worker();
        let with = |key: &str, value: Value| {
            let mut request = request("tenants", "shop");
            request[key] = value;
            node.add("c1", &[request]).error()
        };
        for (key, value, code, text) in [
            ("scope", json!("Node"), 7, "unknown variant `Node`"),
            ("ordinal", json!(1), 103, "ordinal 1"),
            ("key", json!("other"), 7, "key \"other\""),
            ("pool", json!("nobody"), 7, "pool \"nobody\""),
            ("quota", json!(2), 7, "`quota`"),
            ("ipv4", json!("2001:db8::1"), 7, "ipv4 is 2001:db8::1"),
            ("namespace", json!("No Name"), 7, "ipam.requests[0]"),
        ] {
            let (found, msg) = with(key, value);
            assert_eq!(found, code, "{msg}");
            assert!(msg.contains(text), "{msg}");
        }
        for (key, value) in [("scope", json!("Pod")), ("routes", json!([])), ("dns", json!({}))] {
            let mut config = node.config(Some(&json!([request("tenants", "shop")])));
            config["ipam"][key] = value.clone();
            let (code, msg) = finish(call("ADD", "c1", &config)).error();
            assert_eq!(code, 2);
            assert!(msg.contains(&format!("\"ipam.{key}\" is {value}")), "{msg}");
        }
        for requests in [None, Some(json!([]))] {
            let (code, msg) = node.call("ADD", "c1", requests.as_ref()).error();
            assert_eq!(code, 7);
            assert!(msg.contains("ipam.requests"), "{msg}");
        }
        assert!(!node.state().exists());
    }

    #[test]
    fn resources_that_are_wrong_are_told_with_file_and_line() {
        let node = worker();
        node.set_resources(&RESOURCES.replace("203.0.113.51\"]", "203.0.113.51\"]\n  quota: 2"));
        let (code, msg) = node.add("c1", &[request("tenants", "shop")]).error();
        assert_eq!(code, 7);
        assert!(msg.contains("all.yaml:") && msg.contains("quota"), "{msg}");
        node.set_resources(&RESOURCES.replace("selector: {}", "selector: {}\n  priority: 7"));
        assert_eq!(node.add("c1", &[request("tenants", "shop")]).error().0, 103);
    }

    #[test]
    fn changed_ranges_never_move_a_namespace() {
        let node = worker();
        node.add("c1", &[request("tenants", "shop")]);
        node.set_resources(&RESOURCES.replace("203.0.113.50-", "203.0.113.49-"));
        for namespace in ["shop", "new"] {
            let (code, msg) = node.add("c2", &[request("tenants", namespace)]).error();
            assert_eq!(code, 101);
            assert!(
                msg.starts_with("the lease of namespace \"shop\" on pair 2 of pool \"tenants\""),
                "{msg}"
            );
        }
        assert!(node.check("c1").is_silent_success());
    }

    #[test]
    fn a_state_directory_that_others_can_write_to_is_refused() {
        let node = worker();
        fs::create_dir(node.state()).unwrap();
        fs::set_permissions(node.state(), fs::Permissions::from_mode(0o777)).unwrap();
        let (code, msg) = node.add("c1", &[request("small", "shop")]).error();
        assert_eq!(code, 5);
        assert!(msg.contains("can be written to by others"), "{msg}");
    }

    #[test]
    fn records_are_for_the_owner_of_the_node_alone() {
        let node = worker();
        node.add("c1", &[request("small", "shop")]);
        for name in node.files() {
            let path = node.state().join(name);
            let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&path) & 0o777, 0o600, "{}", path.display());
            assert_eq!(mode(path.parent().unwrap()) & 0o777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn the_result_has_the_layout_of_its_version() {
        for (version, has_version) in
            [("0.3.1", true), ("0.4.0", true), ("1.0.0", false), ("1.1.0", false)]
        {
            let node = worker();
            let mut config = node.config(Some(&json!([request("small", "shop")])));
            config["cniVersion"] = version.into();
            let json = finish(call("ADD", "c1", &config)).json();
            assert_eq!(json["cniVersion"], version);
            assert_eq!(json["ips"][0].get("version").is_some(), has_version, "{json}");
        }
    }
}

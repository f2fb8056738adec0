//! Many processes at once, processes that are killed, disks that refuse.

mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::process::Command;
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::node::{Answer, Node, PLUGIN, call, finish, request, start, variables, write};

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
kind: EgressPool
metadata: { name: tenants }
spec: { id: 1, gateway: edge, ipv4: [\"203.0.113.0/25\"], ipv6: [\"2001:db8:ff::100/121\"] }
";

    fn worker() -> Node {
        Node::new("worker-1", RESOURCES)
    }

    fn requests(namespace: &str) -> Value {
        json!([request("tenants", namespace)])
    }

    /// 16 at a time, two pods for each of 64 namespaces.
    #[test]
    fn processes_at_once_never_share_a_pair() {
        let node = worker();
        let mut given: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let pods: Vec<_> = (0..128).map(|n| (format!("c{n}"), format!("ns-{}", n % 64))).collect();
        for batch in pods.chunks(16) {
            let running: Vec<_> = batch
                .iter()
                .map(|(container, namespace)| {
                    call("ADD", container, &node.config(Some(&requests(namespace))))
                })
                .collect();
            for (child, (_, namespace)) in running.into_iter().zip(batch) {
                let leases = finish(child).leases();
                given.entry(namespace.clone()).or_default().insert(leases[0].0);
            }
        }
        let pairs: BTreeSet<_> = given.values().flatten().collect();
        assert_eq!((given.len(), pairs.len()), (64, 64), "{given:?}");
        assert!(given.values().all(|pairs| pairs.len() == 1), "{given:?}");
        assert_eq!(node.pairs().len(), 64);
    }

    /// All 16 for the same few namespaces, so that they meet in every swap.
    #[test]
    fn processes_at_once_for_one_namespace_get_its_one_pair() {
        for round in 0..8 {
            let node = worker();
            let running: Vec<_> = (0..16)
                .map(|n| {
                    let namespace = format!("ns-{}", n % 2);
                    let config = node.config(Some(&requests(&namespace)));
                    call("ADD", &format!("c{n}"), &config)
                })
                .collect();
            let leases: Vec<_> = running.into_iter().map(|child| finish(child).leases()).collect();
            let pairs: BTreeSet<_> = leases.iter().flatten().collect();
            assert_eq!(pairs.len(), 2, "round {round}: {leases:?}");
            assert_eq!(node.pairs().len(), 2, "the losers took their leases back");
        }
    }

    /// Each call is killed a little later than the one before, from before it does anything to
    /// after its end.
    #[test]
    fn a_killed_add_loses_nothing() {
        let node = worker();
        let namespaces: Vec<_> = (0..100).map(|n| format!("ns-{n}")).collect();
        let mut killed = 0;
        for (n, namespace) in namespaces.iter().enumerate() {
            let config = node.config(Some(&requests(namespace)));
            let mut child = call("ADD", &format!("c{n}"), &config);
            std::thread::sleep(Duration::from_micros(40) * u32::try_from(n).unwrap());
            child.kill().unwrap();
            killed += u32::from(!child.wait().unwrap().success());
        }
        assert!(killed > 10, "only {killed} were killed before their end");
        for name in node.pairs() {
            let record: Value =
                serde_json::from_slice(&fs::read(node.state().join(name)).unwrap()).unwrap();
            assert_eq!(record["record"]["pool"], "tenants");
        }
        let mut given = BTreeSet::new();
        for (n, namespace) in namespaces.iter().enumerate() {
            let answer = node.add(&format!("c{n}"), &[request("tenants", namespace)]);
            assert!(given.insert(answer.leases()[0].0), "{namespace} shares a pair: {given:?}");
            assert!(node.check(&format!("c{n}")).is_silent_success());
        }
        assert_eq!(node.pairs().len(), 100, "every killed call was completed, none left a lease");
        for name in node.pairs() {
            let record = fs::read_to_string(node.state().join(name)).unwrap();
            assert!(record.contains("\"state\":\"bound\""), "{record}");
        }
        for n in 0..namespaces.len() {
            assert!(node.del(&format!("c{n}")).is_silent_success());
        }
        assert!(
            !node
                .files()
                .iter()
                .any(|name| name.starts_with("holders/") && !name.contains(".tmp-"))
        );
    }

    /// The plugin in a mount namespace of its own whose state directory is a file system of this
    /// kind; then, when it has become a good one, again.
    fn on_disk(options: &str) -> (Answer, Answer) {
        let node = worker();
        fs::create_dir(node.state()).unwrap();
        let config = node.config(Some(&requests("shop")));
        let script = node.state().with_file_name("config.json");
        write(&script, &config.to_string());
        let (state, config) = (node.state().display().to_string(), script.display().to_string());
        let text = format!(
            "mount -t tmpfs -o mode=700,size=1m none {state} && mount -o remount,{options} {state} \
             && {{ {PLUGIN} < {config}; mount -o remount,rw,size=1m {state}; {PLUGIN} < {config}; }}"
        );
        let answer = finish(start(in_mount_namespace(&text), &Value::Null));
        let (first, second) = answer.stdout.trim_end().split_once('\n').unwrap_or_else(|| {
            panic!(
                "this test needs to mount a tmpfs in a mount namespace (run as root): {answer:?}"
            )
        });
        let line = |status, text: &str| Answer { status, stdout: text.to_owned() };
        (line(1, first), line(answer.status, second))
    }

    #[expect(clippy::disallowed_methods, reason = "the test needs a mount namespace")]
    fn in_mount_namespace(script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        variables(&mut command, "ADD", "c1");
        command
    }

    #[test]
    fn a_full_disk_is_told_and_leaves_nothing_half_done() {
        // One page holds one record: the claim, or what comes after it, finds no room.
        for size in ["4k", "8k", "12k"] {
            let (refused, then) = on_disk(&format!("size={size}"));
            let (code, msg) = refused.error();
            assert_eq!(code, 5, "{msg}");
            assert!(msg.contains("No space left on device") && msg.contains("/state/"), "{msg}");
            assert_eq!(then.leases(), [(0, "203.0.113.0 2001:db8:ff::100".to_owned())]);
        }
    }

    #[test]
    fn a_read_only_disk_is_told() {
        let (refused, then) = on_disk("ro");
        let (code, msg) = refused.error();
        assert_eq!(code, 5, "{msg}");
        assert!(msg.contains("Read-only file system"), "{msg}");
        assert_eq!(then.leases().len(), 1);
    }
}

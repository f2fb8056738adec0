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

    /// What one of the processes of the storm believes of its pod.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Belief {
        Gone,
        Has(u64),
        /// The call was killed.
        Unknown,
    }

    /// Pods of this process come and go, each call perhaps killed; what a killed call left, the next
    /// one has to cope with. How many were killed.
    fn storm(node: &Node, process: u64, deaths: u32) -> (Belief, u32) {
        let mut random = process.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 33) % limit
        };
        let (mut belief, mut killed) = (Belief::Gone, 0);
        while killed < deaths {
            let (container, add) = (format!("c{process}"), below(2) == 0);
            let command = if add { "ADD" } else { "DEL" };
            let mut child = call(command, &container, &node.config(Some(&storm_request(process))));
            if below(8) < 7 {
                std::thread::sleep(Duration::from_micros(below(6000)));
                child.kill().unwrap();
            }
            let answer = finish(child);
            belief = match (answer.status, add) {
                (0, true) => {
                    let pair = answer.leases()[0].0;
                    assert!(belief == Belief::Has(pair) || !matches!(belief, Belief::Has(_)));
                    Belief::Has(pair)
                }
                (0, false) => Belief::Gone,
                // Of what has its pair a killed ADD takes nothing.
                (-1, true) if matches!(belief, Belief::Has(_)) => belief,
                (-1, _) => Belief::Unknown,
                _ => panic!("{command}: {answer:?}"),
            };
            killed += u32::from(answer.status == -1);
        }
        (belief, killed)
    }

    fn is_record(path: &str) -> bool {
        std::path::Path::new(path).extension().is_some_and(|extension| extension == "json")
    }

    fn storm_request(process: u64) -> Value {
        let namespace = format!("ns-{}", process % 4);
        let mut request = request("tenants", &namespace);
        request["scope"] = "Pod".into();
        request["key"] = format!("{namespace}/web/{process}").into();
        json!([request])
    }

    /// 16 processes at a time, 2000 calls that are killed: no pair has two pods, no pod
    /// loses its pair, and afterwards the pool is whole.
    #[test]
    fn two_thousand_killed_calls_lose_nothing() {
        let rules = "quotaPerNamespace: 8, quarantine: 0s }";
        let node = Node::in_memory(
            "worker-1",
            &RESOURCES.replace("/121\"] }", &format!("/121\"], {rules}")),
        );
        let beliefs: Vec<_> = std::thread::scope(|scope| {
            let node = &node;
            let run = |process| scope.spawn(move || storm(node, process, 125));
            let running: Vec<_> = (0..16).map(run).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let killed: u32 = beliefs.iter().map(|(_, killed)| killed).sum();
        assert_eq!(killed, 2000);
        let mut given = BTreeSet::new();
        for (process, (belief, _)) in beliefs.iter().enumerate() {
            let container = format!("c{process}");
            let request = storm_request(u64::try_from(process).unwrap());
            let started = std::time::Instant::now();
            if let Belief::Has(_) = belief {
                let check = node.call("CHECK", &container, Some(&request));
                assert!(check.is_silent_success(), "{container} has {belief:?}: {check:?}");
            }
            let pair = node.call("ADD", &container, Some(&request)).leases()[0].0;
            assert!(!matches!(belief, Belief::Has(had) if *had != pair), "{belief:?}, now {pair}");
            assert!(given.insert(pair), "pair {pair} has two pods");
            assert!(started.elapsed() < Duration::from_secs(4), "a lock is stuck");
        }
        for name in node.files().iter().filter(|name| is_record(name)) {
            let record = fs::read(node.state().join(name)).unwrap();
            let whole: Result<Value, _> = serde_json::from_slice(&record);
            assert!(whole.is_ok(), "{name}: {record:?}");
        }
        for process in 0..16 {
            assert!(node.del(&format!("c{process}")).is_silent_success());
        }
        let mut config = node.config(None);
        config["cniVersion"] = "1.1.0".into();
        config["cni.dev/valid-attachments"] = json!([]);
        assert!(finish(call("GC", "", &config)).is_silent_success());
        // What a killed call has begun and nobody finished may be there; nothing is bound.
        for name in node.pairs() {
            let record = fs::read_to_string(node.state().join(&name)).unwrap();
            assert!(!record.contains("\"state\":\"bound\""), "{name}: {record}");
        }
    }

    /// The system calls of an ADD that make records, in order.
    fn traced(node: &Node) -> Vec<String> {
        let trace = node.state().with_file_name("trace");
        #[expect(clippy::disallowed_methods, reason = "the test looks at system calls")]
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-s", "300", "-e"]);
        strace.arg("trace=fsync,fdatasync,link,linkat,rename,renameat,renameat2");
        strace.arg("-o").arg(&trace).arg(PLUGIN);
        variables(&mut strace, "ADD", "c1");
        let answer = finish(start(strace, &node.config(Some(&storm_request(1)))));
        assert_eq!(answer.status, 0, "{answer:?}");
        fs::read_to_string(&trace).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// What a power failure must not tear is on the disk before it gets its name; and the names of
    /// lease, claim and slot are on the disk before ADD goes on.
    #[test]
    fn a_record_is_on_the_disk_before_it_has_its_name() {
        let rules = "quotaPerNamespace: 8 }";
        let node =
            Node::new("worker-1", &RESOURCES.replace("/121\"] }", &format!("/121\"], {rules}")));
        let calls = traced(&node);
        let mut named = 0;
        for (at, call) in calls.iter().enumerate() {
            let mut paths = call.split('"').skip(1).step_by(2);
            let (Some(from), Some(to)) = (paths.next(), paths.next()) else { continue };
            if !is_record(to) {
                continue;
            }
            named += 1;
            let synced =
                |call: &String| call.contains("sync(") && call.contains(&format!("<{from}>"));
            assert!(calls[..at].iter().any(synced), "{to} was not synced before: {calls:#?}");
            let parent = format!("<{}>", std::path::Path::new(to).parent().unwrap().display());
            let durable =
                calls[at + 1..].iter().any(|c| c.contains("fsync(") && c.contains(&parent));
            assert!(durable || call.contains("rename"), "{to} may vanish: {calls:#?}");
        }
        assert_eq!(named, 5, "lease, slot, claim, lease again, holder: {calls:#?}");
    }
}

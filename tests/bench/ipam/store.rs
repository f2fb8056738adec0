//! Directories of a node in which only `egret-ipam` runs, and calls of it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use egret_ipam::{Applicant, Arrival, Ipam, Owner, Pair, Pool, Purpose, Scope, Stamps, Want};
use egret_store::{HolderDir, LeaseDir, clock, resource_dir};
use egret_tests::product;
use egret_types::Attachment;
use serde_json::{Value, json};

use crate::execution::{Execution, Took, milliseconds};

/// From which network the pods of a store get their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// None: egress pairs.
    Small,
    /// 2^16 addresses.
    Large,
    /// 2^64.
    Huge,
    /// 2^4.
    Tiny,
}

impl Network {
    fn resources(self) -> &'static str {
        match self {
            Network::Small => EGRESS,
            Network::Large => "spec: { id: 1, quarantine: 0s, ipv4: [\"10.9.0.0/16\"] }\n",
            Network::Huge => "spec: { id: 1, quarantine: 0s, ipv6: [\"fd00:9::/64\"] }\n",
            Network::Tiny => "spec: { id: 1, quarantine: 0s, ipv4: [\"10.9.0.0/28\"] }\n",
        }
    }
}

const PODS: &str = "apiVersion: egret.dev/v1alpha1\nkind: EgressPool\nmetadata: { name: pods }\n";
const EGRESS: &str = "spec: { id: 1, gateway: edge, ipv4: [\"203.0.0.0/20\"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressGateway
metadata: { name: edge }
spec: { members: [gw-1], uplink: { interface: ext0 } }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: gw-1 }
spec: { vtep: [\"172.18.0.21\"] }
";

/// A node's directories.
#[derive(Debug)]
pub(crate) struct Store {
    resources: PathBuf,
    state: PathBuf,
}

impl Store {
    /// With so many pods that have an address; they are made in `memory`, where it is quick, and
    /// moved.
    pub(crate) fn new(directory: &Path, network: Network, (pods, memory): (u32, &Path)) -> Self {
        let store =
            Self { resources: directory.join("resources.d"), state: directory.join("state") };
        fs::create_dir_all(&store.resources)
            .unwrap_or_else(|e| panic!("{}: {e}", store.resources.display()));
        let text = format!("{PODS}{}", network.resources());
        write(&store.resources.join("all.yaml"), &text);
        let made = memory.join(format!("ipam-state-{}", std::process::id()));
        store.fill(&made, pods);
        if made.exists() {
            copy(&made, &store.state);
            fs::remove_dir_all(&made).unwrap_or_else(|e| panic!("{}: {e}", made.display()));
        }
        store
    }

    /// Standing pods, as the plugin makes them but in one process.
    fn fill(&self, state: &Path, pods: u32) {
        let (leases, holders) = (LeaseDir::new(state), HolderDir::new(state, Purpose::Address));
        let resources = resource_dir::load(&self.resources).unwrap_or_else(|e| panic!("{e}"));
        let pool = Pool::new(&resources.pools[0], []);
        let stamps = Stamps::new(clock::read().unwrap_or_else(|e| panic!("{e}")), 1);
        let node = "w1".parse().expect("a name");
        for n in 0..pods {
            let container = format!("standing-{n}");
            let attachment = Attachment {
                network: "podnet".parse().expect("a name"),
                container_id: container.parse().expect("an id"),
                ifname: "eth0".parse().expect("a name"),
            };
            let owner = Owner { scope: Scope::Pod, key: format!("{container}/eth0") };
            let applicant = Applicant { owner, namespace: None, labels: None };
            let want = Want { pool: &pool, applicant, explicit: Pair::default() };
            let arrival = Arrival { attachment: &attachment, netns: None, node: &node };
            let ipam = Ipam::new((&leases, &holders), &stamps);
            ipam.add(&arrival, &[want]).unwrap_or_else(|e| panic!("{e}"));
        }
    }

    /// ADD of a pod that gets an egress pair of its namespace.
    pub(crate) fn add_pair(&self, container: &str, namespace: &str) -> Took {
        let requests = json!([{ "pool": "pods", "scope": "Namespace", "key": namespace,
                                "namespace": namespace, "ordinal": 0 }]);
        self.call("ADD", container, &[("requests", requests)]).run()
    }

    /// DEL of such a pod.
    pub(crate) fn del_pair(&self, container: &str) -> Took {
        self.call("DEL", container, &[("requests", json!([]))]).run()
    }

    /// ADD and DEL of a pod's address, in milliseconds.
    pub(crate) fn round(&self, container: &str) -> [f64; 2] {
        let call = |command| self.call(command, container, &[("pools", json!(["pods"]))]).run();
        ["ADD", "DEL"].map(|command| milliseconds(call(command).wall))
    }

    /// The plugin, to be executed.
    pub(crate) fn call(&self, command: &str, container: &str, keys: &[(&str, Value)]) -> Execution {
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "podnet", "type": "bridge",
            "ipam": { "type": "egret-ipam", "resourcesDir": self.resources,
                      "stateDir": self.state, "nodeName": "w1" },
        });
        for (key, value) in keys {
            config["ipam"][key] = value.clone();
        }
        Execution::new(product("egret-ipam"), environment(command, container), config.to_string())
    }
}

/// A directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    let failed = |error: std::io::Error| -> ! { panic!("copy {}: {error}", from.display()) };
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::create_dir_all(to).unwrap_or_else(|e| failed(e));
    fs::set_permissions(to, private).unwrap_or_else(|e| failed(e));
    for entry in fs::read_dir(from).unwrap_or_else(|e| failed(e)) {
        let entry = entry.unwrap_or_else(|e| failed(e));
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap_or_else(|e| failed(e));
        }
    }
}

/// What a runtime sets.
pub(crate) fn environment(command: &str, container: &str) -> Vec<(&'static str, String)> {
    vec![
        ("CNI_COMMAND", command.to_owned()),
        ("CNI_CONTAINERID", container.to_owned()),
        ("CNI_NETNS", "/run/netns/of-a-pod".to_owned()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", "/nowhere".to_owned()),
    ]
}

#[expect(clippy::disallowed_methods, reason = "what is measured starts from these files")]
pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The unit: as long as a lease's record, to a temporary file, synced, linked to its name, and the
/// directory synced.
pub(crate) fn durable_write(directory: &Path, name: usize) {
    let (temporary, path) = (directory.join(".temporary"), directory.join(format!("unit-{name}")));
    flushed(&temporary);
    fs::hard_link(&temporary, &path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    synced(directory);
    fs::remove_file(&temporary).unwrap_or_else(|e| panic!("{}: {e}", temporary.display()));
}

/// A file with some content, of which a power failure leaves all.
pub(crate) fn flushed(path: &Path) {
    let open = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = open.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let written = file.write_all(&[b'x'; 400]).and_then(|()| file.sync_data());
    written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The names in a directory survive a power failure.
pub(crate) fn synced(directory: &Path) {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
}

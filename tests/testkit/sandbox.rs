//! A pod without a runtime and without main plugins: a namespace, a veth to its node, addresses, and
//! the result that a plugin before ours would have given. It costs a tenth of a [`crate::Pod`].

use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use egret_types::Family;
use serde_json::{Value, json};

use crate::{Lab, Node, Ns, PluginRun, Program, pod_network, wiring};

/// A namespace that attachments come and go in.
pub struct Sandbox<'lab> {
    lab: &'lab Lab,
    node: &'lab Node,
    number: u8,
    namespace: Ns,
    /// The inode of the namespace that was destroyed last.
    gone: AtomicU64,
}

impl<'lab> Sandbox<'lab> {
    /// Number `number` (from 2) of a node, with addresses that end in it.
    pub fn new(lab: &'lab Lab, node: &'lab Node, number: u8) -> Self {
        let namespace = lab.namespace(&format!("s{number}"));
        let sandbox = Self { lab, node, number, namespace, gone: AtomicU64::new(0) };
        sandbox.plug();
        sandbox
    }

    /// Its namespace.
    pub fn ns(&self) -> &Ns {
        &self.namespace
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let host = |family: &Family| -> IpAddr {
            let network = pod_network(*family, self.node.host()).to_string();
            let base = network.split('/').next().unwrap_or_default();
            let text = match family {
                Family::V4 => format!("{}.{}", base.trim_end_matches(".0"), self.number),
                Family::V6 => format!("{base}{:x}", self.number),
            };
            text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        self.lab.families().list().iter().map(host)
    }

    /// Its addresses and the node's link to it, as rules name them.
    pub fn names(&self) -> Vec<String> {
        self.addresses().map(|address| address.to_string()).chain([self.node_link()]).collect()
    }

    fn node_link(&self) -> String {
        format!("veth-s{}", self.number)
    }

    /// As `ptp` does it: the node has a route to each address, the pod a default route to the link.
    fn plug(&self) {
        let (link, name) = (self.node_link(), self.namespace.name());
        let mut here = format!("link add {link} type veth peer name eth0 netns {name}\n");
        // An address made of a random MAC would be another one each time.
        writeln!(here, "link set {link} addrgenmode none up").ok();
        let mut there = "link set eth0 addrgenmode none up\n".to_owned();
        for address in self.addresses() {
            writeln!(here, "route replace {address} dev {link}").ok();
            let option = if address.is_ipv6() { " nodad" } else { "" };
            writeln!(there, "addr add {address} dev eth0{option}").ok();
        }
        self.node.ns().ip(&here);
        self.namespace.ip(&there);
    }

    /// Takes the namespace away, and with it the veth.
    pub fn destroy(&self) {
        self.gone.store(self.inode(), Ordering::Relaxed);
        Program::new("ip").args(["netns", "del", self.namespace.name()]).run().success();
        // The kernel takes the rest away later, and the next one has the same names and addresses.
        self.node.ns().program("ip").args(["link", "del", &self.node_link()]).run();
    }

    fn inode(&self) -> u64 {
        let path = self.namespace.path();
        path.metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display())).ino()
    }

    /// A new one at the same path, with the same addresses, and another inode: the kernel gives the
    /// number of a dead namespace out again, but no runtime uses a path twice, and with both the dead
    /// pod would seem to live.
    pub fn renew(&self) {
        let path = self.namespace.path().display().to_string();
        let make = |name: &str| Program::new("ip").args(["netns", "add", name]).run().success();
        make(self.namespace.name());
        if self.inode() == self.gone.load(Ordering::Relaxed) {
            let other = format!("{}-other", self.namespace.name());
            make(&other);
            let script = format!(
                "ip netns del {name}; touch {path}; mount --bind {path}-other {path}; ip netns del {other}",
                name = self.namespace.name()
            );
            Program::new("sh").args(["-ec", &script]).run().success();
        }
        wiring::prepare(&self.namespace, self.lab.families());
        self.plug();
    }

    /// What the plugins before ours would have answered.
    pub fn previous(&self) -> Value {
        let ips: Vec<Value> = self
            .addresses()
            .map(|address| {
                let length = if address.is_ipv4() { 32 } else { 128 };
                json!({ "address": format!("{address}/{length}"), "interface": 1 })
            })
            .collect();
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": self.node_link() },
                { "name": "eth0", "sandbox": self.namespace.path() }
            ],
            "ips": ips
        })
    }

    /// Our plugin for an attachment in it: of a pod in this Kubernetes namespace.
    pub fn run(
        &self,
        operation: &str,
        (id, tenant): (&str, &str),
        previous: Option<&Value>,
    ) -> PluginRun {
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={tenant};K8S_POD_NAME={id}");
        PluginRun::on(self.node, operation, previous)
            .variable("CNI_CONTAINERID", id)
            .variable("CNI_NETNS", &self.namespace.path().display().to_string())
            .variable("CNI_IFNAME", "eth0")
            .variable("CNI_ARGS", &args)
    }
}

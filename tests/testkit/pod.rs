//! A pod: a network namespace that cnitool, in the runtime's place, adds to the network of a node.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use egret_types::Family;
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::{Finished, Lab, Node, Ns, Program, location, wiring};

/// What a pod shall be.
#[derive(Clone)]
pub struct PodSpec<'lab> {
    lab: &'lab Lab,
    node: &'lab Node,
    namespace: String,
    name: String,
    link: String,
    args: Vec<(String, String)>,
    sysctls: Vec<(String, String)>,
    capabilities: Option<String>,
}

impl<'lab> PodSpec<'lab> {
    pub(crate) fn new(lab: &'lab Lab, node: &'lab Node, namespace: &str, name: &str) -> Self {
        let args = [
            ("K8S_POD_NAMESPACE", namespace.to_owned()),
            ("K8S_POD_NAME", name.to_owned()),
            ("K8S_POD_UID", format!("uid-{namespace}-{name}")),
        ];
        Self {
            lab,
            node,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            link: "eth0".to_owned(),
            args: args.map(|(key, value)| (key.to_owned(), value)).into(),
            sysctls: Vec::new(),
            capabilities: None,
        }
    }

    /// The name of its interface; `eth0` if not given.
    #[must_use]
    pub fn link(mut self, link: &str) -> Self {
        link.clone_into(&mut self.link);
        self
    }

    /// A key of `CNI_ARGS`, one more or in place of what it was.
    #[must_use]
    pub fn arg(mut self, key: &str, value: &str) -> Self {
        self.args.retain(|(given, _)| given != key);
        self.args.push((key.to_owned(), value.to_owned()));
        self
    }

    /// An attachment without any `K8S_` argument, as a runtime without Kubernetes makes it.
    #[must_use]
    pub fn without_arguments(mut self) -> Self {
        self.args.clear();
        self
    }

    /// What the runtime has to say to plugins with a capability, the same for every operation.
    #[must_use]
    pub fn capabilities(mut self, given: &Value) -> Self {
        self.capabilities = Some(given.to_string());
        self
    }

    /// A sysctl of its namespace, set before ADD.
    #[must_use]
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        self.sysctls.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the namespace, as a runtime does before ADD: a new one, and so a new container id,
    /// each time, also for a pod of the same name.
    pub fn prepare(self) -> Pod<'lab> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = self.lab.namespace(&format!("p{number}-{}-{}", self.namespace, self.name));
        for (name, value) in &self.sysctls {
            namespace.set_sysctl(name, value);
        }
        Pod { spec: self, namespace, result: Value::Null }
    }

    /// Makes the namespace and calls ADD. The namespace stays when ADD fails, with the laboratory.
    pub fn add(self) -> Result<Pod<'lab>, CniFailure> {
        let mut pod = self.prepare();
        pod.add()?;
        Ok(pod)
    }
}

/// A pod. Dropping the value does nothing: a pod ends by [`Pod::del`] or with its laboratory.
pub struct Pod<'lab> {
    spec: PodSpec<'lab>,
    namespace: Ns,
    result: Value,
}

impl std::ops::Deref for Pod<'_> {
    type Target = Ns;
    fn deref(&self) -> &Ns {
        &self.namespace
    }
}

impl Pod<'_> {
    /// Its network namespace.
    pub fn ns(&self) -> &Ns {
        &self.namespace
    }

    /// Its node.
    pub fn node(&self) -> &Node {
        self.spec.node
    }

    /// The name of its interface.
    pub fn link(&self) -> &str {
        &self.spec.link
    }

    /// What the last ADD answered.
    pub fn result(&self) -> &Value {
        &self.result
    }

    /// Its own address, from the result of ADD.
    #[track_caller]
    pub fn address(&self, family: Family) -> IpAddr {
        let addresses = self.result["ips"].as_array().into_iter().flatten();
        let mut parsed = addresses
            .filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse::<IpAddr>().ok());
        let found = parsed.find(|address| Family::of(*address) == family);
        found.unwrap_or_else(|| panic!("no {family} address in {}", self.result))
    }

    /// ADD, again if need be.
    pub fn add(&mut self) -> Result<&Value, CniFailure> {
        let finished = outcome(self.cnitool("add").run())?;
        self.result = finished.json();
        Ok(&self.result)
    }

    /// ADD of the plugins that stand before ours, and nothing more: ours can then be executed by
    /// [`crate::PluginRun::for_pod`] with this result as the previous one.
    pub fn add_before_ours(&mut self) -> Result<&Value, CniFailure> {
        let directory = self.spec.node.write_main_list();
        let finished = outcome(self.cnitool("add").env("NETCONFPATH", directory).run())?;
        self.result = finished.json();
        Ok(&self.result)
    }

    /// DEL.
    pub fn del(&self) -> Result<(), CniFailure> {
        outcome(self.cnitool("del").run()).map(drop)
    }

    /// CHECK.
    pub fn check(&self) -> Result<(), CniFailure> {
        outcome(self.cnitool("check").run()).map(drop)
    }

    /// Takes the namespace away, as when the sandbox has died before DEL.
    pub fn destroy_namespace(&self) {
        Program::new("ip").args(["netns", "del", self.namespace.name()]).run().success();
    }

    /// Gives it a new and empty namespace at the same path, so that it has the same container id.
    pub fn renew_namespace(&self) {
        self.destroy_namespace();
        Program::new("ip").args(["netns", "add", self.namespace.name()]).run().success();
        wiring::prepare(&self.namespace, self.spec.lab.families());
    }

    /// The container id that cnitool gives it: a hash of the path of its namespace.
    pub fn container_id(&self) -> String {
        let path = self.namespace.path().display().to_string();
        let digest = Sha512::digest(path.as_bytes());
        digest[..10].iter().fold("cnitool-".to_owned(), |id, byte| id + &format!("{byte:02x}"))
    }

    /// `CNI_ARGS` of its attachment.
    pub fn cni_args(&self) -> String {
        let own = self.spec.args.iter().map(|(key, value)| format!(";{key}={value}"));
        own.fold("IgnoreUnknown=1".to_owned(), |all, one| all + &one)
    }

    /// cnitool with an operation for this pod, to be run.
    pub fn cnitool(&self, operation: &str) -> Program {
        let node = self.spec.node;
        let program = node.ns().program(location::tool("cnitool"));
        let program = match &self.spec.capabilities {
            Some(given) => program.env("CAP_ARGS", given),
            None => program,
        };
        program
            .args([operation, node.network()])
            .args([self.namespace.path()])
            .env("CNI_PATH", node.cni_path())
            .env("NETCONFPATH", node.conf_dir())
            .env("CNI_ARGS", self.cni_args())
            .env("CNI_IFNAME", &self.spec.link)
    }
}

/// An operation that failed, in cnitool's words: the plugin's message and details.
#[derive(Debug, Clone)]
pub struct CniFailure {
    /// The sentence.
    pub message: String,
}

impl std::fmt::Display for CniFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CniFailure {}

fn outcome(finished: Finished) -> Result<Finished, CniFailure> {
    if finished.succeeded() {
        return Ok(finished);
    }
    Err(CniFailure { message: finished.stderr.trim().to_owned() })
}

//! A pod of a container runtime, by the calls that the kubelet makes for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::pause_image::{self, IMAGE};
use crate::{Containerd, Finished, Program, location};

/// More than any call here takes.
const PATIENCE: Duration = Duration::from_secs(50);

/// What a pod shall be.
#[derive(Clone)]
pub struct CriPodSpec<'run> {
    runtime: &'run Containerd<'run>,
    namespace: String,
    name: String,
    annotations: BTreeMap<String, String>,
    ports: Vec<Value>,
    limit: Duration,
}

impl<'run> CriPodSpec<'run> {
    pub(crate) fn new(runtime: &'run Containerd<'_>, namespace: &str, name: &str) -> Self {
        Self {
            runtime,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            annotations: BTreeMap::new(),
            ports: Vec::new(),
            limit: PATIENCE,
        }
    }

    /// One more annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// A port of the host for a TCP port of the pod.
    #[must_use]
    pub fn host_port(mut self, host: u16, container: u16) -> Self {
        self.ports.push(json!({ "containerPort": container, "hostPort": host }));
        self
    }

    /// After which time the client gives up, and the runtime kills what it still runs for it.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// `RunPodSandbox`. The error is the runtime's message.
    pub fn run(self) -> Result<CriPod<'run>, String> {
        let config = self.config();
        let request = json!({ "config": config });
        let answer = self.runtime.call("RuntimeService/RunPodSandbox", &request, self.limit)?;
        let id = answer["podSandboxId"].as_str().unwrap_or_default().to_owned();
        assert!(!id.is_empty(), "no id in {answer}");
        Ok(CriPod { runtime: self.runtime, id, config, container: None })
    }

    fn config(&self) -> Value {
        json!({
            "metadata": {
                "name": self.name, "namespace": self.namespace,
                "uid": format!("uid-{}-{}", self.namespace, self.name)
            },
            "hostname": self.name,
            "dnsConfig": { "servers": ["192.0.2.53"] },
            "portMappings": self.ports,
            "annotations": self.annotations,
            "linux": { "cgroupParent": format!("/{}", self.runtime.node().network()) }
        })
    }
}

/// A pod that runs.
pub struct CriPod<'run> {
    runtime: &'run Containerd<'run>,
    id: String,
    config: Value,
    container: Option<String>,
}

impl CriPod<'_> {
    /// Its id, which is the container id of its CNI calls.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Starts its container: an echo server, and what [`CriPod::who`] executes, from the machine.
    pub fn start_container(&mut self) {
        let echo = location::own("egret-echo");
        let mounts: Vec<Value> = pause_image::host_directories()
            .into_iter()
            .map(|path| json!({ "hostPath": path, "containerPath": path, "readonly": true }))
            .collect();
        let created = self.call(
            "CreateContainer",
            &json!({
                "podSandboxId": self.id, "sandboxConfig": self.config,
                "config": {
                    "metadata": { "name": "main" }, "image": { "image": IMAGE }, "mounts": mounts,
                    "command": [echo], "linux": {}
                }
            }),
        );
        let id = created["containerId"].as_str().unwrap_or_default().to_owned();
        self.call("StartContainer", &json!({ "containerId": id }));
        self.container = Some(id);
    }

    /// Asks the echo server outside, in a process of the container, which address it sees.
    pub fn who(&self, how: &str, server: IpAddr) -> Result<IpAddr, String> {
        let container = self.container.as_ref().unwrap_or_else(|| panic!("no container started"));
        let probe = location::own("egret-probe");
        let answer = self.call(
            "ExecSync",
            &json!({
                "containerId": container, "timeout": "20",
                "cmd": [probe, "who", how, server.to_string()]
            }),
        );
        let text = |key: &str| decode(answer[key].as_str().unwrap_or_default());
        text("stdout").trim().parse().map_err(|_| text("stderr"))
    }

    /// `StopPodSandbox`: ends its processes, then DEL.
    pub fn stop(&self) -> Result<(), String> {
        stop(self.runtime, &self.id)
    }

    /// `RemovePodSandbox`.
    pub fn remove(self) -> Result<(), String> {
        remove(self.runtime, &self.id)
    }

    #[track_caller]
    fn call(&self, method: &str, request: &Value) -> Value {
        let answer = self.runtime.call(&format!("RuntimeService/{method}"), request, PATIENCE);
        answer.unwrap_or_else(|message| panic!("{method}: {message}"))
    }
}

impl Containerd<'_> {
    /// `StopPodSandbox` and `RemovePodSandbox` of every pod that it knows, as the kubelet does with
    /// what it does not want.
    pub fn remove_all(&self) -> Result<(), String> {
        for id in self.sandboxes() {
            self.remove(&id)?;
        }
        Ok(())
    }

    /// `StopPodSandbox` and `RemovePodSandbox` of one.
    pub fn remove(&self, id: &str) -> Result<(), String> {
        stop(self, id)?;
        remove(self, id)
    }
}

fn stop(runtime: &Containerd<'_>, id: &str) -> Result<(), String> {
    let request = json!({ "podSandboxId": id });
    runtime.call("RuntimeService/StopPodSandbox", &request, PATIENCE).map(drop)
}

fn remove(runtime: &Containerd<'_>, id: &str) -> Result<(), String> {
    let request = json!({ "podSandboxId": id });
    runtime.call("RuntimeService/RemovePodSandbox", &request, PATIENCE).map(drop)
}

/// Bytes in protobuf's JSON are base64.
fn decode(text: &str) -> String {
    let decoded: Finished = Program::new("base64").args(["--decode"]).input(text).run();
    decoded.success()
}

//! A container runtime of a node: containerd with its CRI, driven as the kubelet drives it, and with
//! its client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cri_pod::CriPodSpec;
use crate::own_mounts::OwnMounts;
use crate::pause_image::{self, IMAGE};
use crate::{
    ContainerdVersion, Finished, Node, Program, Running, containerd_config, eventually, location,
    own_mounts, reaper,
};

/// The runtime. Dropping it ends all of its pods' processes at once, without DEL.
pub struct Containerd<'lab> {
    node: &'lab Node,
    version: ContainerdVersion,
    directory: PathBuf,
    // Ends before the daemon does: with it everything that the daemon started.
    mounts: OwnMounts,
    daemon: Option<Running>,
}

impl<'lab> Containerd<'lab> {
    /// Starts one of this version on a node, with the node's network configuration list and its
    /// plugins.
    pub fn start(node: &'lab Node, version: ContainerdVersion) -> Self {
        let directory = reaper::directory(node.network()).join(format!("cri-{}", node.name()));
        let mounts = OwnMounts::make(node, &directory);
        let mut runtime = Self { node, version, directory, mounts, daemon: None };
        let config = containerd_config::text(version, &runtime.directory, &node.conf_dir());
        runtime.write("config.toml", &config);
        runtime.start_daemon();
        runtime.import_image();
        runtime
    }

    /// Its node.
    pub fn node(&self) -> &'lab Node {
        self.node
    }

    /// Puts a shell script beside the plugins, under the name of its type, or in the place of one.
    pub fn add_plugin(&self, kind: &str, script: &str) {
        let place = self.directory.join("bin").join(kind);
        own_mounts::link(&self.node.script(kind, script), &place);
    }

    /// Starts the daemon, again after [`Containerd::kill`], and waits until it answers.
    pub fn start_daemon(&mut self) {
        let line = format!(
            "echo $$ > {0}/pid; export PATH={1}:$PATH
             exec containerd --config {0}/config.toml >> {0}/log 2>&1",
            self.directory.display(),
            self.version.directory().display()
        );
        self.daemon = Some(self.mounts.program("bash").args(["-c", &line]).start());
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while let Err(why) = self.ready() {
            let log = self.log();
            assert!(std::time::Instant::now() < end, "containerd is not ready: {why}\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it says that it and its network are ready. The error is what it says.
    pub fn ready(&self) -> Result<(), String> {
        let limit = Duration::from_secs(5);
        let answer = self.call("RuntimeService/Status", &json!({}), limit)?;
        // The third of 2.x is about its own future, and false where the machine has cgroups v1.
        let holds = |kind: &str| {
            let mut conditions = answer["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == kind && condition["status"] == true)
        };
        if holds("RuntimeReady") && holds("NetworkReady") {
            return Ok(());
        }
        Err(answer.to_string())
    }

    /// Ends the daemon as `kill -9` does. Its plugins and its pods go on.
    pub fn kill(&self) {
        let kill = format!("kill -9 $(cat {}/pid)", self.directory.display());
        self.mounts.program("bash").args(["-c", &kill]).run().success();
    }

    /// One call of the CRI: `Service/Method`, request and answer as protobuf's JSON. The error is
    /// the runtime's message.
    pub fn call(&self, method: &str, request: &Value, limit: Duration) -> Result<Value, String> {
        let socket = self.directory.join("containerd.sock");
        let finished = Program::new(location::tool("cri-call"))
            .args([socket.as_os_str()])
            .args([method, &request.to_string(), &limit.as_secs_f64().to_string()])
            .deadline(limit + Duration::from_secs(20))
            .run();
        if finished.succeeded() { Ok(finished.json()) } else { Err(finished.stderr) }
    }

    /// Describes a pod; nothing happens before `run`.
    pub fn sandbox(&self, namespace: &str, name: &str) -> CriPodSpec<'_> {
        CriPodSpec::new(self, namespace, name)
    }

    /// The ids of all pods that it knows.
    pub fn sandboxes(&self) -> Vec<String> {
        let limit = Duration::from_secs(20);
        let listed = self.call("RuntimeService/ListPodSandbox", &json!({}), limit);
        let listed = listed.unwrap_or_else(|message| panic!("ListPodSandbox: {message}"));
        let items = listed["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["id"].as_str().map(str::to_owned)).collect()
    }

    /// What a pod may leave behind with the runtime: its network namespace, libcni's cached result.
    pub fn kept_of_pods(&self) -> Vec<String> {
        let line = format!(
            "find {}/state/io.containerd.grpc.v1.cri/netns /var/lib/cni -mindepth 1 -not -type d",
            self.directory.display()
        );
        let found =
            self.mounts.program("bash").args(["-c", &format!("{line} 2>/dev/null; true")]).run();
        found.success().lines().map(str::to_owned).collect()
    }

    /// A command in a container of its own by `ctr run --cni`, to its end: its network is made before
    /// it and goes behind it.
    pub fn ctr_run(&self, id: &str, command: &[&str]) -> Finished {
        let mounts = pause_image::host_directories().into_iter().flat_map(|path| {
            let path = path.display();
            let mount = format!("type=bind,src={path},dst={path},options=rbind:ro");
            ["--mount".to_owned(), mount]
        });
        self.ctr()
            .args(["run", "--rm", "--cni", "--snapshotter", "native", "--cgroup", ""])
            .args(mounts)
            .args([IMAGE, id])
            .args(command)
            .run()
    }

    /// Removes what `ctr run` has left: the one of 1.6 forgets a container whose network failed.
    pub fn ctr_remove(&self, id: &str) {
        self.ctr().args(["tasks", "delete", "--force", id]).run();
        self.ctr().args(["containers", "delete", id]).run();
    }

    fn ctr(&self) -> Program {
        self.mounts
            .program(self.version.directory().join("ctr"))
            .args([Path::new("--address"), &self.directory.join("containerd.sock")])
            .args(["--namespace", "k8s.io"])
    }

    fn import_image(&self) {
        let archive = pause_image::write(&self.directory);
        self.ctr()
            .args(["images", "import", "--snapshotter", "native"])
            .args([&archive])
            .run()
            .success();
        // The CRI hears of it by an event.
        let request = json!({ "image": { "image": IMAGE } });
        eventually("containerd knows the image", Duration::from_secs(5), || {
            let status = self.call("ImageService/ImageStatus", &request, Duration::from_secs(5));
            status.ok()?.get("image").cloned()
        });
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        #[expect(clippy::disallowed_methods, reason = "input of a test, no state of the product")]
        let written = std::fs::write(&path, text);
        written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// What the daemon has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

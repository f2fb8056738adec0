//! A container runtime of a node: containerd with its CRI, driven as the kubelet drives it. Its
//! network is the node's; its mounts and its processes are its own and end with the value. It
//! never sees the machine's containerd: what containerd has at a fixed path is hidden from it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cri_pod::CriPodSpec;
use crate::pause_image::{self, IMAGE};
use crate::{
    ContainerdVersion, Node, Program, Running, containerd_config, eventually, location, product,
    reaper,
};

/// The mount and process namespaces: one script, the first process in them.
const OWN_MOUNTS: &str = include_str!("own_mounts.sh");

/// The runtime. Dropping it ends all of its pods' processes at once, without DEL.
pub struct Containerd<'lab> {
    node: &'lab Node,
    version: ContainerdVersion,
    directory: PathBuf,
    // The first process of its namespaces, as the machine numbers it.
    first: String,
    holder: Running,
    daemon: Option<Running>,
}

impl<'lab> Containerd<'lab> {
    /// Starts one of this version on a node, with the node's network configuration list and its
    /// plugins.
    pub fn start(node: &'lab Node, version: ContainerdVersion) -> Self {
        let directory = reaper::directory(node.network()).join(format!("cri-{}", node.name()));
        let bin = directory.join("bin");
        std::fs::create_dir_all(&bin).unwrap_or_else(|e| panic!("{}: {e}", bin.display()));
        link_plugins(node, &bin);
        let mut holder = Program::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "unchanged"])
            .args(["bash", "-c", OWN_MOUNTS, "own_mounts.sh"])
            .args([&directory])
            .within(node.ns())
            .start();
        let mut first = String::new();
        BufReader::new(holder.output()).read_line(&mut first).expect("the first process' id");
        let first = first.trim().to_owned();
        assert!(!first.is_empty(), "no mount namespace for containerd: {}", said(&mut holder));
        let mut runtime = Self { node, version, directory, first, holder, daemon: None };
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

    /// Puts a shell script beside the plugins, under the name of its type.
    pub fn add_plugin(&self, kind: &str, script: &str) {
        let link = self.directory.join("bin").join(kind);
        std::os::unix::fs::symlink(self.node.script(kind, script), &link)
            .unwrap_or_else(|e| panic!("{}: {e}", link.display()));
    }

    /// Starts the daemon, again after [`Containerd::kill`], and waits until it answers.
    pub fn start_daemon(&mut self) {
        let line = format!(
            "echo $$ > {0}/pid; export PATH={1}:$PATH
             exec containerd --config {0}/config.toml >> {0}/log 2>&1",
            self.directory.display(),
            self.version.directory().display()
        );
        self.daemon = Some(self.inside("bash").args(["-c", &line]).start());
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
        self.inside("bash").args(["-c", &kill]).run().success();
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
        let found = self.inside("bash").args(["-c", &format!("{line} 2>/dev/null; true")]).run();
        found.success().lines().map(str::to_owned).collect()
    }

    /// A program in all of its namespaces.
    pub(crate) fn inside(&self, program: impl AsRef<Path>) -> Program {
        Program::new("nsenter")
            .args(["--target", &self.first, "--mount", "--net", "--pid", "--"])
            .args([program.as_ref()])
    }

    fn import_image(&self) {
        let archive = pause_image::write(&self.directory);
        self.inside(self.version.directory().join("ctr"))
            .args([Path::new("--address"), &self.directory.join("containerd.sock")])
            .args(["--namespace", "k8s.io", "images", "import", "--snapshotter", "native"])
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

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // The first process takes all others with it; only then can their directories go.
        Program::new("kill").args(["-9", &self.first]).run();
        self.daemon = None;
        self.holder.kill();
        let process = Path::new("/proc").join(&self.first);
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while process.exists() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// containerd 1.6 takes one directory of plugins.
fn link_plugins(node: &Node, bin: &Path) {
    let directory = node.plugins().directory();
    let reference = reaper::names(&directory).into_iter().map(|name| (directory.join(&name), name));
    let ours = ["egret", "egret-ipam"].map(|name| (product(name), name.to_owned()));
    for (program, name) in reference.chain(ours) {
        let link = bin.join(name);
        std::os::unix::fs::symlink(&program, &link)
            .unwrap_or_else(|e| panic!("{}: {e}", link.display()));
    }
}

fn said(program: &mut Running) -> String {
    let mut errors = program.errors();
    program.kill();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut errors, &mut text).ok();
    text
}

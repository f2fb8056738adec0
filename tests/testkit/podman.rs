//! Another container runtime of a node: podman with its CNI backend. Its containers have no
//! Kubernetes around them.

use std::path::PathBuf;

use crate::own_mounts::OwnMounts;
use crate::pause_image::{self, IMAGE};
use crate::{Finished, Node, Program, location, reaper};

/// The runtime. Dropping it removes its containers.
pub struct Podman<'lab> {
    node: &'lab Node,
    directory: PathBuf,
    mounts: OwnMounts,
}

impl<'lab> Podman<'lab> {
    /// Prepares it on a node, with the node's network configuration list and its plugins.
    pub fn start(node: &'lab Node) -> Self {
        let directory = reaper::directory(node.network()).join(format!("podman-{}", node.name()));
        let mounts = OwnMounts::make(node, &directory);
        let podman = Self { node, directory, mounts };
        let path = podman.directory.join("containers.conf");
        #[expect(clippy::disallowed_methods, reason = "input of a test, no state of the product")]
        std::fs::write(&path, podman.config())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let archive = pause_image::write(&podman.directory);
        podman.podman().args(["load", "--input"]).args([&archive]).run().success();
        podman
    }

    fn config(&self) -> String {
        format!(
            "[network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [\"{}/bin\"]\n\
             network_config_dir = \"{}\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
             runtime = \"runc\"\ntmp_dir = \"/run/libpod\"\n",
            self.directory.display(),
            self.node.conf_dir().display()
        )
    }

    /// `podman run`: a container with an echo server, in the background.
    pub fn run(&self, name: &str) -> Finished {
        let echo = location::own("egret-echo");
        let volumes = pause_image::host_directories()
            .into_iter()
            .flat_map(|path| ["--volume".to_owned(), format!("{0}:{0}:ro", path.display())]);
        self.podman()
            .args(["run", "--detach", "--name", name, "--network", self.node.network()])
            .args(["--cgroup-parent", &format!("/{}", self.node.network())])
            .args(volumes)
            .args(["--entrypoint", &echo.display().to_string(), IMAGE])
            .run()
    }

    /// `podman exec`: asks the echo server at an address which address it sees.
    pub fn who(&self, name: &str, how: &str, server: std::net::IpAddr) -> Finished {
        let probe = location::own("egret-probe").display().to_string();
        self.command(&["exec", name, &probe, "who", how, &server.to_string()])
    }

    /// A command of podman.
    pub fn command(&self, words: &[&str]) -> Finished {
        self.podman().args(words).run()
    }

    fn podman(&self) -> Program {
        let root = self.directory.join("root");
        self.mounts
            .program("env")
            .args([format!("CONTAINERS_CONF={}/containers.conf", self.directory.display())])
            .args(["podman", "--root", &root.display().to_string()])
            .args(["--runroot", "/run/podman", "--storage-driver", "vfs"])
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // A namespace that podman made has a name of its own on the machine.
        self.command(&["rm", "--all", "--force", "--time", "0"]);
    }
}

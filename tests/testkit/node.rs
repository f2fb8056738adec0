//! A node of a laboratory: its network namespace and its directories, which a real node has at the
//! default paths of contract.md 2.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::location::own;
use crate::{Families, Finished, MainPlugin, Ns, PluginSet, Program, conflist, product, reaper};

/// What a node is there for. Either kind can run pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Pods run here.
    Worker,
    /// Traffic leaves here.
    Gateway,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    role: Role,
    host: u8,
    namespace: Ns,
    network: String,
    families: Families,
    plugins: PluginSet,
    main: MainPlugin,
    directory: PathBuf,
}

impl Node {
    pub(crate) fn new(
        name: &str,
        role: Role,
        host: u8,
        namespace: Ns,
        families: (&str, Families),
    ) -> Self {
        let (network, families) = families;
        let directory = reaper::directory(network).join(name);
        let node = Self {
            name: name.to_owned(),
            role,
            host,
            namespace,
            network: network.to_owned(),
            families,
            plugins: PluginSet::default(),
            main: MainPlugin::default(),
            directory,
        };
        for path in [node.resources_dir(), node.conf_dir()] {
            std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        node
    }

    pub(crate) fn with_plugins(mut self, plugins: PluginSet, main: MainPlugin) -> Self {
        (self.plugins, self.main) = (plugins, main);
        self
    }

    /// The plugin that gives its pods their link.
    pub fn main(&self) -> MainPlugin {
        self.main
    }

    /// Its name, also of its `EgressNode`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is there for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The last part of its addresses, and its node id.
    pub fn host(&self) -> u8 {
        self.host
    }

    /// Its families.
    pub fn families(&self) -> Families {
        self.families
    }

    /// The network of its network configuration list.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Its network namespace, in place of a machine's own.
    pub fn ns(&self) -> &Ns {
        &self.namespace
    }

    /// The product's namespace on this node, which exists only when the product made it.
    pub fn egress_ns(&self) -> Ns {
        Ns::named(format!("{}-egret", self.namespace.name()))
    }

    /// What all of its directories are in, and nothing else.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `resourcesDir`.
    pub fn resources_dir(&self) -> PathBuf {
        self.directory.join("resources.d")
    }

    /// `stateDir`. The product makes it.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// `runDir`. The product makes it.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// `confDir`.
    pub fn conf_dir(&self) -> PathBuf {
        self.directory.join("net.d")
    }

    /// Where host-local keeps pod addresses; outside [`Node::directory`], it is not the product's.
    pub fn host_local_dir(&self) -> PathBuf {
        reaper::directory(&self.network).join(format!("host-local-{}", self.name))
    }

    /// The network configuration list.
    pub fn conflist_path(&self) -> PathBuf {
        self.conf_dir().join("10-egret.conflist")
    }

    pub(crate) fn write_conflist(&self) {
        let list = conflist::main_plugin(self);
        self.write(&self.conflist_path(), &format!("{list:#}\n"));
    }

    /// Changes the network configuration list.
    pub fn edit_conflist(&self, change: impl FnOnce(&mut Value)) {
        let mut list = self.conflist();
        change(&mut list);
        self.write(&self.conflist_path(), &format!("{list:#}\n"));
    }

    /// The network configuration list as it is now.
    pub fn conflist(&self) -> Value {
        let path = self.conflist_path();
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A directory with the same list without our plugin, for what a runtime has done before it.
    pub(crate) fn write_main_list(&self) -> PathBuf {
        let directory = reaper::directory(&self.network).join(format!("main-{}", self.name));
        std::fs::create_dir_all(&directory)
            .unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        let list = conflist::without_ours(self.conflist());
        self.write(&directory.join("10-main.conflist"), &list.to_string());
        directory
    }

    /// Changes a key of our plugin's configuration.
    pub fn set_key(&self, key: &str, value: impl Into<Value>) {
        self.edit_conflist(|list| conflist::our_object(list)[key] = value.into());
    }

    /// Writes a shell script that can be executed, alone in its directory but for other scripts.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let directory = reaper::directory(&self.network).join(format!("scripts-{}", self.name));
        std::fs::create_dir_all(&directory)
            .unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        let path = directory.join(name);
        self.write(&path, &format!("#!/bin/sh\n{text}"));
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// Writes a resource file.
    pub fn write_resources(&self, file: &str, text: &str) {
        self.write(&self.resources_dir().join(file), text);
    }

    /// Removes a resource file.
    pub fn remove_resources(&self, file: &str) {
        let path = self.resources_dir().join(file);
        std::fs::remove_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    #[expect(clippy::unused_self, reason = "the node is the only one that writes its files")]
    fn write(&self, path: &Path, text: &str) {
        #[expect(clippy::disallowed_methods, reason = "input of a test, no state of the product")]
        let written = std::fs::write(path, text);
        written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Which reference plugins stand before ours.
    pub(crate) fn plugins(&self) -> PluginSet {
        self.plugins
    }

    /// `CNI_PATH` on this node.
    pub fn cni_path(&self) -> String {
        let stand_in = match self.main {
            MainPlugin::Calico => "calico",
            MainPlugin::Flannel => "flannel",
            MainPlugin::Bridge | MainPlugin::Ptp | MainPlugin::Macvlan => {
                return self.plugins.cni_path();
            }
        };
        let directory = reaper::directory(&self.network).join("stand-ins");
        std::fs::create_dir_all(&directory).ok();
        std::os::unix::fs::symlink(own("egret-main-plugin"), directory.join(stand_in)).ok();
        format!("{}:{}", directory.display(), self.plugins.cni_path())
    }

    /// A command of `egretctl` on this node (words split at blanks), with its configuration.
    pub fn egretctl(&self, line: &str) -> Finished {
        self.egretctl_program(line).run()
    }

    /// The same, to be run with more options.
    pub fn egretctl_program(&self, line: &str) -> Program {
        self.as_egretctl(self.namespace.program(product("egretctl")), line)
    }

    /// The same on a machine where a kernel parameter that is one for all namespaces (its path below
    /// `/proc/sys`) has another value.
    pub fn egretctl_where(&self, parameter: &str, value: &str, line: &str) -> Finished {
        const OVER: &str = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        let file = self.directory().join("parameter");
        self.write(&file, value);
        let parameter = Path::new("/proc/sys").join(parameter);
        let program = self.namespace.program("unshare").args(["--mount", "sh", "-c", OVER]);
        self.as_egretctl(program.args([&file, &parameter, &product("egretctl")]), line).run()
    }

    fn as_egretctl(&self, program: Program, line: &str) -> Program {
        program
            .args([Path::new("--config"), &self.conflist_path()])
            .args([Path::new("--resources"), &self.resources_dir()])
            .args(["--node", &self.name])
            .args(line.split_whitespace())
    }
}

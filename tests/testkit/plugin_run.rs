//! One execution of a plugin as a runtime executes it, without a runtime: for what cnitool cannot
//! do (a missing variable, a DEL without previous result) and for the error as JSON.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fault::{self, Injection};
use crate::{Fault, Finished, Node, Ns, Pod, Program, Strike, conflist};

/// A plugin that is about to be executed.
pub struct PluginRun {
    program: PathBuf,
    namespace: Option<Ns>,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
    input: String,
    injection: Option<Injection>,
    read_only: Option<PathBuf>,
    strike: Option<Strike>,
}

/// Binds the directory to itself, read-only, in a mount namespace that ends with the program.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;

impl PluginRun {
    /// A program with an operation; nothing else is set.
    pub fn new(program: impl AsRef<Path>, operation: &str) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            namespace: None,
            arguments: Vec::new(),
            variables: vec![("CNI_COMMAND", operation.to_owned())],
            input: String::new(),
            injection: None,
            read_only: None,
            strike: None,
        }
    }

    /// Our plugin on a node, out of the node's list, with the previous result if there is one. The
    /// variables of an attachment are not set.
    pub fn on(node: &Node, operation: &str, previous: Option<&Value>) -> Self {
        Self::new(crate::product("egret"), operation)
            .within(node.ns())
            .variable("CNI_PATH", &node.cni_path())
            .config(&derived_config(node, previous))
    }

    /// GC of our plugin on a node, where the runtime has only these containers, each with `eth0`.
    pub fn gc(node: &Node, valid: &[&str]) -> Self {
        let mut config = derived_config(node, None);
        config["cniVersion"] = json!("1.1.0");
        let entry = |id: &&str| json!({ "containerID": id, "ifname": "eth0" });
        config["cni.dev/valid-attachments"] = valid.iter().map(entry).collect();
        Self::on(node, "GC", None).config(&config)
    }

    /// A plugin of ours as the runtime would execute it for a pod, out of the node's list, with the
    /// previous result if there is one.
    pub fn for_pod(pod: &Pod, operation: &str, previous: Option<&Value>) -> Self {
        Self::on(pod.node(), operation, previous)
            .variable("CNI_CONTAINERID", &pod.container_id())
            .variable("CNI_NETNS", &pod.path().display().to_string())
            .variable("CNI_IFNAME", pod.link())
            .variable("CNI_ARGS", &pod.cni_args())
    }

    /// In a namespace.
    #[must_use]
    pub fn within(mut self, namespace: &Ns) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Arguments, which plugins have none of: for a command that is to be interrupted.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments = arguments.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets a variable, or replaces it.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self = self.without(name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(given, _)| *given != name);
        self
    }

    /// Its configuration on standard input.
    #[must_use]
    pub fn config(self, config: &Value) -> Self {
        self.input(&config.to_string())
    }

    /// Standard input as it is, also what is no JSON.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Lets a fault happen at the n-th call (from 1) of a system call.
    #[must_use]
    pub fn fault(mut self, fault: Fault, call: &'static str, number: u32) -> Self {
        self.injection = Some(Injection { fault, call, number });
        self
    }

    /// Lets it find a directory read-only, as after an error of the disk.
    #[must_use]
    pub fn read_only(mut self, directory: &Path) -> Self {
        self.read_only = Some(directory.to_owned());
        self
    }

    /// Kills it, or what it started, at a moment of its run.
    #[must_use]
    pub fn strike(mut self, strike: Option<Strike>) -> Self {
        self.strike = strike;
        self
    }

    fn program(&self, log: &Path) -> Program {
        match (&self.injection, &self.read_only) {
            (Some(injection), _) => injection.wrap(&self.program, log),
            (None, Some(directory)) => Program::new("unshare")
                .args(["--mount", "sh", "-c", READ_ONLY])
                .args([directory, &self.program]),
            (None, None) => Program::new(&self.program),
        }
    }

    /// Executes it.
    pub fn run(self) -> PluginOutcome {
        let log = fault::log_file();
        let program = self.program(&log);
        let mut program = program.args(&self.arguments).clean_environment().input(self.input);
        program = program.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        for (name, value) in self.variables {
            program = program.env(name, value);
        }
        if let Some(namespace) = self.namespace {
            program = program.within(&namespace);
        }
        if let Some(strike) = self.strike {
            program = program.strike(strike);
        }
        let finished = program.run();
        let interrupted = Injection::happened(&log);
        std::fs::remove_file(&log).ok();
        PluginOutcome { finished, interrupted }
    }
}

/// What the runtime derives for our plugin from the node's list (CNI specification, section 4).
fn derived_config(node: &Node, previous: Option<&Value>) -> Value {
    let mut list = node.conflist();
    let mut config = conflist::our_object(&mut list).clone();
    config["cniVersion"] = list["cniVersion"].clone();
    config["name"] = json!(node.network());
    if let Some(previous) = previous {
        config["prevResult"] = previous.clone();
    }
    config
}

/// What a plugin answered.
#[derive(Debug, Clone)]
pub struct PluginOutcome {
    /// The process.
    pub finished: Finished,
    /// Whether the fault that was asked for happened; if not, there was no such call any more.
    pub interrupted: bool,
}

impl PluginOutcome {
    /// Its result; panics unless it exited with 0 and printed JSON.
    #[track_caller]
    pub fn result(self) -> Value {
        self.finished.clone().success();
        self.finished.json()
    }

    /// The code and the sentence (message and details) of its error; panics unless it exited with
    /// 1 and printed an error as the specification has it.
    #[track_caller]
    pub fn error(self) -> (u64, String) {
        let error = self.finished.clone().exits(1).json();
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let code = error["code"].as_u64();
        let code = code.unwrap_or_else(|| panic!("an error without code: {}", self.finished));
        (code, format!("{} {}", text("msg"), text("details")).trim().to_owned())
    }
}

//! The plugin that this plugin delegates to (specification, section "Plugin delegation"): found on
//! `CNI_PATH`, run with the same environment and the whole configuration, its errors handed on.
//! Finding and running are effects and come in through [`Exec`].

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use egret_types::Attachment;
use serde_json::value::RawValue;

use crate::{
    CniError, Code, Command, Environment, IpamResult, NetworkRequest, RawObject, ValidAttachments,
    Variable,
};

/// What is to be run.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The file.
    pub path: &'a Path,
    /// The whole environment; nothing else is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// What it reads.
    pub stdin: &'a str,
    /// How long it may take.
    pub deadline: Duration,
}

/// What came of it. Its stderr went through to ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
}

/// How much of what a plugin prints is read. A result is a few hundred bytes: what is longer is no
/// result, and a plugin that prints without end must not take the memory of the node.
pub const LONGEST_OUTPUT: usize = 1 << 20;

/// Finding and running programs, and waiting.
pub trait Exec {
    /// The first directory of `paths` that has an executable file of this name gives the path.
    fn find(&self, plugin: &str, paths: &[PathBuf]) -> Option<PathBuf>;

    /// Runs it to its end, or ends it: at its deadline ([`io::ErrorKind::TimedOut`]), or when it
    /// has printed more than [`LONGEST_OUTPUT`] ([`io::ErrorKind::FileTooLarge`]).
    fn run(&self, invocation: &Invocation<'_>) -> io::Result<Output>;

    /// Waits before the next attempt.
    fn pause(&self, time: Duration);
}

/// A file that is being written cannot be executed (`ETXTBSY`): an installer is at work and soon
/// done. libcni takes the last such failure for success, so that a DEL that never ran counts.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A delegated IPAM plugin, ready to be called for what its caller was called for.
pub struct Delegate<'a> {
    exec: &'a dyn Exec,
    plugin: String,
    path: PathBuf,
    environment: &'a Environment,
    document: RawObject,
}

impl<'a> Delegate<'a> {
    /// Finds the plugin that `ipam` names; it will read the configuration of `request` with `ipam`
    /// in the place of its `ipam` section.
    ///
    /// # Errors
    /// [`Code::INVALID_CONFIG`] if `type` is missing, no file name, or not found on `CNI_PATH`;
    /// [`Code::INVALID_ENVIRONMENT`] without `CNI_PATH`.
    pub fn new<C>(
        exec: &'a dyn Exec,
        request: &'a NetworkRequest<C>,
        ipam: &RawObject,
    ) -> Result<Self, CniError> {
        let plugin = plugin_name(ipam.get("type"))?;
        let environment = request.environment();
        let paths = environment.plugin_paths();
        if paths.is_empty() {
            let variable = Variable::Path.name();
            let msg = format!("{variable} is missing or empty: cannot look for plugin {plugin:?}");
            return Err(CniError::new(Code::INVALID_ENVIRONMENT, msg));
        }
        let path = exec.find(&plugin, &paths).ok_or_else(|| {
            let msg = format!("IPAM plugin {plugin:?} is in no directory of CNI_PATH");
            CniError::new(Code::INVALID_CONFIG, msg).with_details(format!("looked in {paths:?}"))
        })?;
        let mut document = request.config().document().clone();
        document.set("ipam", ipam).map_err(|error| unwritable(&error))?;
        Ok(Self { exec, plugin, path, environment, document })
    }

    /// Calls ADD. After a failure the plugin may hold addresses all the same: the caller owes it a
    /// [`Delegate::del`] (specification, section "Plugin delegation"), unless the attachment had
    /// its addresses before this call. The caller's journal knows that; nothing here does.
    ///
    /// # Errors
    /// The plugin's own error with its code and message; [`Code::IO_FAILURE`] if it could not be
    /// run or told no error; [`Code::TRY_AGAIN_LATER`] if its file is being written or it did not
    /// end in time; [`Code::DECODING_FAILURE`] if it printed no result, or more than
    /// [`LONGEST_OUTPUT`].
    pub fn add(&self) -> Result<IpamResult, CniError> {
        let text = self.call(Command::Add, &self.document)?;
        IpamResult::parse(&text).map_err(|error| error.in_context(&self.plugin))
    }

    /// Calls DEL.
    ///
    /// # Errors
    /// As [`Delegate::add`].
    pub fn del(&self) -> Result<(), CniError> {
        self.call(Command::Del, &self.document).map(drop)
    }

    /// Calls DEL for an attachment that the caller itself was not called for: GC has found that it
    /// does not exist any more.
    ///
    /// # Errors
    /// As [`Delegate::add`].
    pub fn del_of(&self, attachment: &Attachment) -> Result<(), CniError> {
        let environment = self
            .environment
            .with(Variable::ContainerId, attachment.container_id.as_str())
            .with(Variable::IfName, attachment.ifname.as_str())
            .with(Variable::Netns, "");
        self.call_in(&environment, Command::Del, &self.document).map(drop)
    }

    /// Calls CHECK.
    ///
    /// # Errors
    /// As [`Delegate::add`].
    pub fn check(&self) -> Result<(), CniError> {
        self.call(Command::Check, &self.document).map(drop)
    }

    /// Calls GC, with this list in the place of the one that the caller got.
    ///
    /// # Errors
    /// As [`Delegate::add`].
    pub fn gc(&self, valid: &ValidAttachments) -> Result<(), CniError> {
        let mut document = self.document.clone();
        valid.write(&mut document).map_err(|error| unwritable(&error))?;
        self.call(Command::Gc, &document).map(drop)
    }

    /// Calls STATUS.
    ///
    /// # Errors
    /// As [`Delegate::add`].
    pub fn status(&self) -> Result<(), CniError> {
        self.call(Command::Status, &self.document).map(drop)
    }

    fn call(&self, command: Command, document: &RawObject) -> Result<Vec<u8>, CniError> {
        self.call_in(self.environment, command, document)
    }

    fn call_in(
        &self,
        environment: &Environment,
        command: Command,
        document: &RawObject,
    ) -> Result<Vec<u8>, CniError> {
        let stdin = serde_json::to_string(document).map_err(|error| unwritable(&error))?;
        let invocation = Invocation {
            path: &self.path,
            environment: environment.of_child(command),
            stdin: &stdin,
            deadline: command.delegate_deadline(),
        };
        let output = self.run(&invocation)?;
        if output.status == Some(0) {
            return Ok(output.stdout);
        }
        Err(CniError::from_json(&output.stdout).unwrap_or_else(|| self.silent(command, &output)))
    }

    fn run(&self, invocation: &Invocation<'_>) -> Result<Output, CniError> {
        for attempt in 1.. {
            match self.exec.run(invocation) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let context = format!("run {}", self.path.display());
                    let late = CniError::caused_by(Code::TRY_AGAIN_LATER, &error);
                    return Err(late.in_context(context));
                }
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    return Err(self.too_long());
                }
                Err(error) if error.kind() != io::ErrorKind::ExecutableFileBusy => {
                    let context = format!("run {}", self.path.display());
                    return Err(CniError::caused_by(Code::IO_FAILURE, &error).in_context(context));
                }
                Err(_) if attempt < ATTEMPTS => self.exec.pause(PAUSE),
                Err(_) => break,
                Ok(output) => return Ok(output),
            }
        }
        let msg = format!("{} is being written and cannot be run", self.path.display());
        Err(CniError::new(Code::TRY_AGAIN_LATER, msg))
    }

    fn too_long(&self) -> CniError {
        let msg =
            format!("plugin {:?} printed more than 1 MiB ({LONGEST_OUTPUT} bytes)", self.plugin);
        CniError::new(Code::DECODING_FAILURE, msg)
            .with_details(format!("{} was ended", self.path.display()))
    }

    fn silent(&self, command: Command, output: &Output) -> CniError {
        let end = match output.status {
            Some(code) => format!("exit code {code}"),
            None => "a signal".to_owned(),
        };
        let msg = format!("{command} of {:?} ended with {end} and no error object", self.plugin);
        CniError::new(Code::IO_FAILURE, msg)
            .with_details(format!("stdout: {:?}", String::from_utf8_lossy(&output.stdout)))
    }
}

fn unwritable(error: &serde_json::Error) -> CniError {
    CniError::caused_by(Code::INTERNAL, error).in_context("write the delegate's stdin")
}

fn plugin_name(value: Option<&RawValue>) -> Result<String, CniError> {
    let invalid =
        |what: &str| CniError::new(Code::INVALID_CONFIG, format!("key \"ipam.type\" {what}"));
    let value = value.ok_or_else(|| invalid("is missing"))?;
    let name: Option<String> = serde_json::from_str(value.get()).ok();
    let is_file_name =
        |name: &String| !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']);
    name.filter(is_file_name)
        .ok_or_else(|| invalid(&format!("is {}, not the file name of a plugin", value.get())))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use serde::Deserialize;

    use super::*;
    use crate::Request;

    #[derive(Debug, Deserialize)]
    struct NoKeys {}

    /// Answers calls in order and records them.
    #[derive(Default)]
    struct Script {
        answers: RefCell<VecDeque<io::Result<Output>>>,
        commands: RefCell<Vec<String>>,
        stdin: RefCell<String>,
        container: RefCell<String>,
        pauses: RefCell<u32>,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = io::Result<Output>>) -> Self {
            Self { answers: RefCell::new(answers.into_iter().collect()), ..Self::default() }
        }

        fn commands(&self) -> String {
            self.commands.borrow().join(" ")
        }
    }

    impl Exec for Script {
        fn find(&self, plugin: &str, paths: &[PathBuf]) -> Option<PathBuf> {
            (plugin == "egret-ipam").then(|| paths[0].join(plugin))
        }

        fn run(&self, invocation: &Invocation<'_>) -> io::Result<Output> {
            let environment: Environment = invocation.environment.iter().cloned().collect();
            let command = environment.get(Command::VARIABLE).unwrap().to_str().unwrap();
            self.commands.borrow_mut().push(command.to_owned());
            assert_eq!(invocation.path, Path::new("/opt/cni/bin/egret-ipam"));
            assert_eq!(environment.get("TRACEPARENT").unwrap(), "t");
            let id = environment.get("CNI_CONTAINERID").unwrap().to_str().unwrap();
            id.clone_into(&mut self.container.borrow_mut());
            invocation.stdin.clone_into(&mut self.stdin.borrow_mut());
            self.answers.borrow_mut().pop_front().unwrap_or_else(|| ends(0, ""))
        }

        fn pause(&self, _time: Duration) {
            *self.pauses.borrow_mut() += 1;
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "an answer of Exec::run")]
    fn ends(status: i32, stdout: &str) -> io::Result<Output> {
        Ok(Output { status: Some(status), stdout: stdout.into() })
    }

    fn busy() -> io::Result<Output> {
        Err(io::ErrorKind::ExecutableFileBusy.into())
    }

    const ADDED: &str = r#"{"cniVersion":"1.0.0","ips":[],"egret.dev/leases":[]}"#;

    fn request(path: &str) -> Request<NoKeys> {
        let environment = Environment::from_iter([
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", path),
            ("TRACEPARENT", "t"),
        ]);
        let config = r#"{"cniVersion":"1.0.0","name":"a","ipam":{"type":"egret-ipam"},"x":1.0}"#;
        Request::read(Command::Del, environment, &mut config.as_bytes()).unwrap()
    }

    /// What a test does with a delegate that `script` plays.
    fn with<T>(script: &Script, work: impl FnOnce(&Delegate<'_>) -> T) -> T {
        let request = request("/opt/cni/bin:/x");
        let mut ipam = request.config().ipam().unwrap();
        ipam.set("stateDir", &"/var/lib/egret").unwrap();
        work(&Delegate::new(script, request.network(), &ipam).unwrap())
    }

    #[test]
    fn the_delegate_reads_the_whole_configuration_with_the_changed_section() {
        let script = Script::new([ends(0, ADDED)]);
        let result = with(&script, |delegate| delegate.add().unwrap());
        assert_eq!(result.extra("egret.dev/leases"), Ok(Some(Vec::<u8>::new())));
        assert_eq!(
            *script.stdin.borrow(),
            r#"{"cniVersion":"1.0.0","name":"a","ipam":{"type":"egret-ipam","stateDir":"/var/lib/egret"},"x":1.0}"#
        );
        assert_eq!(script.commands(), "ADD");
    }

    #[test]
    fn an_add_that_fails_tells_the_delegates_error_and_leaves_del_to_the_caller() {
        let exhausted = r#"{"code":100,"msg":"pool a is exhausted","details":"10 of 10"}"#;
        let missing = || Err(io::ErrorKind::NotFound.into());
        for (answer, code) in [
            (ends(1, exhausted), 100),
            (ends(1, ""), 5),
            (ends(0, "oops"), 6),
            (Ok(Output { status: None, stdout: Vec::new() }), 5),
            (missing(), 5),
            (Err(io::ErrorKind::TimedOut.into()), 11),
        ] {
            let script = Script::new([answer]);
            let error = with(&script, |delegate| delegate.add().err().unwrap());
            assert_eq!(error.code().number(), code, "{error}");
            assert_eq!(script.commands(), "ADD");
        }
    }

    #[test]
    fn a_plugin_that_prints_too_much_is_named() {
        let script = Script::new([Err(io::ErrorKind::FileTooLarge.into())]);
        let error = with(&script, |delegate| delegate.add().err().unwrap());
        assert_eq!(error.code(), Code::DECODING_FAILURE);
        assert!(error.msg().contains("\"egret-ipam\" printed more than 1 MiB"), "{error}");
        assert_eq!(*script.pauses.borrow(), 0);
    }

    #[test]
    fn item_55_an_error_of_the_delegate_keeps_code_message_and_details() {
        let text = r#"{"cniVersion":"1.0.0","code":111,"msg":"lease missing","details":"d"}"#;
        let expected = CniError::from_json(text.as_bytes()).unwrap();
        let script = Script::new([ends(1, text), ends(1, text)]);
        let (check, del) = with(&script, |delegate| (delegate.check(), delegate.del()));
        assert_eq!((check, del), (Err(expected.clone()), Err(expected)));
        assert_eq!(script.commands(), "CHECK DEL");
    }

    #[test]
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method alone is not general enough in its lifetime"
    )]
    fn a_busy_file_is_tried_again_and_never_taken_for_success() {
        let script = Script::new([busy(), busy(), ends(0, "")]);
        assert_eq!(with(&script, |delegate| delegate.del()), Ok(()));
        assert_eq!(*script.pauses.borrow(), 2);
        let script = Script::new((0..ATTEMPTS).map(|_| busy()));
        let error = with(&script, |delegate| delegate.del()).unwrap_err();
        assert_eq!(error.code(), Code::TRY_AGAIN_LATER);
        assert_eq!(*script.pauses.borrow(), ATTEMPTS - 1);
    }

    #[test]
    fn item_68_gc_hands_on_a_list_under_both_keys_and_status_the_configuration_as_it_is() {
        let script = Script::default();
        let mut valid = ValidAttachments::default();
        with(&script, |delegate| {
            delegate.status().unwrap();
            assert!(!script.stdin.borrow().contains("cni.dev"));
            valid.insert(request("/opt/cni/bin").attachment());
            delegate.gc(&valid).unwrap();
        });
        let list = r#"[{"containerID":"c1","ifname":"eth0"}]"#;
        let end =
            format!(r#""x":1.0,"cni.dev/valid-attachments":{list},"cni.dev/attachments":{list}}}"#);
        assert!(script.stdin.borrow().ends_with(&end), "{}", script.stdin.borrow());
        assert_eq!(script.commands(), "STATUS GC");
        let mut other = request("/opt/cni/bin").attachment().clone();
        other.container_id = "c2".parse().unwrap();
        with(&script, |delegate| delegate.del_of(&other)).unwrap();
        assert_eq!(script.commands(), "STATUS GC DEL");
        assert_eq!(*script.container.borrow(), "c2");
    }

    #[test]
    fn a_plugin_that_cannot_be_looked_up_is_refused_by_name() {
        for (path, ipam, code, named) in [
            ("/opt/cni/bin", "{}", 7, "ipam.type"),
            ("/opt/cni/bin", r#"{"type":5}"#, 7, "5"),
            ("/opt/cni/bin", r#"{"type":""}"#, 7, "ipam.type"),
            ("/opt/cni/bin", r#"{"type":".."}"#, 7, ".."),
            ("/opt/cni/bin", r#"{"type":"../egret-ipam"}"#, 7, "../egret-ipam"),
            ("/opt/cni/bin", r#"{"type":"other"}"#, 7, "other"),
            ("", r#"{"type":"egret-ipam"}"#, 4, "CNI_PATH"),
        ] {
            let (script, request) = (Script::default(), request(path));
            let ipam = RawObject::parse(ipam).unwrap();
            let error = Delegate::new(&script, request.network(), &ipam).err().unwrap();
            assert_eq!(error.code().number(), code, "{error}");
            assert!(error.msg().contains(named), "{error}");
            assert_eq!(script.commands(), "");
        }
    }
}

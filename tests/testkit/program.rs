//! Running programs: always with a deadline, always with everything they said in the report.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Ns, Strike};

/// A program that is about to run.
pub struct Program {
    command: Command,
    namespace: Option<Ns>,
    input: Vec<u8>,
    deadline: Duration,
    strike: Option<Strike>,
}

impl Program {
    /// The program of this path or name.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the testkit runs programs here only")]
        let mut command = Command::new(program);
        // Its own group: the deadline ends what it started, too.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let deadline = Duration::from_mins(1);
        Self { command, namespace: None, input: Vec::new(), deadline, strike: None }
    }

    /// Runs it in a network namespace. Only the network changes, the mounts stay the machine's: a
    /// namespace that a plugin makes by a mount must be seen by all (as with `nsenter --net`).
    #[must_use]
    pub fn within(mut self, namespace: &Ns) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Nothing of this process's environment but the variables given afterwards.
    #[must_use]
    pub fn clean_environment(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = text.into();
        self
    }

    /// How long it may take; 60 s if not given.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Kills it, or what it started, at a moment of its run.
    #[must_use]
    pub fn strike(mut self, strike: Strike) -> Self {
        self.strike = Some(strike);
        self
    }

    /// Runs it to its end. Who was killed has ended when all that it started have, too: like a
    /// runtime, this waits for the end of its output.
    pub fn run(mut self) -> Finished {
        if !self.input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        let (mut child, shown) = self.spawn();
        let end = Instant::now() + self.deadline;
        let (done, both) = mpsc::channel();
        let stdout = collect(child.stdout.take(), &done);
        let stderr = collect(child.stderr.take(), &done);
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading all of it has its reasons; its output tells.
            stdin.write_all(&self.input).ok();
        }
        let struck = self.strike.take().is_some_and(|strike| strike.hit(child.id()));
        for _ in 0..2 {
            if both.recv_timeout(end.saturating_duration_since(Instant::now())).is_err() {
                kill_group(&mut child);
                panic!("{shown}: still running after {:?}; killed", self.deadline);
            }
        }
        let status = wait_until(&mut child, end)
            .unwrap_or_else(|| panic!("{shown}: still running after {:?}; killed", self.deadline));
        Finished { shown, status, struck, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Starts it in the background: its input stays open and its output unread, until the value is
    /// dropped, which kills it.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        let (child, shown) = self.spawn();
        Running { child, shown }
    }

    fn spawn(&mut self) -> (Child, String) {
        let shown = match &self.namespace {
            None => format!("{:?}", self.command),
            Some(namespace) => format!("[{}] {:?}", namespace.name(), self.command),
        };
        // A child is born in the namespace of the thread that makes it.
        let command = &mut self.command;
        let child = match &self.namespace {
            None => command.spawn(),
            Some(namespace) => namespace.inside(|| command.spawn()),
        };
        (child.unwrap_or_else(|error| panic!("{shown}: cannot start: {error}")), shown)
    }
}

fn collect<R: Read + Send + 'static>(
    source: Option<R>,
    done: &mpsc::Sender<()>,
) -> std::thread::JoinHandle<Vec<u8>> {
    let done = done.clone();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the output like its end does.
        source.map(|mut source| source.read_to_end(&mut bytes));
        done.send(()).ok();
        bytes
    })
}

fn text(reader: std::thread::JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("the reader of a program's output")).into_owned()
}

fn wait_until(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            return Some(status);
        }
        if Instant::now() >= end {
            kill_group(child);
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill_group(child: &mut Child) {
    let group = i32::try_from(child.id()).expect("a process id");
    // Already gone is as good.
    killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
    child.kill().ok();
    child.wait().ok();
}

/// A program in the background. Dropping it kills it and waits for its end.
pub struct Running {
    child: Child,
    shown: String,
}

impl Running {
    /// Its standard output; can be taken once.
    pub fn output(&mut self) -> impl Read + Send + use<> {
        self.child.stdout.take().unwrap_or_else(|| panic!("{}: output taken twice", self.shown))
    }

    /// Its standard error; can be taken once.
    pub fn errors(&mut self) -> impl Read + Send + use<> {
        self.child.stderr.take().unwrap_or_else(|| panic!("{}: errors taken twice", self.shown))
    }

    /// Asks it to end (SIGTERM), so that it writes out what it still holds.
    pub fn terminate(&self) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        nix::sys::signal::kill(Pid::from_raw(id), Signal::SIGTERM).ok();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        nix::sys::signal::kill(Pid::from_raw(id), signal).ok();
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        kill_group(&mut self.child);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    shown: String,
    status: ExitStatus,
    struck: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Its exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether the [`Strike`] that was asked for found somebody to kill.
    pub fn struck(&self) -> bool {
        self.struck
    }

    /// Whether it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Its output; panics with everything it said unless it exited with 0.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.succeeded(), "{self}");
        self.stdout
    }

    /// Panics unless it exited with this code.
    #[track_caller]
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code() == Some(code), "wanted exit code {code}: {self}");
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: {}", self.shown, self.status)?;
        writeln!(f, "--- stdout\n{}", self.stdout.trim_end())?;
        write!(f, "--- stderr\n{}", self.stderr.trim_end())
    }
}

//! One execution of a program, timed from before the fork until it has been waited for. No shell and
//! no thread stands in between: its input waits in a pipe, and its output is read after its end.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// What a pipe holds; nobody reads before the end, so nothing may be longer.
const PIPE: usize = 65_536;

/// A program, as often as one likes.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    input: String,
}

/// What one execution took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// Time that passed.
    pub(crate) wall: Duration,
    /// Processor time in user code, of the program and all that it waited for. Meaningless while
    /// another thread executes something, too.
    pub(crate) user: Duration,
    /// The same in the kernel.
    pub(crate) system: Duration,
}

impl Execution {
    /// A program with nothing but this environment and this input.
    pub(crate) fn new(
        program: PathBuf,
        environment: Vec<(&'static str, String)>,
        input: String,
    ) -> Self {
        assert!(input.len() < PIPE, "{}: input of {} bytes", program.display(), input.len());
        Self { program, arguments: Vec::new(), environment, input }
    }

    /// With arguments.
    pub(crate) fn with_arguments(self, arguments: impl Into<Vec<String>>) -> Self {
        Self { arguments: arguments.into(), ..self }
    }

    /// The same program as the argument of another, with arguments of its own.
    pub(crate) fn under(&self, wrapper: &str, mut arguments: Vec<String>) -> Self {
        arguments.push(self.program.display().to_string());
        Self { program: PathBuf::from(wrapper), arguments, ..self.clone() }
    }

    /// Executes it where the calling thread is; panics with what it said unless it exits with 0.
    pub(crate) fn run(&self) -> Took {
        self.answer().1
    }

    /// The same, with what it wrote to standard output.
    pub(crate) fn answer(&self) -> (String, Took) {
        let name = self.program.display();
        let pipe = || std::io::pipe().unwrap_or_else(|e| panic!("a pipe for {name}: {e}"));
        let ((stdin, mut input), (mut output, stdout), (mut errors, stderr)) =
            (pipe(), pipe(), pipe());
        input.write_all(self.input.as_bytes()).unwrap_or_else(|e| panic!("input of {name}: {e}"));
        drop(input);
        #[expect(clippy::disallowed_methods, reason = "what is timed is the execution of programs")]
        let mut command = Command::new(&self.program);
        let environment = self.environment.iter().map(|(key, value)| (key, value));
        command.args(&self.arguments).env_clear().envs(environment);
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let before = used();
        let start = Instant::now();
        let status = command.status().unwrap_or_else(|e| panic!("execute {name}: {e}"));
        let wall = start.elapsed();
        let [user, system] = [0, 1].map(|part| used()[part].saturating_sub(before[part]));
        // With it go our copies of the ends that the program wrote to.
        drop(command);
        let (said, complaint) = (text(&mut output), text(&mut errors));
        assert!(status.success(), "{name}: {status}\n{said}\n{complaint}");
        (said, Took { wall, user, system })
    }
}

fn text(source: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap_or_else(|e| panic!("read a pipe: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// User and system time of all children that have been waited for.
fn used() -> [Duration; 2] {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap_or_else(|e| panic!("getrusage: {e}"));
    [usage.user_time(), usage.system_time()].map(duration)
}

fn duration(value: TimeVal) -> Duration {
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(value.tv_sec())) + Duration::from_micros(part(value.tv_usec()))
}

/// Milliseconds, as they are printed.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

//! Running the IPAM plugin: the one place in which this program starts another.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use egret_cni::{Exec, Invocation, Output};

/// How long the IPAM plugin may take. Locks included, ADD ends before the runtime loses patience.
const DEADLINE: Duration = Duration::from_secs(8);

/// Programs of this machine.
pub(crate) struct Programs;

impl Exec for Programs {
    fn find(&self, plugin: &str, paths: &[PathBuf]) -> Option<PathBuf> {
        paths.iter().map(|dir| dir.join(plugin)).find(|path| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place that runs a delegated plugin")]
    fn run(&self, invocation: &Invocation<'_>) -> io::Result<Output> {
        let mut child = Command::new(invocation.path)
            .env_clear()
            .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that ends without reading its input still has an answer.
            match stdin.write_all(invocation.stdin.as_bytes()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => drop(stdin),
            }
        }
        let stdout = match read_until(child.stdout.take(), DEADLINE) {
            Ok(stdout) => stdout,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        Ok(Output { status: child.wait()?.code(), stdout })
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// What a program prints until it ends, or the end of our patience. The reading thread ends with the
/// program, or with us.
fn read_until(stdout: Option<ChildStdout>, deadline: Duration) -> io::Result<Vec<u8>> {
    let Some(mut stdout) = stdout else { return Ok(Vec::new()) };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut printed = Vec::new();
        let read = stdout.read_to_end(&mut printed);
        // Nobody listens any more when the deadline has passed.
        sender.send(read.map(|_| printed)).ok();
    });
    receiver.recv_timeout(deadline).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

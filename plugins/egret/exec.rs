//! Running the IPAM plugin: the one place in which this program starts another.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use egret_cni::{Exec, Invocation, Output};

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
        let output = child.wait_with_output()?;
        Ok(Output { status: output.status.code(), stdout: output.stdout })
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

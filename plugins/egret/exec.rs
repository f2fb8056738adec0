//! Running the IPAM plugin: the one place in which this program starts another.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use egret_cni::{Exec, Invocation, LONGEST_OUTPUT, Output};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

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
        let pipes = (child.stdin.take(), child.stdout.take());
        let talked = talk(child.id(), pipes, invocation.stdin.to_owned());
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        let stdout = match talked.recv_timeout(invocation.deadline).unwrap_or_else(late) {
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

/// Gives a program its input, and tells what it printed when it has ended: each of these can last
/// for ever. It stays to be waited for, so that its id is nobody else's. The thread ends with the
/// program, or with us.
fn talk(
    program: u32,
    (stdin, stdout): (Option<ChildStdin>, Option<ChildStdout>),
    input: String,
) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let printed = feed(stdin, &input).and_then(|()| read(stdout)).and_then(|printed| {
            let id = Id::Pid(Pid::from_raw(program.cast_signed()));
            waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
            Ok(printed)
        });
        // Nobody listens any more when the deadline has passed.
        sender.send(printed).ok();
    });
    receiver
}

fn feed(stdin: Option<ChildStdin>, input: &str) -> io::Result<()> {
    match stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes())) {
        // A plugin that ends without reading its input still has an answer.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        fed => fed,
    }
}

/// One byte more than may be kept: it tells the longest output from one that goes on.
fn read(stdout: Option<ChildStdout>) -> io::Result<Vec<u8>> {
    let mut printed = Vec::new();
    let limit = LONGEST_OUTPUT as u64 + 1;
    stdout.map_or(Ok(0), |stdout| stdout.take(limit).read_to_end(&mut printed))?;
    if printed.len() > LONGEST_OUTPUT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    /// What a plugin answers that prints this many bytes and, when that is too many, then
    /// stays for a minute.
    fn printing(bytes: usize) -> io::Result<Output> {
        let script = format!(
            "head -c {bytes} /dev/zero; exec >&-; [ {bytes} -le {LONGEST_OUTPUT} ] || exec sleep 60"
        );
        let invocation = Invocation {
            path: Path::new("/bin/sh"),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            stdin: &script,
            deadline: Duration::from_secs(30),
        };
        Programs.run(&invocation)
    }

    #[test]
    fn what_a_plugin_prints_is_read_to_its_limit_and_not_a_byte_further() {
        for bytes in [0, LONGEST_OUTPUT] {
            assert_eq!(printing(bytes).unwrap().stdout.len(), bytes);
        }
        let begin = Instant::now();
        let refused = printing(LONGEST_OUTPUT + 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        assert!(begin.elapsed() < Duration::from_secs(20), "it was waited for");
    }
}

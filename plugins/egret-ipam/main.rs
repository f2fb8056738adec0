//! `egret-ipam`, the IPAM plugin: gives attachments their egress pairs. See `plugin.rs` for what
//! each operation does.

mod config;
mod error;
mod logger;
mod plugin;
mod pods;
mod requests;
mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use egret_cni::Environment;

/// musl's own asks the kernel for memory, and gives it back, again and again: for a process that
/// lives for a millisecond that is a fifth of its life (docs/decisions/0010).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    egret_cni::answer_always(end);
    logger::start();
    let environment = std::env::vars_os().collect::<Environment>();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let plugin = plugin::EgretIpam;
    ExitCode::from(egret_cni::run(&plugin, environment, &mut stdin, &mut stdout, &mut stderr))
}

/// The answer to a panic or at a deadline, and the end. Nothing is unwound: what survives a kill
/// survives this.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "neither a panic hook nor a thread can end a process otherwise"
)]
fn end(answer: &str) {
    // Nobody is left to be told if stdout is closed.
    writeln!(io::stdout(), "{answer}").ok();
    std::process::exit(1)
}

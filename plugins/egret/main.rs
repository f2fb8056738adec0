//! `egret`, a chained CNI plugin: gives the pods that a policy selects their way through an egress
//! gateway. See `plugin.rs` for what each operation does.

mod attach;
mod detach;
mod error;
mod exec;
mod leases;
mod links;
mod logger;
mod node;
mod plugin;
mod pod;

use std::io;
use std::process::ExitCode;

use egret_cni::Environment;

fn main() -> ExitCode {
    let environment = std::env::vars_os().collect::<Environment>();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let plugin = plugin::Egret;
    ExitCode::from(egret_cni::run(&plugin, environment, &mut stdin, &mut stdout, &mut stderr))
}

//! `egret-ipam`, the IPAM plugin: gives attachments their egress pairs. See `plugin.rs` for what
//! each operation does.

mod config;
mod error;
mod logger;
mod plugin;
mod requests;

use std::io;
use std::process::ExitCode;

use egret_cni::Environment;

fn main() -> ExitCode {
    logger::start();
    let environment = std::env::vars_os().collect::<Environment>();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let plugin = plugin::EgretIpam;
    ExitCode::from(egret_cni::run(&plugin, environment, &mut stdin, &mut stdout, &mut stderr))
}

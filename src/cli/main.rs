//! `egretctl`, the operator's command. `args` says what can be asked, one file below `command`
//! does each thing, `output` alone prints.

mod args;
mod arrival;
mod attached;
mod blocked;
mod command;
mod error;
mod holders;
mod node;
mod output;
mod role;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, GatewayCommand, LeasesCommand};
use crate::command::gc::Mode;
use crate::node::{Local, Node};
use crate::output::Outcome;
use crate::role::Take;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.command {
        Command::Validate { dir } => command::validate::run(&args, dir.as_deref()),
        Command::Gateway { command: GatewayCommand::Up { take } } => {
            Local::load(&args).and_then(|local| command::gateway_up::run(local, Take::from(*take)))
        }
        Command::Gateway { command: GatewayCommand::Down } => {
            Local::load(&args).and_then(|local| command::gateway_down::run(&local))
        }
        Command::Gateway { command: GatewayCommand::Status { output } } => {
            Node::load(&args).and_then(|node| command::gateway_status::run(&node, *output))
        }
        Command::Pools { output } => {
            Node::load(&args).and_then(|node| command::pools::run(&node, *output))
        }
        Command::Leases { command: None, output } => {
            Local::load(&args).and_then(|local| command::leases::run(&local, *output))
        }
        Command::Leases { command: Some(LeasesCommand::Release { pool, pair }), .. } => {
            Local::load(&args).and_then(|local| command::leases_release::run(&local, pool, *pair))
        }
        Command::Gc { dry_run } => {
            Local::load(&args).and_then(|local| command::gc::run(&local, Mode::from(*dry_run)))
        }
        Command::Status { output } => Local::load(&args)
            .and_then(|local| command::status::run(&local, Node::load(&args), *output)),
        Command::Check { container, output } => Local::load(&args)
            .and_then(|local| command::check::run(&local, container.as_ref(), *output)),
        Command::Repair => Local::load(&args).and_then(command::repair::run),
    };
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Problem) => ExitCode::from(1),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(2)
        }
    }
}

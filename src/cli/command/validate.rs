//! `egretctl validate`: every problem of a directory at once.

use std::path::Path;

use egret_store::resource_dir::{self, LoadError};

use crate::args::Args;
use crate::error::CliError;
use crate::node::local_config;
use crate::output::{self, Outcome};

/// Prints a line for each problem, or how much was read.
pub(crate) fn run(args: &Args, dir: Option<&Path>) -> Result<Outcome, CliError> {
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => local_config(args)?.resources_dir,
    };
    match resource_dir::load(&dir) {
        Ok(all) => {
            output::line(format_args!(
                "{}: {} nodes, {} pools, {} gateways, {} policies, no problem",
                dir.display(),
                all.nodes.len(),
                all.pools.len(),
                all.gateways.len(),
                all.policies.len()
            ))?;
            Ok(Outcome::Fine)
        }
        Err(error @ LoadError::Problems(_)) => {
            output::line(&error)?;
            Ok(Outcome::Problem)
        }
        Err(error) => Err(error.into()),
    }
}

//! `egretctl validate`: every problem of a directory at once.

use std::path::Path;

use egret_resources::{EgressPool, Resources};
use egret_store::resource_dir::{self, LoadError};
use egret_types::PoolName;

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
            let shared = pools_of_several_workers(&all);
            for pool in &shared {
                output::line(format_args!(
                    "pool {pool}: several workers could give one pair to two namespaces, since leases belong to the node that made them: set spec.node"
                ))?;
            }
            output::line(format_args!(
                "{}: {} nodes, {} pools, {} gateways, {} policies, {} problems",
                dir.display(),
                all.nodes.len(),
                all.pools.len(),
                all.gateways.len(),
                all.policies.len(),
                shared.len()
            ))?;
            Ok(if shared.is_empty() { Outcome::Fine } else { Outcome::Problem })
        }
        Err(error @ LoadError::Problems(_)) => {
            output::line(&error)?;
            Ok(Outcome::Problem)
        }
        Err(error) => Err(error.into()),
    }
}

/// Pools from which more than one node could choose: any node may run pods, a gateway node too.
fn pools_of_several_workers(all: &Resources) -> Vec<&PoolName> {
    let open = |pool: &&EgressPool| all.nodes.len() > 1 && pool.node.is_none();
    all.pools.iter().filter(open).map(|pool| &pool.name).collect()
}

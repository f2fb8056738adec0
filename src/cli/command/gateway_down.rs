//! `egretctl gateway down`: this node gives all its egress IPs up. Its worker side, and what both
//! sides share, stay; `egretctl gc` removes the latter.

use egret_egress::apply;

use crate::error::CliError;
use crate::node::Local;
use crate::output::{self, Outcome};
use crate::role::GatewayRecord;

/// Removes what `gateway up` made: the ways out first, filters last.
pub(crate) fn run(local: &Local) -> Result<Outcome, CliError> {
    let _locks = local.lock_shared_objects()?;
    let Some(GatewayRecord { objects }) = local.gateway()? else {
        output::line("no gateway is up on this node")?;
        return Ok(Outcome::Fine);
    };
    let failures = apply::remove_all(&mut local.kernel(), &objects);
    for failure in &failures {
        output::line(failure)?;
    }
    if !failures.is_empty() {
        return Ok(Outcome::Problem);
    }
    local.gateway_record().remove()?;
    output::line("gateway down")?;
    Ok(Outcome::Fine)
}

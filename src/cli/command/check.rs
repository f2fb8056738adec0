//! `egretctl check`: what the kernel holds of attachments against the record of their ADD.

use egret_types::ContainerId;

use crate::args::Format;
use crate::attached::Attached;
use crate::error::CliError;
use crate::node::{Local, Node};
use crate::output::{self, Outcome};

/// Checks the attachments of one container, or all.
pub(crate) fn run(
    local: Local,
    container: Option<&ContainerId>,
    format: Format,
) -> Result<Outcome, CliError> {
    let mut records = local.records()?;
    if let Some(container) = container {
        records.live.retain(|(attachment, _)| attachment.container_id == *container);
        if records.live.is_empty() {
            return Err(CliError::NoAttachment(container.clone()));
        }
    }
    let node = Node::read(local)?;
    let look = |(attachment, record)| Attached::look(&node.local, Some(&node), attachment, record);
    let found: Vec<Attached> =
        records.live.iter().map(|(a, r)| (a, r)).map(look).collect::<Result<_, _>>()?;
    match format {
        Format::Json => output::json(&found)?,
        Format::Table => print(&found)?,
    }
    let fine = found.iter().all(|attached| attached.differences.is_empty());
    Ok(if fine { Outcome::Fine } else { Outcome::Problem })
}

fn print(found: &[Attached]) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> = found.iter().map(Attached::row).collect();
    output::table(&Attached::HEADERS, &rows)?;
    for attached in found {
        for difference in &attached.differences {
            output::line(format_args!("{}: {difference}", attached.container_id))?;
        }
    }
    Ok(())
}

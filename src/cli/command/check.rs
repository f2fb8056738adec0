//! `egretctl check`: what the kernel holds of attachments against the record of their ADD.

use egret_types::ContainerId;

use crate::args::Format;
use crate::attached::{self, Attached};
use crate::error::CliError;
use crate::node::{Local, Node};
use crate::output::{self, Outcome};

/// Checks the attachments of one container, or all.
pub(crate) fn run(
    local: &Local,
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
    let mut outcome = Outcome::Fine;
    // Resources that cannot be read say nothing of what ADD made.
    let node = told(Node::read(local.clone()), &mut outcome);
    let topology = node.as_ref().and_then(|node| told(node.topology(), &mut outcome));
    let found = attached::look_at_all(local, topology.as_ref(), &records.live)?;
    match format {
        Format::Json => output::json(&found)?,
        Format::Table => print(&found)?,
    }
    let fine = found.iter().all(|attached| attached.differences.is_empty());
    Ok(if fine { outcome } else { Outcome::Problem })
}

/// The answer is a list of attachments: what concerns none of them alone goes to stderr.
fn told<T>(answer: Result<T, CliError>, outcome: &mut Outcome) -> Option<T> {
    if let Err(error) = &answer {
        output::complain(error);
        *outcome = Outcome::Problem;
    }
    answer.ok()
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

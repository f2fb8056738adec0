//! The attachments of this node as they should be and as they are: what `egretctl check` and
//! `egretctl status` tell of each.

use egret_egress::apply;
use egret_egress::desired::identity_fdb;
use egret_egress::kernel::Failure;
use egret_egress::object::Placed;
use egret_egress::record::{AttachmentRecord, Stage};
use egret_kernel::{LinuxKernel, Netns, Places};
use egret_types::Attachment;
use serde::Serialize;

use crate::error::CliError;
use crate::node::{Local, Node};

/// One attachment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attached {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
    pub(crate) network: String,
    /// `namespace/name`, as far as the runtime told.
    pub(crate) pod: String,
    /// The addresses it leaves with.
    #[serde(rename = "egressIPs")]
    pub(crate) egress_ips: Vec<String>,
    /// What is not as ADD made it, or as the resources want it today.
    pub(crate) differences: Vec<String>,
}

impl Attached {
    /// Looks at one attachment. Without the resources, where its frames go is not compared.
    pub(crate) fn look(
        local: &Local,
        node: Option<&Node>,
        attachment: &Attachment,
        record: &AttachmentRecord,
    ) -> Result<Self, CliError> {
        let pod = &record.pod;
        let parts = [pod.namespace.as_ref().map(ToString::to_string), pod.name.clone()];
        let addresses = record.leases.iter().flat_map(|lease| lease.pair.iter());
        Ok(Self {
            container_id: attachment.container_id.to_string(),
            ifname: attachment.ifname.to_string(),
            network: attachment.network.to_string(),
            pod: parts.into_iter().flatten().collect::<Vec<_>>().join("/"),
            egress_ips: addresses.map(|(_, address)| address.to_string()).collect(),
            differences: differences(local, node, record)?,
        })
    }

    /// Its row in a table.
    pub(crate) fn row(&self) -> Vec<String> {
        let state = match self.differences.len() {
            0 => "as recorded".to_owned(),
            1 => "1 difference".to_owned(),
            count => format!("{count} differences"),
        };
        let ips = self.egress_ips.join(",");
        vec![self.container_id.clone(), self.ifname.clone(), self.pod.clone(), ips, state]
    }

    /// The headers of [`Attached::row`].
    pub(crate) const HEADERS: [&str; 5] =
        ["CONTAINER ID", "INTERFACE", "POD", "EGRESS IPS", "STATE"];
}

fn differences(
    local: &Local,
    node: Option<&Node>,
    record: &AttachmentRecord,
) -> Result<Vec<String>, CliError> {
    if record.stage == Stage::Pending {
        return Ok(vec![
            "its ADD was not finished, or is at work; DEL or ADD again ends it".into(),
        ]);
    }
    if !has_namespace(record) {
        let path = record.netns.path.display();
        return Ok(vec![format!(
            "its network namespace {path} is gone, and no DEL came; see egretctl gc"
        )]);
    }
    let (egret, pod) = (local.config.netns.clone(), Some(record.netns.path.clone()));
    let mut kernel = LinuxKernel::new(Places { egret, pod });
    let mut found = Vec::new();
    for objects in [&record.shared, &record.objects, &toward_gateways(node, record)?] {
        found.extend(apply::differences(&mut kernel, objects)?);
    }
    Ok(found)
}

/// The namespace is the one in which ADD was, not another one under its path.
fn has_namespace(record: &AttachmentRecord) -> bool {
    Netns::open(&record.netns.path).is_ok_and(|netns| netns.inode() == record.netns.inode)
}

/// Where its frames go is not in the record: it follows the resources of today.
fn toward_gateways(
    node: Option<&Node>,
    record: &AttachmentRecord,
) -> Result<Vec<Placed>, CliError> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let topology = node.topology()?;
    let entry = |lease: &egret_egress::record::LeaseRecord| {
        Ok(identity_fdb(lease.identity, topology.owner(&lease.pool)?))
    };
    record.leases.iter().map(entry).collect()
}

/// A namespace that does not exist has none of what is asked for.
pub(crate) fn unless_gone<T: Default>(answer: Result<T, Failure>) -> Result<T, Failure> {
    match answer {
        Err(Failure::NoNamespace { .. }) => Ok(T::default()),
        answer => answer,
    }
}

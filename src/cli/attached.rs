//! The attachments of this node as they should be and as they are: what `egretctl check` and
//! `egretctl status` tell of each.

use std::collections::BTreeMap;
use std::time::Duration;

use egret_egress::apply;
use egret_egress::desired::{Names, identity_fdb};
use egret_egress::links;
use egret_egress::object::Placed;
use egret_egress::record::{AttachmentRecord, Stage};
use egret_egress::topology::Topology;
use egret_kernel::{LinuxKernel, Netns};
use egret_types::Attachment;
use serde::Serialize;

use crate::error::CliError;
use crate::node::Local;

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
    /// Whether ADD gave it a pod guard.
    pub(crate) guarded: bool,
    /// What is not as ADD made it, or as the resources want it today.
    pub(crate) differences: Vec<String>,
}

/// ADD and DEL go on beside us: what differs is looked at again, so many times.
const LOOKS: usize = 15;
/// For so long each time, unless none of them is at work.
const PAUSE: Duration = Duration::from_millis(200);

/// What is told of each of these attachments; of those that go away meanwhile, nothing. Without the
/// topology, where their frames go is not compared.
pub(crate) fn look_at_all(
    local: &Local,
    topology: Option<&Topology<'_>>,
    records: &[(Attachment, AttachmentRecord)],
) -> Result<Vec<Attached>, CliError> {
    let look = |(attachment, record): &(Attachment, AttachmentRecord)| {
        (attachment.clone(), Attached::look(local, topology, attachment, record))
    };
    let mut found: BTreeMap<Attachment, Attached> = records.iter().map(look).collect();
    for _ in 1..LOOKS {
        let differing = found.iter().filter(|(_, attached)| !attached.differences.is_empty());
        let differing: Vec<Attachment> = differing.map(|(it, _)| it.clone()).collect();
        if differing.is_empty() {
            break;
        }
        // Who gets it sees no half of an ADD or DEL. They come before us: we never wait in a queue.
        let alone = local.lock_node_within(PAUSE);
        for attachment in differing {
            match local.record(&attachment)? {
                None => drop(found.remove(&attachment)),
                Some(record) => found.extend([look(&(attachment, record))]),
            }
        }
        if alone.is_ok() {
            break;
        }
    }
    Ok(found.into_values().collect())
}

impl Attached {
    fn look(
        local: &Local,
        topology: Option<&Topology<'_>>,
        attachment: &Attachment,
        record: &AttachmentRecord,
    ) -> Self {
        let pod = &record.pod;
        let parts = [pod.namespace.as_ref().map(ToString::to_string), pod.name.clone()];
        let addresses = record.leases.iter().flat_map(|lease| lease.pair.iter());
        Self {
            container_id: attachment.container_id.to_string(),
            ifname: attachment.ifname.to_string(),
            network: attachment.network.to_string(),
            pod: parts.into_iter().flatten().collect::<Vec<_>>().join("/"),
            egress_ips: addresses.map(|(_, address)| address.to_string()).collect(),
            guarded: record.guard().next().is_some(),
            differences: differences(local, topology, (attachment, record)),
        }
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

/// What cannot be looked at is one too: it hides neither the others nor other attachments.
fn differences(
    local: &Local,
    topology: Option<&Topology<'_>>,
    (attachment, record): (&Attachment, &AttachmentRecord),
) -> Vec<String> {
    let mut kernel = match kernel(local, record) {
        Ok(kernel) => kernel,
        Err(sentence) => return vec![sentence],
    };
    let (entries, mut found) = toward_gateways(topology, record);
    for objects in [&record.shared, &record.objects, &entries] {
        let differing = apply::differences(&mut kernel, objects);
        found.extend(differing.unwrap_or_else(|failure| vec![failure.to_string()]));
    }
    match links::difference(&mut kernel, &Names::of(attachment), record) {
        Ok(renewed) => found.extend(renewed),
        Err(failure) => found.push(failure.to_string()),
    }
    found
}

/// The kernel with the pod of an attachment, whose namespace is the one in which ADD was, not
/// another one under its path. Or why there is none to compare with its record.
pub(crate) fn kernel(local: &Local, record: &AttachmentRecord) -> Result<LinuxKernel, String> {
    if record.stage == Stage::Pending {
        return Err("its ADD was not finished, or is at work; DEL or ADD again ends it".into());
    }
    let opened = Netns::open(&record.netns.path).ok();
    let Some(netns) = opened.filter(|netns| netns.inode() == record.netns.inode) else {
        let path = record.netns.path.display();
        return Err(format!(
            "its network namespace {path} is gone, and no DEL came; see egretctl gc"
        ));
    };
    LinuxKernel::with_pod(local.config.netns.clone(), netns).map_err(|failure| failure.to_string())
}

/// Where its frames go is not in the record: it follows the resources of today. And why nothing
/// follows from them.
fn toward_gateways(
    topology: Option<&Topology<'_>>,
    record: &AttachmentRecord,
) -> (Vec<Placed>, Vec<String>) {
    let (mut entries, mut unknown) = (vec![], vec![]);
    for lease in &record.leases {
        match topology.map(|topology| topology.owner(&lease.pool)) {
            None => {}
            Some(Ok(owner)) => entries.push(identity_fdb(lease.identity, owner)),
            Some(Err(error)) => unknown.push(error.to_string()),
        }
    }
    (entries, unknown)
}

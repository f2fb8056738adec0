//! Whether the pod of an attachment still exists, and what of the attachment's record can still be
//! its own. DEL, GC and `egretctl gc` ask the same, and must come to the same answer.

use egret_types::Attachment;

use crate::desired::Names;
use crate::kernel::{Failure, Kernel, Link, unless_gone};
use crate::object::{Object, Place, Placed};
use crate::record::AttachmentRecord;

/// What the kernel shows of the pod of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The inode of the namespace that is now where ADD found the pod's, or where the caller says.
    pub netns: Option<u64>,
    /// The node's end of the pod's link exists, and with it the namespace of its other end.
    pub link: bool,
}

impl Sighting {
    /// Looks for the link.
    pub fn of(
        kernel: &mut dyn Kernel,
        attachment: &Attachment,
        netns: Option<u64>,
    ) -> Result<Self, Failure> {
        let name = Names::of(attachment).node;
        let links = unless_gone(kernel.list_links(Place::Egret))?;
        Ok(Self { netns, link: links.iter().any(|link| link.name == name) })
    }

    /// Nothing of the pod is there in this boot: neither its link nor its namespace. One alone is
    /// evidence that it lives: a pod may delete its link, and a path may be out of sight.
    pub fn is_nothing(self, record: &AttachmentRecord, boot: &str) -> bool {
        let netns = self.netns == Some(record.netns.inode);
        record.netns.boot_id != boot || !(self.link || netns)
    }

    /// What of a record can still be its own. Nothing after a reboot: numbers of links and addresses
    /// have been given anew. In the pod's namespace nothing when that is another one now: runtimes
    /// come late, with a path that by then may name the namespace of another pod, or the node's. The
    /// kernel gives the number of a dead namespace out again, so it counts only while the pod's link,
    /// which ends with the namespace, is there.
    pub fn remaining(self, record: &AttachmentRecord, boot: &str) -> Vec<Placed> {
        if record.netns.boot_id != boot {
            return Vec::new();
        }
        let same = self.link && self.netns == Some(record.netns.inode);
        // The link between both namespaces is removed from the other side.
        let elsewhere = |placed: &&Placed| {
            placed.place != Place::Pod || matches!(placed.object, Object::Veth(_))
        };
        record.objects.iter().filter(|placed| same || elsewhere(placed)).cloned().collect()
    }
}

/// A link of the egret namespace is the node's end of a pod's: a veth, which lives as long as the
/// pod's namespace.
pub fn is_of_a_pod(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Decision;
    use crate::record::{NetnsRecord, PodRecord, Stage};

    fn record() -> AttachmentRecord {
        let netns =
            NetnsRecord { path: "/run/netns/x".into(), inode: 7, boot_id: "now".to_owned() };
        AttachmentRecord {
            stage: Stage::Committed,
            netns,
            pod: PodRecord::default(),
            leases: Vec::new(),
            decision: Decision::default(),
            shared: Vec::new(),
            links: None,
            objects: Vec::new(),
        }
    }

    #[test]
    fn a_pod_is_gone_when_neither_its_link_nor_its_namespace_is_there() {
        for (netns, link, boot, gone) in [
            (Some(7), true, "now", false),
            (None, true, "now", false),
            (Some(7), false, "now", false),
            (Some(8), false, "now", true),
            (None, false, "now", true),
            (Some(7), true, "before", true),
        ] {
            let seen = Sighting { netns, link };
            assert_eq!(seen.is_nothing(&record(), boot), gone, "{seen:?} {boot}");
        }
    }
}

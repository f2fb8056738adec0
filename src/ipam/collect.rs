//! GC of holders: those of attachments that nobody has any more.

use egret_types::{Attachment, NetworkName};

use crate::{
    Holder, HolderNetns, HolderPort, Ipam, LeasePort,
    ports::{Lookup, PortError},
};

/// What became of the holders of a network.
#[derive(Debug, Default)]
pub struct Collected {
    /// Whose holders were removed. Their leases stay reserved for their owners.
    pub removed: Vec<Attachment>,
    /// Those that resisted, and why.
    pub failed: Vec<(Attachment, PortError)>,
}

impl<L: LeasePort, H: HolderPort> Ipam<'_, L, H> {
    /// Removes the holders of a network's attachments, except those that the runtime still has,
    /// those whose namespace lives, and those that were written since this call began: a runtime
    /// may know less than the kernel, and its list is older than the call.
    ///
    /// Guarantees: repeatable; one holder that resists keeps no other. Assumes: no two calls for one
    /// attachment at a time, which every runtime sees to.
    ///
    /// # Errors
    /// If the holders cannot be listed.
    pub fn gc(
        &self,
        network: &NetworkName,
        has: impl Fn(&Attachment) -> bool,
        lives: impl Fn(&HolderNetns) -> bool,
    ) -> Result<Collected, PortError> {
        let mut collected = Collected::default();
        for holder in self.holders.list()?.found {
            let attachment = &holder.attachment;
            let alive = holder.boot == self.stamps().clock().boot
                && holder.netns.as_ref().is_some_and(&lives);
            let other = holder.purpose != self.holders.purpose();
            if other || attachment.network != *network || has(attachment) || alive {
                continue;
            }
            match self.remove_unchanged(&holder) {
                Ok(true) => collected.removed.push(holder.attachment),
                Ok(false) => {}
                Err(error) => collected.failed.push((holder.attachment, error)),
            }
        }
        Ok(collected)
    }

    fn remove_unchanged(&self, holder: &Holder) -> Result<bool, PortError> {
        let Attachment { container_id, ifname, .. } = &holder.attachment;
        let unchanged = self.holders.get(container_id, ifname)? == Lookup::Found(holder.clone());
        if unchanged {
            self.holders.remove(container_id, ifname)?;
            self.say_farewell(holder);
        }
        Ok(unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootId, Clock, Memory, Purpose, Stamps, Timestamp};

    fn boot(id: &str) -> BootId {
        BootId::try_from(id.to_owned()).unwrap()
    }

    fn attachment(network: &str, container: &str) -> Attachment {
        Attachment {
            network: network.parse().unwrap(),
            container_id: container.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    fn put(memory: &Memory, attachment: &Attachment, netns: Option<u64>, at: &str) {
        let netns = netns.map(|inode| HolderNetns { path: "/run/netns/x".into(), inode });
        let (attachment, boot) = (attachment.clone(), boot(at));
        let since = Timestamp(0);
        let (purpose, leases) = (Purpose::Egress, Vec::new());
        memory.put(&Holder { attachment, purpose, netns, boot, leases, since }).unwrap();
    }

    /// The kernel shows namespace 7.
    fn gc(memory: &Memory, valid: &[&Attachment]) -> Vec<Attachment> {
        let stamps = Stamps::new(Clock { now: Timestamp(0), boot: boot("now"), uptime: 0 }, 0);
        let ipam = Ipam::new((memory, memory), &stamps);
        let network = "podnet".parse().unwrap();
        let collected = ipam.gc(&network, |a| valid.contains(&a), |netns| netns.inode == 7);
        let mut removed = collected.unwrap().removed;
        removed.sort();
        removed
    }

    #[test]
    fn items_62_and_64_what_nobody_has_goes_once_and_the_rest_stays() {
        let memory = Memory::default();
        let of = |container| attachment("podnet", container);
        let [valid, gone, alive, rebooted] = ["valid", "gone", "alive", "rebooted"].map(of);
        put(&memory, &valid, Some(1), "now");
        put(&memory, &gone, Some(2), "now");
        put(&memory, &alive, Some(7), "now");
        put(&memory, &rebooted, Some(7), "before");
        put(&memory, &of("unnamed"), None, "now");
        assert_eq!(gc(&memory, &[&valid]), [gone, rebooted, of("unnamed")]);
        assert_eq!(gc(&memory, &[&valid]), []);
        assert_eq!(gc(&memory, &[]), [valid]);
        let left: Vec<_> = memory.list().unwrap().found;
        assert_eq!(left.into_iter().map(|h| h.attachment).collect::<Vec<_>>(), [alive]);
    }

    #[test]
    fn item_66_holders_of_another_network_stay() {
        let memory = Memory::default();
        put(&memory, &attachment("other", "c1"), Some(1), "now");
        assert_eq!(gc(&memory, &[]), []);
        assert_eq!(memory.list().unwrap().found.len(), 1);
    }
}

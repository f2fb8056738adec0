//! What a machine that starts again does to a node: nothing of the network is there any more, `/run`
//! is empty, and what is on the disk was written in another boot.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Node, Program};

/// The boot id that aged records have.
const ANOTHER_BOOT: &str = "11111111-2222-3333-4444-555555555555";

impl Node {
    /// Takes away what of the product would not survive a start of the machine. Pods are namespaces
    /// of the test: it ends them itself.
    pub fn reboot(&self) {
        for directory in ["attachments", "holders"] {
            age(&self.state_dir().join(directory));
        }
        if self.egress_ns().exists() {
            // The namespace itself goes later, the name of its link must be free at once.
            self.egress_ns().exec("ip link del egret0");
            Program::new("ip").args(["netns", "del", self.egress_ns().name()]).run().success();
        }
        std::fs::remove_dir_all(self.run_dir()).ok();
        let tables = self.ns().exec("nft list tables").success();
        for table in tables.lines().filter(|line| line.contains(" egret")) {
            let delete = table.replacen("table", "delete table", 1);
            self.ns().exec(&format!("nft {delete}")).success();
        }
    }
}

/// Gives every record of a directory the boot id of another boot, as if it had been written then.
fn age(directory: &Path) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_else(|e| panic!("boot_id: {e}"));
    for name in crate::reaper::names(directory) {
        let path = directory.join(&name);
        // What a kill left is no record.
        if name.starts_with(".tmp-") {
            continue;
        }
        let shown = path.display();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let record = text.trim_end().split_once("\"record\":").and_then(|(_, record)| {
            let record = record.strip_suffix('}')?;
            (record.contains(boot.trim()) || record.contains(ANOTHER_BOOT)).then_some(record)
        });
        let record = record.unwrap_or_else(|| panic!("{shown} has no boot id: {text}"));
        let record = record.replace(boot.trim(), ANOTHER_BOOT);
        let digest = Sha256::digest(&record);
        let sum = digest[..8].iter().fold(String::new(), |sum, byte| format!("{sum}{byte:02x}"));
        let aged = format!("{{\"version\":1,\"sum\":\"{sum}\",\"record\":{record}}}\n");
        #[expect(clippy::disallowed_methods, reason = "nobody reads it meanwhile")]
        let written = std::fs::write(&path, aged);
        written.unwrap_or_else(|e| panic!("{shown}: {e}"));
    }
}

//! `host-local` on directories of its own.

use std::fs;
use std::path::{Path, PathBuf};

use egret_tests::PluginSet;
use serde_json::json;

use super::store::{environment, write};
use crate::execution::{Execution, milliseconds};

/// A `dataDir`.
#[derive(Debug)]
pub(crate) struct HostLocal {
    data: PathBuf,
}

impl HostLocal {
    /// With so many addresses given, as it writes them.
    pub(crate) fn new(directory: &Path, leases: u32) -> Self {
        let network = directory.join("podnet");
        fs::create_dir_all(&network).unwrap_or_else(|e| panic!("{}: {e}", network.display()));
        let mut last = String::new();
        for n in 0..leases {
            let [_, _, high, low] = (n + 2).to_be_bytes();
            last = format!("10.9.{high}.{low}");
            write(&network.join(&last), &format!("standing-{n}\r\neth0"));
        }
        write(&network.join("last_reserved_ip.0"), &last);
        Self { data: directory.to_owned() }
    }

    /// ADD and DEL of a pod, in milliseconds.
    pub(crate) fn round(&self, container: &str) -> [f64; 2] {
        let config = json!({
            "cniVersion": "1.0.0", "name": "podnet", "type": "bridge",
            "ipam": { "type": "host-local", "dataDir": self.data,
                      "ranges": [[{ "subnet": "10.9.0.0/16" }]] },
        })
        .to_string();
        let program = PluginSet::Newest.directory().join("host-local");
        ["ADD", "DEL"].map(|command| {
            let environment = environment(command, container);
            let took = Execution::new(program.clone(), environment, config.clone()).run();
            milliseconds(took.wall)
        })
    }
}

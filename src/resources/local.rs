//! What is configured on one node alone: the own keys of the `egret` plugin in the network
//! configuration. Plugin and command line read them through this one type.

use std::path::PathBuf;

use egret_types::{LinkName, NodeName};
use serde::Deserialize;

/// Own keys of `egret`; all may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalConfig {
    /// Directory of resources.
    pub resources_dir: PathBuf,
    /// Leases and records of attachments; survives a reboot.
    pub state_dir: PathBuf,
    /// Locks; may vanish at a reboot.
    pub run_dir: PathBuf,
    /// Egret's own network namespace on this node.
    pub netns: PathBuf,
    /// This node's `EgressNode`; absent: the host name.
    pub node_name: Option<NodeName>,
    /// Where the network configuration list with the plugin's `name` is looked for.
    pub conf_dir: PathBuf,
    /// See [`Underlay`].
    pub underlay: Underlay,
    /// Which lines are logged.
    pub log_level: LogLevel,
    /// Where they go; absent: stderr.
    pub log_file: Option<PathBuf>,
    /// What GC means that names no valid attachments: that none is valid.
    pub gc_without_list: bool,
}

/// Keys below `underlay`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Underlay {
    /// The link that the tunnel's outer packets leave on; absent: found by routing.
    pub interface: Option<LinkName>,
}

/// How much is logged; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What is probably not meant so.
    Warn,
    /// What was done.
    Info,
    /// How it was done.
    Debug,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            resources_dir: "/etc/egret/resources.d".into(),
            state_dir: "/var/lib/egret".into(),
            run_dir: "/run/egret".into(),
            netns: "/run/netns/egret".into(),
            node_name: None,
            conf_dir: "/etc/cni/net.d".into(),
            underlay: Underlay::default(),
            log_level: LogLevel::Info,
            log_file: None,
            gc_without_list: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_their_defaults() {
        let read = |text| serde_json::from_str::<LocalConfig>(text);
        assert_eq!(read("{}").unwrap(), LocalConfig::default());
        assert!(read("{\"gcWithoutList\": true}").unwrap().gc_without_list);
        assert!(read("{\"logLevel\": \"loud\"}").is_err());
    }
}

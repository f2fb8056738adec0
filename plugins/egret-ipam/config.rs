//! The plugin's own keys. All stand in the `ipam` section; `egret` fills them in when it calls.

use std::path::PathBuf;

use egret_cni::{CniError, Code};
use egret_ipam::Purpose;
use egret_resources::LocalConfig;
use egret_types::NodeName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The part of the network configuration that is ours.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    pub(crate) ipam: IpamSection,
    /// Where addresses of a pod can be asked for: `ips`, and `cni.ips`.
    #[serde(rename = "runtimeConfig")]
    pub(crate) runtime: Option<Value>,
    pub(crate) args: Option<Value>,
}

/// Keys of the `ipam` section. What only ADD needs is kept as it is and read there: DEL must not
/// fail for it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IpamSection {
    resources_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    node_name: Option<String>,
    pub(crate) requests: Option<Value>,
    /// What GC without a list means: that no attachment is valid. `egret` always gives a list.
    pub(crate) gc_without_list: bool,
    /// The keys for pod addresses.
    pub(crate) pools: Option<Value>,
    pub(crate) scope: Option<Value>,
    pub(crate) routes: Option<Value>,
    pub(crate) dns: Option<Value>,
    #[serde(rename = "type")]
    _type: IgnoredAny,
    /// Locks of the node, which `egret` holds; those of leases stand beside the leases.
    #[serde(rename = "runDir")]
    _run_dir: IgnoredAny,
}

impl IpamSection {
    pub(crate) fn resources_dir(&self) -> PathBuf {
        self.resources_dir.clone().unwrap_or_else(|| LocalConfig::default().resources_dir)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| LocalConfig::default().state_dir)
    }

    /// `nodeName`, else the host name.
    pub(crate) fn node(&self) -> Result<NodeName, CniError> {
        let (text, source) = match &self.node_name {
            Some(name) => (name.clone(), "key \"ipam.nodeName\""),
            None => (host_name()?, "the host name, used because \"ipam.nodeName\" is absent,"),
        };
        text.parse().map_err(|error: egret_types::Invalid| {
            CniError::new(Code::INVALID_CONFIG, format!("{source} is wrong: {error}"))
        })
    }

    /// What the attachment gets by this section: whoever names pools wants pod addresses.
    pub(crate) fn purpose(&self) -> Purpose {
        if self.pools.is_some() { Purpose::Address } else { Purpose::Egress }
    }

    /// A key that would have no effect is refused, not ignored.
    pub(crate) fn refuse_other_purpose(&self) -> Result<(), CniError> {
        let for_pods = [("scope", &self.scope), ("routes", &self.routes), ("dns", &self.dns)];
        let (keys, pools) = match self.purpose() {
            Purpose::Address => (&[("requests", &self.requests)][..], "there as well"),
            Purpose::Egress => (&for_pods[..], "missing"),
        };
        match keys.iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
            None => Ok(()),
            Some((key, value)) => {
                let msg = format!(
                    "key \"ipam.{key}\" is {value} and \"ipam.pools\" is {pools}: a call gives egress pairs to the plugin \
                     \"egret\", or pod addresses"
                );
                Err(CniError::new(Code::UNSUPPORTED_FIELD, msg))
            }
        }
    }
}

fn host_name() -> Result<String, CniError> {
    let host = nix::unistd::gethostname()
        .map_err(|errno| CniError::new(Code::IO_FAILURE, format!("read the host name: {errno}")))?;
    Ok(host.to_string_lossy().into_owned())
}

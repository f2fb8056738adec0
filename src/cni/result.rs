//! The result of an IPAM plugin: what ours prints, and what a delegated one has printed. It has
//! addresses but no interfaces, and may carry keys of its own at the top.

use std::net::IpAddr;

use egret_types::{Family, LinkAddress};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    CniError, CniVersion, Code, Dns, Layout, RawObject, Route, lenient, route::optional_address,
};

/// An entry of `ips`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResultIp {
    /// The address and the length of its network.
    pub address: LinkAddress,
    /// The gateway of its network.
    #[serde(default, deserialize_with = "optional_address")]
    pub gateway: Option<IpAddr>,
}

/// The result of an IPAM plugin.
#[derive(Debug, Clone, Default)]
pub struct IpamResult {
    /// `ips`
    pub ips: Vec<ResultIp>,
    /// `routes`
    pub routes: Vec<Route>,
    /// `dns`
    pub dns: Dns,
    extra: RawObject,
}

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    ips: Vec<ResultIp>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    dns: Dns,
}

const VIEWED: [&str; 3] = ["ips", "routes", "dns"];

#[derive(Serialize)]
struct PrintedIp {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    address: LinkAddress,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

impl IpamResult {
    /// Reads what a delegated plugin has printed.
    ///
    /// # Errors
    /// [`Code::DECODING_FAILURE`] if it is no result.
    pub fn parse(text: &[u8]) -> Result<Self, CniError> {
        let invalid = |error: &dyn std::fmt::Display| {
            CniError::new(Code::DECODING_FAILURE, format!("not an IPAM result: {error}"))
        };
        let extra: RawObject = serde_json::from_slice(text).map_err(|error| invalid(&error))?;
        let viewed = extra.select(|key| VIEWED.iter().any(|name| name.eq_ignore_ascii_case(key)));
        let viewed = viewed.map_err(|error| invalid(&error))?;
        let (View { ips, routes, dns }, _) =
            lenient::read(viewed, &[]).map_err(|refusal| invalid(&refusal))?;
        Ok(Self { ips, routes, dns, extra })
    }

    /// A key at the top that is none of the specification's, such as `egret.dev/leases`.
    ///
    /// # Errors
    /// [`Code::DECODING_FAILURE`] if its value is not of this type.
    pub fn extra<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CniError> {
        let value = self.extra.get(key).map(|value| serde_json::from_str(value.get()));
        value.transpose().map_err(|error| {
            let msg = format!("key {key:?} of the IPAM result is wrong: {error}");
            CniError::new(Code::DECODING_FAILURE, msg)
        })
    }

    /// Sets such a key.
    ///
    /// # Errors
    /// [`Code::INTERNAL`] if `value` does not become JSON.
    pub fn set_extra(&mut self, key: &str, value: &impl Serialize) -> Result<(), CniError> {
        self.extra.set(key, value).map_err(failed)
    }

    /// The result to print.
    ///
    /// # Errors
    /// [`Code::INTERNAL`] if it does not become JSON.
    pub fn to_json(&self, version: CniVersion) -> Result<String, CniError> {
        let layout = version.layout();
        let mut object = RawObject::default();
        object.set("cniVersion", &version.as_str()).map_err(failed)?;
        let ips: Vec<_> = self.ips.iter().map(|ip| PrintedIp::new(ip, layout)).collect();
        object.set("ips", &ips).map_err(failed)?;
        if !self.routes.is_empty() {
            let routes: Vec<_> = self.routes.iter().map(|route| route.in_layout(layout)).collect();
            object.set("routes", &routes).map_err(failed)?;
        }
        if layout == Layout::Legacy || !self.dns.is_empty() {
            object.set("dns", &self.dns).map_err(failed)?;
        }
        for (key, value) in self.extra.iter() {
            if object.get(key).is_none()
                && !VIEWED.iter().any(|name| name.eq_ignore_ascii_case(key))
            {
                object.set(key, &value).map_err(failed)?;
            }
        }
        serde_json::to_string(&object).map_err(failed)
    }
}

impl PrintedIp {
    fn new(ip: &ResultIp, layout: Layout) -> Self {
        let version = match (layout, ip.address.family()) {
            (Layout::One, _) => None,
            (Layout::Legacy, Family::V4) => Some("4"),
            (Layout::Legacy, Family::V6) => Some("6"),
        };
        Self { version, address: ip.address, gateway: ip.gateway }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
fn failed(error: serde_json::Error) -> CniError {
    CniError::caused_by(Code::INTERNAL, &error).in_context("write the result")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24","gateway":"10.0.0.1"},{"address":"fd00::5/64"}],"routes":[{"dst":"0.0.0.0/0","mtu":1400}],"egret.dev/leases":[{"pool":"a","index":3}]}"#;

    #[test]
    fn a_result_prints_what_it_reads() {
        let result = IpamResult::parse(PRINTED.as_bytes()).unwrap();
        assert_eq!(result.to_json(CniVersion::V1_0_0).unwrap(), PRINTED);
        let leases: Vec<serde_json::Value> = result.extra("egret.dev/leases").unwrap().unwrap();
        assert_eq!(leases, [serde_json::json!({"pool": "a", "index": 3})]);
        assert_eq!(result.extra::<u8>("egret.dev/other"), Ok(None));
        let error = result.extra::<u8>("egret.dev/leases").unwrap_err();
        assert_eq!(error.code(), Code::DECODING_FAILURE);
        assert!(error.msg().contains("egret.dev/leases"));
    }

    #[test]
    fn item_21_each_version_has_its_layout() {
        let result = IpamResult::parse(PRINTED.as_bytes()).unwrap();
        for version in [CniVersion::V0_3_1, CniVersion::V0_4_0] {
            assert_eq!(
                result.to_json(version).unwrap(),
                format!(
                    "{{\"cniVersion\":\"{version}\",\
                     \"ips\":[{{\"version\":\"4\",\"address\":\"10.0.0.5/24\",\"gateway\":\"10.0.0.1\"}},\
                     {{\"version\":\"6\",\"address\":\"fd00::5/64\"}}],\
                     \"routes\":[{{\"dst\":\"0.0.0.0/0\"}}],\"dns\":{{}},\
                     \"egret.dev/leases\":[{{\"pool\":\"a\",\"index\":3}}]}}"
                )
            );
        }
    }

    #[test]
    fn a_result_made_here_has_what_was_put_in() {
        let mut result = IpamResult::default();
        result.set_extra("egret.dev/leases", &[1, 2]).unwrap();
        result.dns.search.push("example.org".to_owned());
        assert_eq!(
            result.to_json(CniVersion::V1_0_0).unwrap(),
            r#"{"cniVersion":"1.0.0","ips":[],"dns":{"search":["example.org"]},"egret.dev/leases":[1,2]}"#
        );
    }

    #[test]
    fn what_is_no_result_is_a_decoding_failure() {
        for text in ["", "[]", r#"{"ips":[{"address":""}]}"#, r#"{"ips":"x"}"#] {
            let error = IpamResult::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), Code::DECODING_FAILURE, "{text}");
        }
    }
}

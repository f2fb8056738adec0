//! `CNI_ARGS`: deprecated, but the only pod identity that every runtime gives.

use std::net::IpAddr;

use egret_types::{Invalid, LinkAddress, MacAddr, Namespace};

use crate::{CniError, Code, Environment};

const VARIABLE: &str = "CNI_ARGS";

/// What `CNI_ARGS` says. An empty value counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniArgs {
    /// `K8S_POD_NAMESPACE`
    pub pod_namespace: Option<Namespace>,
    /// `K8S_POD_NAME`
    pub pod_name: Option<String>,
    /// `K8S_POD_UID`
    pub pod_uid: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`
    pub infra_container_id: Option<String>,
    /// `IP`, with commas between several
    pub ips: Vec<RequestedIp>,
    /// `MAC`
    pub mac: Option<MacAddr>,
}

/// An address that somebody asks for, with or without the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedIp {
    /// The address.
    pub address: IpAddr,
    /// The length, if it was given.
    pub length: Option<u8>,
}

impl std::str::FromStr for RequestedIp {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, length: None });
        }
        let address: LinkAddress =
            text.parse().map_err(|_| Invalid::new(text, "an address, with or without /length"))?;
        Ok(Self { address: address.address(), length: Some(address.length()) })
    }
}

impl CniArgs {
    /// Reads the variable strictly.
    ///
    /// # Errors
    /// [`Code::INVALID_ENVIRONMENT`] for a pair without exactly one `=`, a wrong value, and an
    /// unknown key unless `IgnoreUnknown` is `1` or `true`.
    pub(crate) fn read(environment: &Environment) -> Result<Self, CniError> {
        let Some(text) = environment.get(VARIABLE) else { return Ok(Self::default()) };
        let text = text.to_str().ok_or_else(|| refusal("is not UTF-8"))?;
        let (mut args, mut unknown, mut ignore) = (Self::default(), Vec::new(), false);
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = split(pair)?;
            if key == "IgnoreUnknown" {
                ignore = boolean(value)?;
            } else if !args.set(key, value)? {
                unknown.push(pair);
            }
        }
        if ignore || unknown.is_empty() {
            return Ok(args);
        }
        let unknown = unknown.join(", ");
        Err(refusal(format!("has unknown keys: {unknown}; IgnoreUnknown=1 accepts them")))
    }

    /// Reads what can be read, for DEL: it needs none of this, and a pod must not hang in
    /// termination because of an argument.
    pub(crate) fn read_leniently(environment: &Environment) -> Self {
        let mut args = Self::default();
        let text = environment.get(VARIABLE).unwrap_or_default().to_string_lossy();
        for (key, value) in text.split(';').filter_map(|pair| split(pair).ok()) {
            // A value that cannot be read leaves its field absent.
            args.set(key, value).ok();
        }
        args
    }

    /// `false` for a key that is not known.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, CniError> {
        let wrong = |error: Invalid| refusal(format!("has a wrong {key}: {error}"));
        let text = Some(value).filter(|value| !value.is_empty());
        let owned = text.map(str::to_owned);
        match key {
            "K8S_POD_NAMESPACE" => {
                self.pod_namespace = text.map(str::parse).transpose().map_err(wrong)?;
            }
            "K8S_POD_NAME" => self.pod_name = owned,
            "K8S_POD_UID" => self.pod_uid = owned,
            "K8S_POD_INFRA_CONTAINER_ID" => self.infra_container_id = owned,
            "IP" => {
                let parts = text.into_iter().flat_map(|text| text.split(','));
                self.ips = parts.map(str::parse).collect::<Result<_, _>>().map_err(wrong)?;
            }
            "MAC" => self.mac = text.map(str::parse).transpose().map_err(wrong)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn refusal(what: impl std::fmt::Display) -> CniError {
    CniError::new(Code::INVALID_ENVIRONMENT, format!("{VARIABLE} {what}"))
}

fn split(pair: &str) -> Result<(&str, &str), CniError> {
    let parts = pair.split_once('=').filter(|(_, value)| !value.contains('='));
    parts.ok_or_else(|| refusal(format!("has the pair {pair:?}, which is not KEY=VALUE")))
}

fn boolean(value: &str) -> Result<bool, CniError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "" | "0" | "false" => Ok(false),
        _ => Err(refusal(format!("has IgnoreUnknown={value}, which is not 1, 0, true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(args: &str) -> Environment {
        Environment::from_iter([(VARIABLE, args)])
    }

    #[test]
    fn the_pod_is_known_from_every_order_of_pairs() {
        for text in [
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u1;\
             K8S_POD_INFRA_CONTAINER_ID=c1",
            "K8S_POD_UID=u1;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_NAME=web-0;\
             K8S_POD_NAMESPACE=shop;IgnoreUnknown=true;",
        ] {
            let args = CniArgs::read(&environment(text)).unwrap();
            assert_eq!(args.pod_namespace.unwrap().as_str(), "shop");
            assert_eq!(args.pod_name.as_deref(), Some("web-0"));
            assert_eq!(args.pod_uid.as_deref(), Some("u1"));
            assert_eq!(args.infra_container_id.as_deref(), Some("c1"));
        }
    }

    #[test]
    fn item_13_unknown_keys_need_ignore_unknown() {
        for good in ["FOO=bar;IgnoreUnknown=1", "IgnoreUnknown=true;FOO=bar", "IgnoreUnknown=True"]
        {
            assert!(CniArgs::read(&environment(good)).is_ok(), "{good}");
        }
        for bad in ["FOO=bar", "FOO=bar;IgnoreUnknown=0", "IgnoreUnknown=false;FOO=bar"] {
            let error = CniArgs::read(&environment(bad)).unwrap_err();
            assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
            assert!(error.msg().contains("FOO=bar"), "{}", error.msg());
        }
    }

    #[test]
    fn item_14_a_malformed_pair_or_value_is_refused_by_name() {
        for (bad, named) in [
            ("A", "\"A\""),
            ("A=b=c", "\"A=b=c\""),
            ("IgnoreUnknown=1;A", "\"A\""),
            ("IgnoreUnknown=maybe", "IgnoreUnknown=maybe"),
            ("IP=10.0.0.256", "IP"),
            ("IP=10.0.0.1/33", "IP"),
            ("MAC=zz", "MAC"),
            ("K8S_POD_NAMESPACE=Not_A_Name", "K8S_POD_NAMESPACE"),
        ] {
            let error = CniArgs::read(&environment(bad)).unwrap_err();
            assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
            assert!(error.msg().contains("CNI_ARGS") && error.msg().contains(named), "{bad}");
            let lenient = CniArgs::read_leniently(&environment(&format!("{bad};K8S_POD_UID=u1")));
            assert_eq!(lenient.pod_uid.as_deref(), Some("u1"), "DEL with {bad}");
        }
    }

    #[test]
    fn item_15_no_arguments_are_no_pod() {
        for text in ["", "IgnoreUnknown=1", "K8S_POD_NAMESPACE=;K8S_POD_NAME="] {
            assert_eq!(CniArgs::read(&environment(text)).unwrap(), CniArgs::default(), "{text}");
        }
    }

    #[test]
    fn requested_addresses_may_carry_a_length() {
        let args = CniArgs::read(&environment("IP=10.0.0.5/24,fd00::5;MAC=02:00:00:00:00:01"));
        let args = args.unwrap();
        let ip = |text: &str, length| RequestedIp { address: text.parse().unwrap(), length };
        assert_eq!(args.ips, [ip("10.0.0.5", Some(24)), ip("fd00::5", None)]);
        assert_eq!(args.mac.unwrap().to_string(), "02:00:00:00:00:01");
    }
}

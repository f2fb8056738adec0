//! The previous result, which a chained plugin hands on. Its text is kept: what this plugin does
//! not change leaves it letter for letter, keys of others and their order included. What it says is
//! read leniently beside that.

use std::{net::IpAddr, path::Path};

use egret_types::{LinkAddress, LinkName, MacAddr, Mtu};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    CniError, CniVersion, Code, Dns, Layout, RawObject, Route, lenient, route::optional_address,
};

/// An entry of `interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PrevInterface {
    /// The name of the link; text, because it is somebody else's.
    #[serde(default)]
    pub name: String,
    /// Its address, if it is an Ethernet one.
    #[serde(default, deserialize_with = "mac")]
    pub mac: Option<MacAddr>,
    /// The namespace it is in, `CNI_NETNS` of ADD; absent: the node's.
    #[serde(default, deserialize_with = "filled")]
    pub sandbox: Option<String>,
    /// Its MTU.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// An entry of `ips`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PrevIp {
    /// The address and the length of its network.
    pub address: LinkAddress,
    /// The gateway of its network.
    #[serde(default, deserialize_with = "optional_address")]
    pub gateway: Option<IpAddr>,
    /// Position in `interfaces`; absent also for a negative one.
    #[serde(default, deserialize_with = "position")]
    pub interface: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
struct View {
    #[serde(default)]
    interfaces: Vec<PrevInterface>,
    #[serde(default)]
    ips: Vec<PrevIp>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    dns: Dns,
}

const VIEWED: [&str; 4] = ["interfaces", "ips", "routes", "dns"];

/// A link that this plugin made, to be told to those who come after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInterface<'a> {
    /// Its name.
    pub name: &'a LinkName,
    /// Its address.
    pub mac: MacAddr,
    /// `CNI_NETNS` for a link in the container, nothing for one on the node.
    pub sandbox: Option<&'a Path>,
    /// Its MTU; results of the legacy layout have no place for it.
    pub mtu: Option<Mtu>,
}

/// The previous result.
#[derive(Debug, Clone)]
pub struct PrevResult {
    object: RawObject,
    /// The text as it came, as long as nothing has changed.
    verbatim: Option<Box<RawValue>>,
    layout: Layout,
    view: View,
}

impl PrevResult {
    /// Reads the previous result of a configuration of `version`.
    ///
    /// # Errors
    /// [`Code::INVALID_CONFIG`] for what is no result, or one of another layout than `version`.
    pub fn parse(value: &RawValue, version: CniVersion) -> Result<Self, CniError> {
        let invalid = |error: &dyn std::fmt::Display| {
            CniError::new(Code::INVALID_CONFIG, format!("previous result: {error}"))
        };
        let mut object = RawObject::parse(value.get()).map_err(|error| invalid(&error))?;
        let viewed = object.select(|key| VIEWED.iter().any(|name| name.eq_ignore_ascii_case(key)));
        let viewed = viewed.map_err(|error| invalid(&error))?;
        let (view, _) = lenient::read(viewed, &[]).map_err(|refusal| invalid(&refusal))?;
        let stated = stated_version(&object)?;
        let layout = version.layout();
        if stated.is_some_and(|stated| stated.layout() != layout) {
            let stated = stated.map_or("", CniVersion::as_str);
            return Err(invalid(&format_args!(
                "its cniVersion is {stated}, that of the configuration {version}"
            )));
        }
        let mut verbatim = Some(value.to_owned());
        if stated != Some(version) {
            object.set("cniVersion", &version.as_str()).map_err(|error| invalid(&error))?;
            verbatim = None;
        }
        Ok(Self { object, verbatim, layout, view })
    }

    /// `interfaces`
    pub fn interfaces(&self) -> &[PrevInterface] {
        &self.view.interfaces
    }

    /// `ips`
    pub fn ips(&self) -> &[PrevIp] {
        &self.view.ips
    }

    /// `routes`
    pub fn routes(&self) -> &[Route] {
        &self.view.routes
    }

    /// `dns`
    pub fn dns(&self) -> &Dns {
        &self.view.dns
    }

    /// The interface that has an address, if the result says which.
    pub fn interface_of(&self, ip: &PrevIp) -> Option<&PrevInterface> {
        self.view.interfaces.get(ip.interface?)
    }

    /// Appends a link and tells its position. Everything else stays as it is, so that the positions
    /// that `ips` names stay right.
    ///
    /// # Errors
    /// [`Code::INTERNAL`] if what was read a moment ago cannot be written.
    pub fn append_interface(&mut self, link: &NewInterface<'_>) -> Result<usize, CniError> {
        let failed = |error: serde_json::Error| {
            CniError::caused_by(Code::INTERNAL, &error).in_context("append to the previous result")
        };
        let entry = Entry {
            name: link.name.as_str(),
            mac: link.mac,
            sandbox: link.sandbox.map(|path| path.to_string_lossy().into_owned()),
            mtu: link.mtu.filter(|_| self.layout == Layout::One).map(Mtu::bytes),
        };
        let mut entries: Vec<Box<RawValue>> = match self.object.get("interfaces") {
            Some(value) => serde_json::from_str(value.get()).map_err(failed)?,
            None => Vec::new(),
        };
        entries.push(to_raw_value(&entry).map_err(failed)?);
        self.object.set("interfaces", &entries).map_err(failed)?;
        self.verbatim = None;
        self.view.interfaces.push(PrevInterface {
            name: entry.name.to_owned(),
            mac: Some(entry.mac),
            sandbox: entry.sandbox,
            mtu: entry.mtu,
        });
        Ok(entries.len() - 1)
    }

    /// The result to print.
    ///
    /// # Errors
    /// [`Code::INTERNAL`] if what was read before cannot be written.
    pub fn to_json(&self) -> Result<String, CniError> {
        match &self.verbatim {
            Some(text) => Ok(text.get().to_owned()),
            None => serde_json::to_string(&self.object).map_err(|error| {
                CniError::caused_by(Code::INTERNAL, &error).in_context("write the result")
            }),
        }
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    mac: MacAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
}

/// `None` if the result does not say: libcni writes it always, others forget it.
fn stated_version(object: &RawObject) -> Result<Option<CniVersion>, CniError> {
    let Some(value) = object.get("cniVersion") else { return Ok(None) };
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    let stated = text.as_deref().filter(|text| !text.is_empty());
    stated.map(|text| CniVersion::parse(Some(text))).transpose().map_err(|error| {
        let msg = format!("previous result: {}", error.msg());
        CniError::new(Code::INVALID_CONFIG, msg).with_details(error.details())
    })
}

/// Absent for links whose address is not an Ethernet one (InfiniBand has 20 bytes).
fn mac<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MacAddr>, D::Error> {
    Ok(filled(deserializer)?.and_then(|text| text.parse().ok()))
}

fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// Some plugins write -1 where they mean "none".
fn position<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.and_then(|number| number.try_into().ok()))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const TEXT: &str = r#"{ "vendor": {"z": 1.0, "a": 123456789012345678901234567890},
        "cniVersion": "1.0.0",
        "ips": [{"gateway": "", "interface": 0, "address": "10.244.1.7/24", "vendor": null},
                {"address": "fd00::7/64", "interface": -1, "gateway": "fd00::1"}],
        "Interfaces": [{"sandbox": "/run/netns/x", "name": "eth0", "mac": "02:00:00:00:00:01", "pciID": "0"},
                       {"name": "veth1", "sandbox": "", "mac": "", "mtu": 1450}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {} }"#;

    fn parse(text: &str, version: CniVersion) -> Result<PrevResult, CniError> {
        PrevResult::parse(serde_json::from_str(text).unwrap(), version)
    }

    fn link(name: &LinkName) -> NewInterface<'_> {
        NewInterface {
            name,
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
            sandbox: Some(Path::new("/run/netns/x")),
            mtu: Some(Mtu::try_from(1400).unwrap()),
        }
    }

    #[test]
    fn item_25_what_is_not_changed_is_printed_letter_for_letter() {
        assert_eq!(parse(TEXT, CniVersion::V1_0_0).unwrap().to_json().unwrap(), TEXT);
    }

    #[test]
    fn items_26_and_38_what_others_write_is_read_leniently() {
        let result = parse(TEXT, CniVersion::V1_0_0).unwrap();
        let [eth0, veth] = result.interfaces() else { panic!("two interfaces") };
        assert_eq!((eth0.name.as_str(), eth0.sandbox.as_deref()), ("eth0", Some("/run/netns/x")));
        assert_eq!((veth.mac, &veth.sandbox, veth.mtu), (None, &None, Some(1450)));
        let [v4, v6] = result.ips() else { panic!("two addresses") };
        assert_eq!((v4.address.to_string().as_str(), v4.gateway), ("10.244.1.7/24", None));
        assert_eq!(result.interface_of(v4), Some(eth0));
        assert_eq!((v6.interface, v6.gateway), (None, Some("fd00::1".parse().unwrap())));
        assert_eq!(result.interface_of(v6), None);
        assert_eq!(result.routes().len(), 1);
        assert!(result.dns().is_empty());
    }

    #[test]
    fn item_26_an_appended_link_changes_nothing_else() {
        let mut result = parse(TEXT, CniVersion::V1_0_0).unwrap();
        let name = "egr0".parse().unwrap();
        assert_eq!(result.append_interface(&link(&name)).unwrap(), 2);
        assert_eq!(result.interfaces()[2].name, "egr0");
        let before = RawObject::parse(TEXT).unwrap();
        let after = RawObject::parse(&result.to_json().unwrap()).unwrap();
        assert!(before.iter().map(|(key, _)| key).eq(after.iter().map(|(key, _)| key)));
        for ((key, before), (_, after)) in before.iter().zip(after.iter()) {
            if key == "Interfaces" {
                let parse = |value: &RawValue| -> Vec<Box<RawValue>> {
                    serde_json::from_str(value.get()).unwrap()
                };
                let (before, after) = (parse(before), parse(after));
                for (before, after) in before.iter().zip(&after) {
                    assert_eq!(before.get(), after.get());
                }
                assert_eq!(
                    after[2].get(),
                    r#"{"name":"egr0","mac":"02:00:00:00:00:09","sandbox":"/run/netns/x","mtu":1400}"#
                );
            } else {
                assert_eq!(before.get(), after.get(), "{key}");
            }
        }
    }

    #[test]
    fn item_21_an_appended_link_has_no_mtu_in_the_legacy_layout() {
        for version in [CniVersion::V0_3_1, CniVersion::V0_4_0] {
            let mut result = parse(r#"{"interfaces":null}"#, version).unwrap();
            let name = "egr0".parse().unwrap();
            assert_eq!(result.append_interface(&link(&name)).unwrap(), 0);
            assert_eq!(
                result.to_json().unwrap(),
                format!(
                    "{{\"interfaces\":[{{\"name\":\"egr0\",\"mac\":\"02:00:00:00:00:09\",\
                     \"sandbox\":\"/run/netns/x\"}}],\"cniVersion\":\"{version}\"}}"
                )
            );
        }
    }

    #[test]
    fn an_appended_link_stands_in_the_list_that_counts() {
        let text = r#"{"interfaces":[{"name":"a"}],"Interfaces":[{"name":"b"},{"name":"c"}],"interfaces":[{"name":"d"}]}"#;
        let mut result = parse(text, CniVersion::V1_0_0).unwrap();
        let name = "egr0".parse().unwrap();
        assert_eq!(result.append_interface(&link(&name)).unwrap(), 1);
        assert_eq!((result.interfaces().len(), result.interfaces()[0].name.as_str()), (2, "d"));
    }

    #[test]
    fn a_legacy_result_as_go_plugins_print_it_is_read() {
        let text = r#"{"cniVersion":"0.4.0","interfaces":[{"name":"cni0","mac":"aa:bb:cc:dd:ee:01"},
            {"name":"eth0","mac":"aa:bb:cc:dd:ee:02","sandbox":"/run/netns/x"}],
            "ips":[{"version":"4","interface":1,"address":"10.244.1.7/24","gateway":"10.244.1.1"}],
            "routes":[{"dst":"0.0.0.0/0"}],"dns":{}}"#;
        let result = parse(text, CniVersion::V0_4_0).unwrap();
        assert_eq!(result.interface_of(&result.ips()[0]).unwrap().name, "eth0");
        assert_eq!(result.to_json().unwrap(), text);
    }

    #[test]
    fn item_20_the_result_says_the_version_of_the_configuration() {
        for (text, version, printed) in [
            ("{}", CniVersion::V1_0_0, r#"{"cniVersion":"1.0.0"}"#),
            (r#"{"cniVersion":""}"#, CniVersion::V1_0_0, r#"{"cniVersion":"1.0.0"}"#),
            (r#"{"cniVersion":"0.3.1"}"#, CniVersion::V0_4_0, r#"{"cniVersion":"0.4.0"}"#),
        ] {
            assert_eq!(parse(text, version).unwrap().to_json().unwrap(), printed);
        }
    }

    #[test]
    fn item_38_fifty_interfaces_are_no_problem() {
        let mut text = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"l0"}"#.to_owned();
        for number in 1..50 {
            write!(text, r#",{{"name":"l{number}"}}"#).unwrap();
        }
        text.push_str("]}");
        let result = parse(&text, CniVersion::V1_0_0).unwrap();
        assert_eq!(result.interfaces().len(), 50);
        assert_eq!(result.to_json().unwrap(), text);
    }

    #[test]
    fn what_is_no_result_is_refused_with_the_place() {
        for (text, named) in [
            ("5", "previous result"),
            ("[]", "previous result"),
            (r#"{"ips":7}"#, "\"ips\""),
            (r#"{"ips":[{}]}"#, "\"ips[0]\" lacks the key \"address\""),
            (r#"{"ips":[{"address":"10.0.0.1"}]}"#, "\"ips[0].address\""),
            (r#"{"cniVersion":"0.2.0"}"#, "incompatible"),
            (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
        ] {
            let error = parse(text, CniVersion::V1_0_0).unwrap_err();
            assert_eq!(error.code(), Code::INVALID_CONFIG, "{text}");
            assert!(error.msg().contains(named), "{text}: {error}");
        }
    }
}

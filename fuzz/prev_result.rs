//! The previous result.

use std::path::Path;

use egret_cni::{CniVersion, Code, NewInterface, PrevResult, RawObject};
use egret_types::{LinkName, MacAddr, Mtu};
use serde_json::value::RawValue;

use crate::document::{refused, unchanged_but};

/// A result is handed on letter for letter, but for the version where it has none or another of the
/// same layout; an appended interface stands last, and nothing else changes.
pub fn prev_result(text: &[u8]) {
    let Ok(value) = serde_json::from_slice::<&RawValue>(text) else { return };
    for version in CniVersion::all() {
        match PrevResult::parse(value, version) {
            Ok(result) => handed_on(value, version, result),
            Err(error) => {
                assert_eq!(error.code(), Code::INVALID_CONFIG, "{error}");
                refused(&error);
            }
        }
    }
}

fn handed_on(value: &RawValue, version: CniVersion, mut result: PrevResult) {
    let given = object(value.get());
    let text = result.to_json().expect("a result can be printed");
    let printed = object(&text);
    unchanged_but("cniVersion", &given, &printed);
    assert_eq!(stated(&printed).as_deref(), Some(version.as_str()));
    if stated(&given).as_deref() == Some(version.as_str()) {
        assert_eq!(text, value.get());
    }

    let position = result.append_interface(&link()).expect("an interface can be appended");
    assert_eq!(position + 1, result.interfaces().len(), "positions in `ips` count the same list");
    let text = result.to_json().expect("a result can be printed");
    let appended = object(&text);
    unchanged_but("interfaces", &printed, &appended);
    let (before, after) = (interfaces(&printed), interfaces(&appended));
    assert_eq!(before[..], after[..position], "an interface has changed");

    let value = serde_json::from_str(&text).expect("what is printed is JSON");
    let again = PrevResult::parse(value, version).expect("what is printed is a result");
    assert_eq!(again.interfaces(), result.interfaces());
    assert_eq!((again.ips(), again.routes()), (result.ips(), result.routes()));
    assert_eq!(again.dns(), result.dns());
}

fn object(text: &str) -> RawObject {
    RawObject::parse(text).expect("a result is an object")
}

fn stated(object: &RawObject) -> Option<String> {
    serde_json::from_str(object.get("cniVersion")?.get()).ok()
}

fn interfaces(object: &RawObject) -> Vec<String> {
    let Some(list) = object.get("interfaces") else { return Vec::new() };
    let list: Vec<Box<RawValue>> = serde_json::from_str(list.get()).expect("it is a list");
    list.iter().map(|value| value.get().to_owned()).collect()
}

fn link() -> NewInterface<'static> {
    static NAME: std::sync::LazyLock<LinkName> =
        std::sync::LazyLock::new(|| "egr0".parse().expect("it is a name"));
    NewInterface {
        name: &NAME,
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        sandbox: Some(Path::new("/run/netns/x")),
        mtu: Mtu::try_from(1450).ok(),
    }
}

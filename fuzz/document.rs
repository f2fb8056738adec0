//! What is said about documents of others by more than one target.

use egret_cni::{CniError, CniVersion, Code, Environment, RawObject};

/// An error that a runtime can read and an operator can act on.
pub(crate) fn refused(error: &CniError) {
    let object = error.to_json(CniVersion::LATEST);
    assert_eq!(CniError::from_json(object.as_bytes()).as_ref(), Some(error));
    let named: &[&str] = match error.code() {
        Code::INVALID_CONFIG | Code::UNSUPPORTED_FIELD => &["key \"", "previous result"],
        Code::INVALID_ENVIRONMENT => &["CNI_"],
        Code::INCOMPATIBLE_VERSION => &["ersion"],
        _ => &[""],
    };
    assert!(named.iter().any(|name| error.msg().contains(name)), "{error} names nothing");
}

/// `after` is `before`, letter for letter, but for the value of one key, which may be new.
pub(crate) fn unchanged_but(key: &str, before: &RawObject, after: &RawObject) {
    let entries = |object: &RawObject| -> Vec<(String, String)> {
        object.iter().map(|(key, value)| (key.to_owned(), value.get().to_owned())).collect()
    };
    let (mut before, mut after) = (entries(before), entries(after));
    if let Some(place) = before.iter().rposition(|(name, _)| name.eq_ignore_ascii_case(key)) {
        assert_eq!(before.remove(place).0, after.remove(place).0);
    } else if after.len() > before.len() {
        assert_eq!(after.pop().map(|(name, _)| name).as_deref(), Some(key));
    }
    assert_eq!(before, after);
}

/// What every call about an attachment has in its environment, with these arguments.
pub(crate) fn environment(args: std::ffi::OsString) -> Environment {
    let fixed = ["CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=eth0", "CNI_PATH=/x"];
    let fixed = fixed.iter().filter_map(|pair| pair.split_once('='));
    let fixed = fixed.map(|(name, value)| (name.into(), value.into()));
    fixed.chain([(std::ffi::OsString::from("CNI_ARGS"), args)]).collect()
}

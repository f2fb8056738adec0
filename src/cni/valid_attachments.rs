//! The attachments that a runtime still has, as GC gets them and hands them on.

use std::collections::BTreeSet;

use egret_types::{Attachment, ContainerId, IfName};
use serde::{Deserialize, Serialize};

use crate::{CniError, RawObject, lenient};

/// The key, and how the first text of 1.1.0 spelled it; libcni sends both.
const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// Attachments of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidAttachments(BTreeSet<Entry>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "containerID")]
    container_id: ContainerId,
    ifname: IfName,
}

#[derive(Deserialize)]
struct Lists {
    #[serde(rename = "cni.dev/valid-attachments", default)]
    valid: Vec<Entry>,
    #[serde(rename = "cni.dev/attachments", default)]
    former: Vec<Entry>,
}

impl ValidAttachments {
    /// What a configuration lists under either key; `None` if it has neither. `null` is an empty
    /// list: so Go writes "no pod is left". What one of two different lists names is valid.
    pub(crate) fn read(document: &RawObject) -> Result<Option<Self>, CniError> {
        if !KEYS.iter().any(|key| document.has(key)) {
            return Ok(None);
        }
        let listed = document.select(|key| KEYS.iter().any(|name| name.eq_ignore_ascii_case(key)));
        let listed = listed.map_err(|error| CniError::undecodable(&error))?;
        let (Lists { valid, former }, _) = lenient::read(listed, &[])?;
        Ok(Some(Self(valid.into_iter().chain(former).collect())))
    }

    /// The runtime has it.
    pub fn contains(&self, attachment: &Attachment) -> bool {
        self.0.contains(&Entry::of(attachment))
    }

    /// One that is to be treated as if the runtime had it.
    pub fn insert(&mut self, attachment: &Attachment) {
        self.0.insert(Entry::of(attachment));
    }

    /// Puts the list into a configuration, under both keys.
    pub(crate) fn write(&self, document: &mut RawObject) -> serde_json::Result<()> {
        KEYS.iter().try_for_each(|key| document.set(key, &self.0))
    }
}

impl Entry {
    fn of(attachment: &Attachment) -> Self {
        let Attachment { container_id, ifname, .. } = attachment.clone();
        Self { container_id, ifname }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn read(text: &str) -> Result<Option<ValidAttachments>, CniError> {
        ValidAttachments::read(&RawObject::parse(text).unwrap())
    }

    fn attachment(container: &str) -> Attachment {
        Attachment {
            network: "podnet".parse().unwrap(),
            container_id: container.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    const C1: &str = r#"[{"containerID":"c1","ifname":"eth0","later":1}]"#;

    #[test]
    fn items_63_to_65_either_key_counts_null_is_empty_and_neither_is_no_list() {
        let [valid, former] = KEYS;
        for text in [
            format!(r#"{{"{valid}":{C1}}}"#),
            format!(r#"{{"{former}":{C1}}}"#),
            format!(r#"{{"{valid}":{C1},"{former}":{C1}}}"#),
            format!(r#"{{"{valid}":null,"{former}":{C1}}}"#),
        ] {
            let list = read(&text).unwrap().unwrap();
            assert!(list.contains(&attachment("c1")), "{text}");
            assert!(!list.contains(&attachment("c2")), "{text}");
        }
        for text in [format!(r#"{{"{valid}":null}}"#), format!(r#"{{"{former}":[]}}"#)] {
            assert_eq!(read(&text), Ok(Some(ValidAttachments::default())), "{text}");
        }
        assert_eq!(read(r#"{"cni.dev/other":[]}"#), Ok(None));
    }

    #[test]
    fn what_is_no_list_of_attachments_is_refused_with_the_place() {
        for (list, named) in [
            ("5", "cni.dev/valid-attachments"),
            ("{}", "cni.dev/valid-attachments"),
            ("[5]", "cni.dev/valid-attachments[0]"),
            (r#"[{"containerID":"c1"}]"#, "ifname"),
            (r#"[{"containerID":"a/b","ifname":"eth0"}]"#, "a/b"),
        ] {
            let error = read(&format!(r#"{{"cni.dev/valid-attachments":{list}}}"#)).unwrap_err();
            assert_eq!(error.code(), Code::INVALID_CONFIG, "{list}");
            assert!(error.msg().contains(named), "{list}: {error}");
        }
    }

    #[test]
    fn a_list_reads_what_it_writes() {
        let mut list = read(&format!(r#"{{"{}":{C1}}}"#, KEYS[0])).unwrap().unwrap();
        list.insert(&attachment("c2"));
        for key in KEYS {
            let mut document = RawObject::default();
            list.write(&mut document).unwrap();
            document.set(key, &serde_json::Value::Null).unwrap();
            assert_eq!(ValidAttachments::read(&document), Ok(Some(list.clone())));
        }
    }
}

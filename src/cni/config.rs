//! The plugin configuration on stdin: the keys of the protocol, the plugin's own keys, and the
//! document itself, which a delegated plugin gets whole.

use std::io::Read;

use egret_types::NetworkName;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{CniError, CniVersion, Code, PrevResult, RawObject, UnknownKey, lenient};

/// Keys of the protocol. A plugin's own type may take one of them too, `ipam` for example.
const PROTOCOL: &[&str] = &[
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "ipam",
    "dns",
    "capabilities",
    "runtimeConfig",
    "args",
    "prevResult",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
];

/// How much of stdin is read. Administrators write a few hundred bytes, and previous results and lists
/// of attachments are far below this: what is longer is a mistake or an attack, and is not kept.
const LONGEST: usize = 1 << 20;

/// The document and the version it is written in: all that can be known of it before the operation
/// and the plugin's own keys are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    version: CniVersion,
    object: RawObject,
}

impl Document {
    pub(crate) fn read(stdin: &mut dyn Read) -> Result<Self, CniError> {
        let text = text(stdin)?;
        let object: RawObject = serde_json::from_slice(&text).map_err(|error| {
            undecodable(format_args!("the network configuration on stdin is not JSON: {error}"))
        })?;
        let version = match object.get("cniVersion") {
            None => CniVersion::parse(None)?,
            Some(version) => CniVersion::parse(Some(&string(version).ok_or_else(|| {
                undecodable(format_args!("cniVersion is {}, not a string", version.get()))
            })?))?,
        };
        Ok(Self { version, object })
    }

    pub(crate) fn version(&self) -> CniVersion {
        self.version
    }
}

/// A validated plugin configuration; `T` holds the plugin's own keys.
#[derive(Debug, Clone)]
pub struct NetworkConfig<T> {
    document: Document,
    name: NetworkName,
    own: T,
    unknown_keys: Vec<UnknownKey>,
}

impl<T: DeserializeOwned> NetworkConfig<T> {
    pub(crate) fn new(document: Document) -> Result<Self, CniError> {
        let name = network_name(&document.object)?;
        // The previous result may be large and is nobody's key.
        let own = document.object.select(|key| !key.eq_ignore_ascii_case("prevResult"));
        let own = own.map_err(|error| CniError::undecodable(&error))?;
        let (own, unknown_keys) = lenient::read(own, PROTOCOL)
            .map_err(|refusal| CniError::from(refusal).in_context("network configuration"))?;
        Ok(Self { document, name, own, unknown_keys })
    }
}

impl<T> NetworkConfig<T> {
    /// `cniVersion`
    pub fn version(&self) -> CniVersion {
        self.document.version
    }

    /// `name`
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// The plugin's own keys.
    pub fn own(&self) -> &T {
        &self.own
    }

    /// What stands in the plugin configuration and is known to nobody, for the log.
    pub fn unknown_keys(&self) -> &[UnknownKey] {
        &self.unknown_keys
    }

    /// The whole document.
    pub fn document(&self) -> &RawObject {
        &self.document.object
    }

    /// The `ipam` section; empty if there is none.
    ///
    /// # Errors
    /// [`Code::INVALID_CONFIG`] if it is no object.
    pub fn ipam(&self) -> Result<RawObject, CniError> {
        let Some(value) = self.document.object.get("ipam") else { return Ok(RawObject::default()) };
        RawObject::parse(value.get())
            .map_err(|_| CniError::new(Code::INVALID_CONFIG, "key \"ipam\" is not an object"))
    }

    /// The previous result. DEL gets along with an error as with `None`.
    ///
    /// # Errors
    /// [`Code::INVALID_CONFIG`] if it is not a result.
    pub fn prev_result(&self) -> Result<Option<PrevResult>, CniError> {
        let value = self.document.object.get("prevResult");
        value.map(|value| PrevResult::parse(value, self.version())).transpose()
    }

    /// The previous result, for an operation of a chained plugin that cannot do without.
    ///
    /// # Errors
    /// [`Code::INVALID_CONFIG`] if there is none or it is not a result.
    pub fn require_prev_result(&self) -> Result<PrevResult, CniError> {
        self.prev_result()?.ok_or_else(|| {
            let msg = "key \"prevResult\" is missing: this plugin must be chained behind another";
            CniError::new(Code::INVALID_CONFIG, msg)
        })
    }
}

/// All of stdin. The byte behind the longest text is all that is read of what is too long: without
/// it, a text that ends there could not be told from one that goes on.
fn text(stdin: &mut dyn Read) -> Result<Vec<u8>, CniError> {
    let mut text = Vec::new();
    let mut limited = stdin.take(LONGEST as u64 + 1);
    limited
        .read_to_end(&mut text)
        .map_err(|error| CniError::caused_by(Code::IO_FAILURE, &error).in_context("read stdin"))?;
    if text.len() > LONGEST {
        return Err(undecodable(format_args!(
            "the network configuration on stdin is longer than 1 MiB ({LONGEST} bytes)"
        )));
    }
    Ok(text)
}

fn network_name(object: &RawObject) -> Result<NetworkName, CniError> {
    let invalid = |msg: String| CniError::new(Code::INVALID_CONFIG, msg);
    let value = object.get("name").ok_or_else(|| invalid("key \"name\" is missing".to_owned()))?;
    let name = string(value)
        .ok_or_else(|| invalid(format!("key \"name\" is {}, not a string", value.get())))?;
    name.parse().map_err(|error| invalid(format!("key \"name\": {error}")))
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn undecodable(what: std::fmt::Arguments<'_>) -> CniError {
    CniError::new(Code::DECODING_FAILURE, what.to_string())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        #[serde(default)]
        state_dir: Option<String>,
    }

    fn config(text: &str) -> Result<NetworkConfig<Own>, CniError> {
        NetworkConfig::new(Document::read(&mut text.as_bytes())?)
    }

    #[test]
    fn items_8_9_19_and_23_a_wrong_document_has_the_right_code() {
        let mut deep = "[".repeat(200);
        deep.push_str(&"]".repeat(200));
        for (text, code) in [
            ("", 6),
            ("oops", 6),
            ("{", 6),
            ("[]", 6),
            ("null", 6),
            (r#"{"cniVersion":"1.0.0","name":"a"} x"#, 6),
            (r#"{"cniVersion":1,"name":"a"}"#, 6),
            (r#"{"cniVersion":"abc","name":"a"}"#, 6),
            (r#"{"cniVersion":"9.9.9","name":"a/b"}"#, 1),
            (r#"{"name":"a"}"#, 1),
            (r#"{"cniVersion":"1.0.0"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":null}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":""}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":5}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a/b"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","stateDir":5}"#, 7),
            (&format!(r#"{{"cniVersion":"1.0.0","name":"a","args":{deep}}}"#), 6),
        ] {
            assert_eq!(config(text).unwrap_err().code().number(), code, "{text}");
        }
        assert_eq!(Document::read(&mut &b"{\"\xff\":1}"[..]).unwrap_err().code().number(), 6);
    }

    #[test]
    fn item_10_what_the_protocol_or_nobody_knows_is_accepted() {
        let text = format!(
            r#"{{"cniVersion":"1.0.0","Name":"a","type":"egret","capabilities":{{"x":true,"y":false}},
               "args":{{"cni":{{"labels":[]}}}},"cni.dev/x":1,"stateDirs":"/x","big":"{}"}}{}"#,
            "b".repeat(LONGEST / 2),
            "\n\n"
        );
        let config = config(&text).unwrap();
        assert_eq!(config.name().as_str(), "a");
        assert_eq!(config.own().state_dir, None);
        let unknown: Vec<_> = config.unknown_keys().iter().map(ToString::to_string).collect();
        assert_eq!(
            unknown,
            [
                "unknown key \"stateDirs\"; the nearest known one is \"stateDir\"",
                "unknown key \"big\""
            ]
        );
    }

    #[test]
    fn item_10_one_mebibyte_is_read_and_not_a_byte_more_is_kept() {
        /// Blanks without end, counted.
        struct Blanks(usize);
        impl Read for Blanks {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                buffer.fill(b' ');
                self.0 += buffer.len();
                Ok(buffer.len())
            }
        }
        let short = r#"{"cniVersion":"1.0.0","name":"a"}"#;
        let text = format!("{short}{}", " ".repeat((1 << 20) - short.len()));
        assert!(config(&text).is_ok());
        let (mut first, mut rest) = (text.as_bytes(), Blanks(0));
        let error = Document::read(&mut (&mut first).chain(&mut rest)).unwrap_err();
        assert_eq!((error.code(), rest.0), (Code::DECODING_FAILURE, 1), "{error}");
        assert!(error.msg().contains("longer than 1 MiB"), "{error}");
    }

    #[test]
    fn item_11_a_wrong_type_names_the_key() {
        let error = config(r#"{"cniVersion":"1.0.0","name":"a","stateDir":5}"#).unwrap_err();
        assert!(error.msg().contains("\"stateDir\""), "{error}");
    }

    #[test]
    fn items_24_and_51_a_chained_plugin_needs_a_previous_result() {
        let config = config(r#"{"cniVersion":"1.0.0","name":"a","prevResult":null}"#).unwrap();
        assert!(config.prev_result().unwrap().is_none());
        let error = config.require_prev_result().unwrap_err();
        assert_eq!(error.code(), Code::INVALID_CONFIG);
        assert!(error.msg().contains("prevResult"));
    }
}

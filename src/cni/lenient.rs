//! Reads values the way Go plugins do, so that a document all of them accept is not refused by us:
//! keys match without regard to case, `null` is absent, the last of two equal keys counts. Errors
//! name the key, and tell a wrong configuration from a value that is not supported.
//!
//! It is a `Deserializer` of its own because only a deserializer learns, through
//! `deserialize_struct`, which keys a type knows.

use std::{cell::RefCell, fmt};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer,
};
use serde_json::Value;

use crate::{CniError, Code, UnknownKey};

/// Reads a value, and tells which keys of it nobody knows. Keys for which `protocol` lists the name
/// at the top are known although the type does not have them.
pub(crate) fn read<T: DeserializeOwned>(
    value: Value,
    protocol: &'static [&'static str],
) -> Result<(T, Vec<UnknownKey>), Refusal> {
    let unknown = RefCell::default();
    let node = Node { value, path: String::new(), protocol, unknown: &unknown };
    let read = T::deserialize(node)?;
    Ok((read, unknown.into_inner()))
}

/// Why a value was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: Code,
    path: Option<String>,
    text: String,
}

impl Refusal {
    fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, path: None, text: text.into() }
    }

    /// The innermost place wins.
    fn at(mut self, path: &str) -> Self {
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }
}

impl From<Refusal> for CniError {
    fn from(refusal: Refusal) -> Self {
        CniError::new(refusal.code, refusal.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => write!(f, "key {path:?} {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(error: T) -> Self {
        Self::new(Code::INVALID_CONFIG, format!("is wrong: {error}"))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Code::INVALID_CONFIG, format!("is {found}, expected {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let text = format!("is {found}, which is not supported; expected {expected}");
        Self::new(Code::UNSUPPORTED_FIELD, text)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let expected = expected.join(", ");
        let text = format!("is {found:?}, which is not supported; one of {expected}");
        Self::new(Code::UNSUPPORTED_FIELD, text)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Code::INVALID_CONFIG, format!("lacks the key {field:?}"))
    }
}

/// A value and where it stands.
struct Node<'a> {
    value: Value,
    path: String,
    protocol: &'static [&'static str],
    unknown: &'a RefCell<Vec<UnknownKey>>,
}

impl<'a> Node<'a> {
    fn child(&self, key: &str, value: Value) -> Node<'a> {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        Node { value, path, protocol: &[], unknown: self.unknown }
    }

    fn items(&mut self, values: Vec<Value>) -> Items<'a> {
        let item = |(position, value)| Node {
            value,
            path: format!("{}[{position}]", self.path),
            protocol: &[],
            unknown: self.unknown,
        };
        Items(values.into_iter().enumerate().map(item).collect::<Vec<_>>().into_iter())
    }

    fn entries(&mut self, object: serde_json::Map<String, Value>) -> Entries<'a> {
        let entry = |(key, value): (String, Value)| {
            let node = self.child(&key, value);
            (key, node)
        };
        Entries::new(object.into_iter().map(entry).collect())
    }

    /// The entries of a type that knows `fields`: keys get the spelling of the type.
    fn fields(
        &mut self,
        object: serde_json::Map<String, Value>,
        fields: &'static [&'static str],
    ) -> Entries<'a> {
        let mut known: Vec<(String, Node<'a>)> = Vec::new();
        for (key, value) in object.into_iter().filter(|(_, value)| !value.is_null()) {
            let Some(field) = spelling(fields, &key) else {
                self.note(&key, fields);
                continue;
            };
            let node = self.child(field, value);
            known.retain(|(earlier, _)| earlier != field);
            known.push((field.to_owned(), node));
        }
        Entries::new(known)
    }

    fn note(&self, key: &str, fields: &'static [&'static str]) {
        // "cni.dev/" is reserved by the specification for keys of the protocol.
        if spelling(self.protocol, key).is_none() && !key.starts_with("cni.dev/") {
            let path = self.child(key, Value::Null).path;
            self.unknown.borrow_mut().push(UnknownKey::new(path, key, &[fields, self.protocol]));
        }
    }
}

fn spelling(known: &'static [&'static str], key: &str) -> Option<&'static str> {
    known.iter().copied().find(|name| name.eq_ignore_ascii_case(key))
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(_) => Unexpected::Other("a number"),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Other("a list"),
        Value::Object(_) => Unexpected::Other("an object"),
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let read = match std::mem::take(&mut self.value) {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(values) => visitor.visit_seq(self.items(values)),
            Value::Object(object) => visitor.visit_map(self.entries(object)),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
        };
        read.map_err(|refusal| refusal.at(&self.path))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let read = match std::mem::take(&mut self.value) {
            Value::Object(object) => visitor.visit_map(self.fields(object, fields)),
            other => Err(de::Error::invalid_type(unexpected(&other), &"an object")),
        };
        read.map_err(|refusal| refusal.at(&self.path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let read = match std::mem::take(&mut self.value) {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            Value::Object(object) => {
                visitor.visit_enum(MapAccessDeserializer::new(self.entries(object)))
            }
            other => Err(de::Error::invalid_type(unexpected(&other), &"one of its words")),
        };
        read.map_err(|refusal: Refusal| refusal.at(&self.path))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a>(std::vec::IntoIter<Node<'a>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refusal> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'a> {
    rest: std::vec::IntoIter<(String, Node<'a>)>,
    value: Option<Node<'a>>,
}

impl<'a> Entries<'a> {
    fn new(entries: Vec<(String, Node<'a>)>) -> Self {
        Self { rest: entries.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        let path = node.path.clone();
        self.value = Some(node);
        seed.deserialize(key.into_deserializer()).map(Some).map_err(|r: Refusal| r.at(&path))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let node = self.value.take();
        let node = node.ok_or_else(|| de::Error::custom("a value was read before its key"))?;
        let path = node.path.clone();
        // Errors of types that check after reading (`try_from`) arrive here without a place.
        seed.deserialize(node).map_err(|refusal| refusal.at(&path))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use egret_types::NodeName;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keys {
        state_dir: String,
        node_name: Option<NodeName>,
        #[serde(default)]
        underlay: Underlay,
        #[serde(default)]
        log_level: Level,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(default)]
        list: Vec<Underlay>,
        #[serde(default)]
        small: u8,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Underlay {
        interface: Option<String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Level {
        #[default]
        Info,
        Warn,
    }

    const PROTOCOL: &[&str] = &["cniVersion", "name"];

    fn read(value: Value) -> Result<(Keys, Vec<UnknownKey>), Refusal> {
        super::read(value, PROTOCOL)
    }

    #[test]
    fn keys_match_as_in_go() {
        let (keys, unknown) = read(json!({
            "StateDir": "/first", "statedir": "/a", "NODENAME": "n1", "Underlay": {"INTERFACE": "e0"},
            "logLevel": "warn", "labels": {"App": "x"}, "list": null, "CNIVersion": "1.0.0",
        }))
        .unwrap();
        assert_eq!(keys.state_dir, "/a");
        assert_eq!(keys.node_name.unwrap().as_str(), "n1");
        assert_eq!(keys.underlay.interface.as_deref(), Some("e0"));
        assert_eq!(keys.log_level, Level::Warn);
        assert_eq!(keys.labels["App"], "x");
        assert_eq!((keys.list, keys.small), (vec![], 0));
        assert_eq!(unknown, []);
    }

    #[test]
    fn item_10_unknown_keys_are_told_with_the_nearest_known_one() {
        let (_, unknown) = read(json!({
            "stateDir": "/a", "nodename_": "n", "nam": "x", "underlay": {"interfce": 1},
            "list": [{}, {"interfaces": {}}], "cni.dev/x": 1, "vendor.example/y": 2,
        }))
        .unwrap();
        let told: Vec<_> = unknown.iter().map(|key| (key.path.as_str(), key.nearest)).collect();
        assert_eq!(
            told,
            [
                ("nodename_", Some("nodeName")),
                ("nam", Some("name")),
                ("vendor.example/y", None),
                ("underlay.interfce", Some("interface")),
                ("list[1].interfaces", Some("interface")),
            ]
        );
    }

    #[test]
    fn items_11_and_12_a_refusal_names_the_key_and_what_is_wrong_with_it() {
        for (wrong, code, text) in [
            (json!({}), 7, "lacks the key \"stateDir\""),
            (json!({"stateDir": null}), 7, "lacks the key \"stateDir\""),
            (json!({"stateDir": 5}), 7, "key \"stateDir\" is integer `5`, expected a string"),
            (
                json!({"stateDir": "/a", "nodeName": "-"}),
                7,
                "key \"nodeName\" is wrong: \"-\" is not a node name",
            ),
            (
                json!({"stateDir": "/a", "underlay": []}),
                7,
                "key \"underlay\" is a list, expected an object",
            ),
            (
                json!({"stateDir": "/a", "underlay": {"interface": true}}),
                7,
                "key \"underlay.interface\" is boolean `true`",
            ),
            (
                json!({"stateDir": "/a", "list": [{}, 1]}),
                7,
                "key \"list[1]\" is a number, expected an object",
            ),
            (
                json!({"stateDir": "/a", "labels": {"a": {}}}),
                7,
                "key \"labels.a\" is map, expected a string",
            ),
            (json!({"stateDir": "/a", "logLevel": 1}), 7, "key \"logLevel\" is a number"),
            (
                json!({"stateDir": "/a", "logLevel": "loud"}),
                2,
                "key \"logLevel\" is \"loud\", which is not supported; one of info, warn",
            ),
            (
                json!({"stateDir": "/a", "small": 256}),
                2,
                "key \"small\" is integer `256`, which is not supported",
            ),
            (json!({"stateDir": "/a", "small": -1}), 2, "key \"small\" is integer `-1`"),
            (json!({"stateDir": "/a", "small": 1.5}), 7, "key \"small\" is floating point `1.5`"),
        ] {
            let error = CniError::from(read(wrong.clone()).unwrap_err());
            assert_eq!(error.code().number(), code, "{wrong}: {error}");
            assert!(error.msg().starts_with(text), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_enum_with_content_is_read_too() {
        #[derive(Debug, PartialEq, Deserialize)]
        enum Kind {
            Macvlan { parent: String },
        }
        let read = super::read::<Kind>(json!({"Macvlan": {"parent": "e0"}}), &[]);
        let Kind::Macvlan { parent } = read.unwrap().0;
        assert_eq!(parent, "e0");
    }
}

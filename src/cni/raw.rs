//! A JSON object of somebody else, kept as it was written. Going through `serde_json::Value` would
//! merge keys that appear twice and round large numbers; here only what is set changes.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Map, Value, value::RawValue};

/// Keys and the text of their values, in the order of the document. Keys are looked up as Go does
/// it: without regard to case, and the last one counts.
#[derive(Debug, Clone, Default)]
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads an object.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The value of a key; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        let value = &self.0[self.position(key)?].1;
        Some(&**value).filter(|value| value.get() != "null")
    }

    /// The key stands there, be it with `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// Sets a key where it stands, or at the end.
    ///
    /// # Errors
    /// If `value` does not become JSON.
    pub fn set(&mut self, key: &str, value: &impl Serialize) -> serde_json::Result<()> {
        let value = serde_json::value::to_raw_value(value)?;
        match self.position(key) {
            Some(position) => self.0[position].1 = value,
            None => self.0.push((key.to_owned(), value)),
        }
        Ok(())
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// The keys for which `wanted` is true, as values to look into. A map would keep a key that
    /// stands there twice in its first place, and the last place decides which spelling counts.
    pub(crate) fn select(&self, wanted: impl Fn(&str) -> bool) -> serde_json::Result<Value> {
        let mut seen = HashSet::new();
        let mut last: Vec<_> = self.0.iter().rev().filter(|(key, _)| wanted(key)).collect();
        last.retain(|(key, _)| seen.insert(key.as_str()));
        let parse = |(key, value): &(String, Box<RawValue>)| {
            Ok((key.clone(), serde_json::from_str(value.get())?))
        };
        let entries = last.into_iter().rev().map(parse);
        Ok(Value::Object(entries.collect::<serde_json::Result<Map<_, _>>>()?))
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.0.iter().rposition(|(other, _)| other.eq_ignore_ascii_case(key))
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawObject(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        r#"{"b":1.50,"A":123456789012345678901234567890,"a":{"y":2, "x":1},"n":null}"#;

    #[test]
    fn what_is_not_set_stays_as_it_was_written() {
        let mut object = RawObject::parse(TEXT).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), TEXT);
        object.set("B", &2).unwrap();
        object.set("new", &"c").unwrap();
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            TEXT.replace("1.50", "2").replace("null}", "null,\"new\":\"c\"}")
        );
    }

    #[test]
    fn what_is_selected_has_its_last_spelling_last() {
        let object = RawObject::parse(r#"{"a":1,"A":2,"b":3,"a":4}"#).unwrap();
        let selected = object.select(|key| key != "b").unwrap();
        assert_eq!(
            (selected.to_string().as_str(), object.get("A").unwrap().get()),
            (r#"{"A":2,"a":4}"#, "4")
        );
    }

    #[test]
    fn keys_are_found_without_regard_to_case_and_the_last_one_counts() {
        let object = RawObject::parse(TEXT).unwrap();
        assert_eq!(object.get("A").unwrap().get(), r#"{"y":2, "x":1}"#);
        assert!(object.get("n").is_none() && object.get("c").is_none());
    }
}

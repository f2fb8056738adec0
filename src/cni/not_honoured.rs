//! The type of keys that are known and do nothing yet. A key that is read and ignored would be a
//! promise that nobody keeps; this type refuses it by name.

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected},
};
use serde_json::Value;

/// A key that this version does not honour: a field of type `Option<NotHonoured>` with
/// `#[serde(default)]` is refused with [`crate::Code::UNSUPPORTED_FIELD`], key and value in the
/// message, as soon as the configuration sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHonoured {}

impl<'de> Deserialize<'de> for NotHonoured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?.to_string();
        Err(D::Error::invalid_value(
            Unexpected::Other(&value),
            &"nothing: this version does not honour the key",
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{CniError, Code, lenient};

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keys {
        #[serde(default)]
        gc_without_list: Option<NotHonoured>,
    }

    #[test]
    fn item_12_a_key_that_is_not_honoured_is_refused_with_key_and_value() {
        let read = |value| lenient::read::<Keys>(value, &[]);
        assert_eq!(read(json!({})).unwrap().0.gc_without_list, None);
        let error = CniError::from(read(json!({"gcWithoutList": true})).unwrap_err());
        assert_eq!(error.code(), Code::UNSUPPORTED_FIELD);
        assert_eq!(
            error.msg(),
            "key \"gcWithoutList\" is true, which is not supported; \
             expected nothing: this version does not honour the key"
        );
    }
}

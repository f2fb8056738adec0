//! The error object of the protocol and the codes it carries. This is the one error type of the
//! crate: what goes wrong here is told to the runtime in exactly this form.

use serde_json::Value;

use crate::CniVersion;

/// An error code: 0 to 99 belong to the specification, the rest to the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u32);

impl Code {
    /// The version of the configuration or its operation is not supported.
    pub const INCOMPATIBLE_VERSION: Code = Code(1);
    /// A known key with a value (or a key) that is not honoured; the message has both.
    pub const UNSUPPORTED_FIELD: Code = Code(2);
    /// The container does not exist; the runtime needs no DEL.
    pub const UNKNOWN_CONTAINER: Code = Code(3);
    /// A variable is missing or wrong; the message names it.
    pub const INVALID_ENVIRONMENT: Code = Code(4);
    /// Reading or writing failed.
    pub const IO_FAILURE: Code = Code(5);
    /// Not the JSON that the protocol asks for.
    pub const DECODING_FAILURE: Code = Code(6);
    /// The network configuration is invalid.
    pub const INVALID_CONFIG: Code = Code(7);
    /// `CNI_NETNS` is the plugin's own namespace (from the Go library).
    pub const INVALID_NETNS: Code = Code(8);
    /// A transient condition.
    pub const TRY_AGAIN_LATER: Code = Code(11);
    /// STATUS: the plugin cannot serve ADD.
    pub const NOT_AVAILABLE: Code = Code(50);
    /// STATUS: as [`Code::NOT_AVAILABLE`], and existing containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: Code = Code(51);

    /// No address left in the pool.
    pub const POOL_EXHAUSTED: Code = Code(100);
    /// A requested address is not available, or two are not one pair.
    pub const ADDRESS_NOT_AVAILABLE: Code = Code(101);
    /// The namespace may not use the pool, or has used up its quota.
    pub const NOT_ALLOWED: Code = Code(102);
    /// A policy or key cannot be applied as written.
    pub const NOT_APPLICABLE: Code = Code(103);
    /// The guard is impossible on this primary link.
    pub const GUARD_IMPOSSIBLE: Code = Code(104);
    /// A link, table or namespace of our name belongs to somebody else.
    pub const FOREIGN_OBJECT: Code = Code(105);
    /// CHECK found a difference; each is named in the details.
    pub const CHECK_DIFFERENCE: Code = Code(110);
    /// A lease is missing or held by another.
    pub const LEASE_LOST: Code = Code(111);
    /// A bug of ours.
    pub const INTERNAL: Code = Code(120);

    /// What Go plugins answer where they have no code; never ours, but a delegate's.
    pub const GO_INTERNAL: Code = Code(999);

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<u32> for Code {
    /// Any number may come from a delegated plugin.
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An error as the protocol tells it. Runtimes drop stderr when a plugin fails, so everything the
/// operator needs is in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    code: Code,
    msg: String,
    details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// An error with the text of `error` and of all its sources, outermost first.
    pub fn caused_by(code: Code, error: &dyn std::error::Error) -> Self {
        let mut msg = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many errors tell their source themselves.
            let text = cause.to_string();
            if !msg.ends_with(&text) {
                msg = format!("{msg}: {text}");
            }
            source = cause.source();
        }
        Self::new(code, msg)
    }

    /// What is not the JSON that the protocol asks for.
    pub(crate) fn undecodable(what: &dyn std::fmt::Display) -> Self {
        Self::new(Code::DECODING_FAILURE, format!("configuration: {what}"))
    }

    /// The same error with these details.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// The same error, its message behind `context: `.
    #[must_use]
    pub fn in_context(self, context: impl std::fmt::Display) -> Self {
        Self { msg: format!("{context}: {}", self.msg), ..self }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// One sentence.
    pub fn msg(&self) -> &str {
        &self.msg
    }

    /// What else is known; may be empty.
    pub fn details(&self) -> &str {
        &self.details
    }

    /// The error object.
    pub fn to_json(&self, version: CniVersion) -> String {
        let mut object = serde_json::Map::new();
        object.insert("cniVersion".to_owned(), version.as_str().into());
        object.insert("code".to_owned(), self.code.number().into());
        object.insert("msg".to_owned(), self.msg.as_str().into());
        if !self.details.is_empty() {
            object.insert("details".to_owned(), self.details.as_str().into());
        }
        Value::Object(object).to_string()
    }

    /// Reads the error object of a delegated plugin, if that is what `text` is.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = value.get("code")?.as_u64()?;
        Some(Self::new(u32::try_from(code).ok()?.into(), text("msg")).with_details(text("details")))
    }
}

impl std::fmt::Display for CniError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.msg, self.code)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

impl std::error::Error for CniError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_object_reads_what_it_prints() {
        let error = CniError::new(Code::POOL_EXHAUSTED, "pool \"a\" is exhausted");
        let json = error.to_json(CniVersion::V0_4_0);
        assert_eq!(json, r#"{"cniVersion":"0.4.0","code":100,"msg":"pool \"a\" is exhausted"}"#);
        assert_eq!(CniError::from_json(json.as_bytes()), Some(error.clone()));
        let error = error.with_details("10 of 10 held");
        let json = error.to_json(CniVersion::V1_0_0);
        assert_eq!(CniError::from_json(json.as_bytes()), Some(error.clone()));
        assert_eq!(error.to_string(), "pool \"a\" is exhausted (code 100); 10 of 10 held");
    }

    #[test]
    fn only_an_error_object_is_one() {
        for text in ["", "{}", "[]", "oops", r#"{"code":"7"}"#, r#"{"code":-1}"#, r#"{"msg":"x"}"#]
        {
            assert_eq!(CniError::from_json(text.as_bytes()), None, "{text}");
        }
        assert_eq!(CniError::from_json(br#"{"code":999}"#).unwrap().code(), Code::GO_INTERNAL);
    }

    #[test]
    fn a_chain_of_errors_reads_as_a_path() {
        #[derive(Debug)]
        struct Outer(std::fmt::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("write the lease of c1")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = CniError::caused_by(Code::IO_FAILURE, &Outer(std::fmt::Error));
        assert_eq!(error.msg(), format!("write the lease of c1: {}", std::fmt::Error));
    }
}

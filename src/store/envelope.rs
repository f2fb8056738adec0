//! How a record looks in its file: one line of JSON, `{"version":2,"sum":"...","record":{...}}`.
//! The sum covers the text of the record, so that what a disk or a person changed is noticed
//! instead of believed.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::record_dir::EXTENSION;

/// The format that is written, and the latest that is read. 2 added what leases need to run out and to
/// be counted; what 1 wrote reads as a record without it.
pub(crate) const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    version: u32,
    sum: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Why bytes are no record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// They end early, or were never written: what a power failure does to a file that was not
    /// synced.
    Torn,
    /// They say something else than was written.
    Damaged(String),
    /// A later version wrote them.
    Newer(u32),
}

/// The bytes of a record.
pub(crate) fn encode(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_string(record)?;
    let sum = hex(&Sha256::digest(&text), 8);
    let record: &RawValue = serde_json::from_str(&text)?;
    let mut bytes = serde_json::to_vec(&Envelope { version: VERSION, sum, record })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The record in these bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let damaged = |error: serde_json::Error| {
        if error.is_eof() { Unreadable::Torn } else { Unreadable::Damaged(error.to_string()) }
    };
    if bytes.iter().all(|&byte| byte == 0) {
        return Err(Unreadable::Torn);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    if envelope.version > VERSION {
        return Err(Unreadable::Newer(envelope.version));
    }
    let sum = hex(&Sha256::digest(envelope.record.get()), 8);
    if envelope.version == 0 || sum != envelope.sum {
        return Err(Unreadable::Damaged("its checksum or version is wrong".to_owned()));
    }
    serde_json::from_str(envelope.record.get())
        .map_err(|error| Unreadable::Damaged(error.to_string()))
}

/// A file name for these parts. Names come from outside and may be anything; a hash is 32
/// harmless characters.
pub(crate) fn file_name(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        // No part contains it, so ("ab", "c") and ("a", "bc") are different.
        hash.update([0]);
    }
    hex(&hash.finalize(), 16) + EXTENSION
}

fn hex(bytes: &[u8], count: usize) -> String {
    use std::fmt::Write;
    bytes.iter().take(count).fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        number: u32,
    }

    fn sample() -> Sample {
        Sample { name: "shop".to_owned(), number: 7 }
    }

    #[test]
    fn a_record_reads_what_it_wrote() {
        let bytes = encode(&sample()).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":2,\"sum\":\"510d05ad33d624a6\",\"record\":{\"name\":\"shop\",\"number\":7}}\n"
        );
        assert_eq!(decode::<Sample>(&bytes).unwrap(), sample());
    }

    #[test]
    fn what_the_format_before_wrote_is_read() {
        let text = String::from_utf8(encode(&sample()).unwrap()).unwrap();
        let before = text.replace("\"version\":2", "\"version\":1");
        assert_eq!(decode::<Sample>(before.as_bytes()).unwrap(), sample());
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&sample()).unwrap();
        for length in 0..bytes.len() - 1 {
            assert_eq!(decode::<Sample>(&bytes[..length]), Err(Unreadable::Torn), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let last_newline = bit / 8 == bytes.len() - 1;
            assert!(last_newline || decode::<Sample>(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(decode::<Sample>(&[0; 512]), Err(Unreadable::Torn));
    }

    #[test]
    fn a_later_format_is_not_damage() {
        let later = b"{\"version\":3,\"sum\":\"\",\"record\":{\"new\":true}}";
        assert_eq!(decode::<Sample>(later), Err(Unreadable::Newer(3)));
    }

    #[test]
    fn file_names_are_harmless_and_keep_parts_apart() {
        let names = [
            file_name(&["ab", "c"]),
            file_name(&["a", "bc"]),
            file_name(&["../../etc/passwd", "x"]),
        ];
        for name in &names {
            assert_eq!(name.len(), 37);
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'), "{name}");
        }
        assert_ne!(names[0], names[1]);
    }
}

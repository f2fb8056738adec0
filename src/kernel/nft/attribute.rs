//! Netlink attributes of the kernel's answers as plain slices. The kernel's own attribute trees are
//! compared, so they are read as they are, not through types that may leave something out.

use netlink_packet_core::{NLA_HEADER_SIZE, NlasIterator};

/// Number (without flag bits) and value of each attribute; ends at the first malformed one.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        Some((kind, attribute.into_inner().get(NLA_HEADER_SIZE..length)?))
    })
}

/// The value of the first attribute of this number.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(number, _)| *number == kind).map(|(_, value)| value)
}

/// A text with its terminating NUL, as far as it is text.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// Numbers in attributes are big-endian; a malformed one reads as 0, which no wanted value is.
pub(super) fn be32(value: &[u8]) -> u32 {
    value.try_into().map_or(0, u32::from_be_bytes)
}

/// See [`be32`].
pub(super) fn be64(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

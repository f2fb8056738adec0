//! Reading the attributes of an answer: by number, without decoding those that nobody asks for.

use std::net::IpAddr;

use egret_types::MacAddr;
use netlink_packet_core::{NLA_HEADER_SIZE, NlasIterator};

/// A list of attributes.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes behind a header of this size.
    pub(crate) fn behind(header: usize, payload: &'a [u8]) -> Self {
        Self(payload.get(header..).unwrap_or_default())
    }

    pub(crate) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        let all = NlasIterator::new(self.0).map_while(Result::ok);
        let mut wanted = all.filter(|attribute| attribute.kind() == kind);
        let (end, whole) = wanted.next().map(|a| (usize::from(a.length()), a.into_inner()))?;
        whole.get(NLA_HEADER_SIZE..end)
    }

    pub(crate) fn nested(self, kind: u16) -> Attributes<'a> {
        Self(self.bytes(kind).unwrap_or_default())
    }

    pub(crate) fn u8(self, kind: u16) -> Option<u8> {
        self.bytes(kind)?.first().copied()
    }

    pub(crate) fn u16_be(self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    pub(crate) fn u32_be(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    pub(crate) fn i32(self, kind: u16) -> Option<i32> {
        Some(i32::from_ne_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    pub(crate) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }

    pub(crate) fn mac(self, kind: u16) -> Option<MacAddr> {
        Some(MacAddr(self.bytes(kind)?.try_into().ok()?))
    }

    pub(crate) fn address(self, kind: u16) -> Option<IpAddr> {
        address(self.bytes(kind)?)
    }
}

/// An address by its length.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// A number at an offset of a header, in the machine's order.
pub(crate) fn u32_at(payload: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(payload.get(offset..offset + 4)?.try_into().ok()?))
}

/// See [`u32_at`].
pub(crate) fn u16_at(payload: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(payload.get(offset..offset + 2)?.try_into().ok()?))
}

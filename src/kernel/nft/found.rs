//! What the kernel answers about tables, chains, sets and elements, read from the bytes.

use super::attribute::{attribute, attributes, be32, be64, text};
use super::bytecode::Bytecode;
use super::element::{Pair, RawValue};
use super::hook::Hook;

pub(super) const LIST_ELEMENT: u16 = 1;
/// The attribute of a set that says what its elements do.
pub(super) const SET_EXPRESSION: u16 = 17;
const USER_DATA_COMMENT: u8 = 0;
const NFT_JUMP: u32 = (-3_i32).cast_unsigned();

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) comment: Option<String>,
    /// Chains, sets and other objects in it.
    pub(super) uses: u32,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) handle: u64,
    /// Absent for a chain that is only jumped to.
    pub(super) hook: Option<Hook>,
    pub(super) comment: Option<String>,
    /// Its rules, and everything that jumps to it.
    pub(super) uses: u32,
}

/// A set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) flags: u32,
    pub(super) key_type: u32,
    pub(super) key_len: u32,
    /// Type and length of a map's values.
    pub(super) value: Option<(u32, u32)>,
    /// Its elements have counters, or what other statement there may be.
    pub(super) has_expression: bool,
    /// How many elements it may have, if that is limited.
    pub(super) size: Option<u32>,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) pair: Pair,
    pub(super) ends_interval: bool,
    /// Packets and bytes of its counter.
    pub(super) counter: Option<(u64, u64)>,
}

impl From<&[u8]> for Table {
    fn from(bytes: &[u8]) -> Self {
        const USE: u16 = 3;
        const USER_DATA: u16 = 6;
        Self {
            comment: attribute(bytes, USER_DATA).and_then(comment),
            uses: attribute(bytes, USE).map_or(0, be32),
        }
    }
}

impl From<&[u8]> for Chain {
    fn from(bytes: &[u8]) -> Self {
        const HANDLE: u16 = 2;
        const USE: u16 = 6;
        const USER_DATA: u16 = 12;
        Self {
            handle: attribute(bytes, HANDLE).map_or(0, be64),
            hook: Hook::of_chain(bytes),
            comment: attribute(bytes, USER_DATA).and_then(comment),
            uses: attribute(bytes, USE).map_or(0, be32),
        }
    }
}

impl From<&[u8]> for Set {
    fn from(bytes: &[u8]) -> Self {
        const DESCRIPTION: u16 = 9;
        const SIZE: u16 = 1;
        let number = |kind| attribute(bytes, kind).map(be32);
        Self {
            flags: number(3).unwrap_or_default(),
            key_type: number(4).unwrap_or_default(),
            key_len: number(5).unwrap_or_default(),
            value: number(6).map(|kind| (kind, number(7).unwrap_or_default())),
            has_expression: attribute(bytes, SET_EXPRESSION).is_some(),
            size: attribute(bytes, DESCRIPTION).and_then(|it| attribute(it, SIZE)).map(be32),
        }
    }
}

/// The elements of one message.
pub(super) fn elements(bytes: &[u8]) -> Vec<Element> {
    const ELEMENTS: u16 = 3;
    attribute(bytes, ELEMENTS)
        .into_iter()
        .flat_map(attributes)
        .filter(|(kind, _)| *kind == LIST_ELEMENT)
        .map(|(_, element)| Element::from(element))
        .collect()
}

impl From<&[u8]> for Element {
    fn from(bytes: &[u8]) -> Self {
        const KEY: u16 = 1;
        const DATA: u16 = 2;
        const FLAGS: u16 = 3;
        const EXPRESSION: u16 = 7;
        const VALUE: u16 = 1;
        const INTERVAL_END: u32 = 1;
        let key = attribute(bytes, KEY).and_then(|key| attribute(key, VALUE));
        let value = match attribute(bytes, DATA) {
            None => RawValue::None,
            Some(value) => attribute(value, VALUE).map_or_else(
                || RawValue::Jump(jump_target(value).unwrap_or_default()),
                |bytes| RawValue::Data(bytes.to_vec()),
            ),
        };
        Self {
            pair: Pair { key: key.unwrap_or_default().to_vec(), value },
            ends_interval: attribute(bytes, FLAGS).map_or(0, be32) & INTERVAL_END != 0,
            counter: attribute(bytes, EXPRESSION).map(Bytecode::from).and_then(|it| it.counter()),
        }
    }
}

/// The chain to which a verdict jumps.
pub(super) fn jump_target(value: &[u8]) -> Option<String> {
    const VERDICT: u16 = 2;
    const CODE: u16 = 1;
    const CHAIN: u16 = 2;
    let verdict = attribute(value, VERDICT)?;
    let code = attribute(verdict, CODE).map(be32)?;
    (code == NFT_JUMP).then(|| attribute(verdict, CHAIN).map(text))?
}

/// The comment in nft's user data: kind, length, value for each part.
fn comment(mut bytes: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = bytes {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == USER_DATA_COMMENT {
            return Some(text(value));
        }
        bytes = rest;
    }
    None
}

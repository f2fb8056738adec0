//! What the kernel answers about tables, chains, sets, elements and rules, read from the bytes.

use netlink_packet_core::{DefaultNla, Emitable};

use super::attribute::{attribute, attributes, be32, be64, text};
use super::element::{Pair, RawValue};
use super::expression::Expression;

const LIST_ELEMENT: u16 = 1;
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

/// Where a base chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) kind: String,
    pub(super) number: u32,
    pub(super) priority: i32,
    pub(super) links: Vec<String>,
    pub(super) policy: u32,
}

/// A set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) flags: u32,
    pub(super) key_type: u32,
    pub(super) key_len: u32,
    /// Type and length of a map's values.
    pub(super) value: Option<(u32, u32)>,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) pair: Pair,
    pub(super) ends_interval: bool,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    pub(super) expressions: Vec<Bytecode>,
}

/// One expression as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytecode {
    pub(super) name: String,
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
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
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const USE: u16 = 6;
        const TYPE: u16 = 7;
        const USER_DATA: u16 = 12;
        let hook = attribute(bytes, HOOK).map(|nested| {
            let mut hook = Hook::from(nested);
            hook.kind = attribute(bytes, TYPE).map(text).unwrap_or_default();
            hook.policy = attribute(bytes, POLICY).map_or(u32::MAX, be32);
            hook
        });
        Self {
            handle: attribute(bytes, HANDLE).map_or(0, be64),
            hook,
            comment: attribute(bytes, USER_DATA).and_then(comment),
            uses: attribute(bytes, USE).map_or(0, be32),
        }
    }
}

impl From<&[u8]> for Hook {
    fn from(bytes: &[u8]) -> Self {
        const NUMBER: u16 = 1;
        const PRIORITY: u16 = 2;
        const LINK: u16 = 3;
        const LINKS: u16 = 4;
        // One link comes in both forms.
        let mut links: Vec<String> = attribute(bytes, LINK).map(text).into_iter().collect();
        if let Some(list) = attribute(bytes, LINKS) {
            links.extend(attributes(list).map(|(_, name)| text(name)));
        }
        links.sort();
        links.dedup();
        Self {
            kind: String::new(),
            number: attribute(bytes, NUMBER).map_or(u32::MAX, be32),
            priority: attribute(bytes, PRIORITY).map_or(0, be32).cast_signed(),
            links,
            policy: u32::MAX,
        }
    }
}

impl From<&[u8]> for Set {
    fn from(bytes: &[u8]) -> Self {
        let number = |kind| attribute(bytes, kind).map(be32);
        Self {
            flags: number(3).unwrap_or_default(),
            key_type: number(4).unwrap_or_default(),
            key_len: number(5).unwrap_or_default(),
            value: number(6).map(|kind| (kind, number(7).unwrap_or_default())),
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
        }
    }
}

/// The chain to which a verdict jumps.
fn jump_target(value: &[u8]) -> Option<String> {
    const VERDICT: u16 = 2;
    const CODE: u16 = 1;
    const CHAIN: u16 = 2;
    let verdict = attribute(value, VERDICT)?;
    let code = attribute(verdict, CODE).map(be32)?;
    (code == NFT_JUMP).then(|| attribute(verdict, CHAIN).map(text))?
}

impl From<&[u8]> for Rule {
    fn from(bytes: &[u8]) -> Self {
        const CHAIN: u16 = 2;
        const EXPRESSIONS: u16 = 4;
        let expressions = attribute(bytes, EXPRESSIONS)
            .into_iter()
            .flat_map(attributes)
            .filter(|(kind, _)| *kind == LIST_ELEMENT)
            .map(|(_, expression)| Bytecode::from(expression))
            .collect();
        Self { chain: attribute(bytes, CHAIN).map(text).unwrap_or_default(), expressions }
    }
}

impl From<&[u8]> for Bytecode {
    fn from(bytes: &[u8]) -> Self {
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        let name = attribute(bytes, NAME).map(text).unwrap_or_default();
        let attributes = attribute(bytes, DATA)
            .into_iter()
            .flat_map(attributes)
            .map(|(kind, value)| match (name.as_str(), kind) {
                ("immediate", 2) | ("cmp", 3) | ("bitwise", 4 | 5) => (kind, plain(value)),
                _ => (kind, value.to_vec()),
            })
            .collect();
        Self { name, attributes }
    }
}

/// Nested data without flag bits: the kernel does not set in a dump what we set in a message.
fn plain(data: &[u8]) -> Vec<u8> {
    const VERDICT: u16 = 2;
    let mut out = Vec::with_capacity(data.len());
    for (kind, value) in attributes(data) {
        let nested = (kind == VERDICT).then(|| plain_list(value));
        push_attribute(&mut out, kind, nested.as_deref().unwrap_or(value));
    }
    out
}

fn plain_list(list: &[u8]) -> Vec<u8> {
    attributes(list).fold(Vec::new(), |mut out, (kind, value)| {
        push_attribute(&mut out, kind, value);
        out
    })
}

fn push_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let start = out.len();
    out.resize(start + attribute.buffer_len(), 0);
    attribute.emit(&mut out[start..]);
}

impl From<&Expression> for Bytecode {
    fn from(expression: &Expression) -> Self {
        let mut bytes = vec![0; expression.buffer_len()];
        expression.emit(&mut bytes);
        let element = attribute(&bytes, LIST_ELEMENT).unwrap_or_default();
        Self::from(element)
    }
}

impl Rule {
    /// Whether the kernel has what we wrote: each expression in order with all that we said of it.
    pub(super) fn is(&self, wanted: &[Expression]) -> bool {
        self.difference(wanted).is_none()
    }

    /// The first expression (from 1) that is not what we wrote.
    pub(super) fn difference(&self, wanted: &[Expression]) -> Option<usize> {
        let same = self
            .expressions
            .iter()
            .zip(wanted)
            .take_while(|(found, wanted)| found.has(&Bytecode::from(*wanted)))
            .count();
        (same != self.expressions.len() || same != wanted.len()).then_some(same + 1)
    }

    /// Chains to which the rule jumps.
    pub(super) fn jumps(&self) -> impl Iterator<Item = String> {
        const IMMEDIATE_DATA: u16 = 2;
        self.expressions.iter().filter(|bytecode| bytecode.name == "immediate").filter_map(
            |bytecode| {
                let (_, data) =
                    bytecode.attributes.iter().find(|(kind, _)| *kind == IMMEDIATE_DATA)?;
                jump_target(data)
            },
        )
    }

    /// Packets and bytes of its counter.
    pub(super) fn counter(&self) -> Option<(u64, u64)> {
        const BYTES: u16 = 1;
        const PACKETS: u16 = 2;
        let counter = self.expressions.iter().find(|bytecode| bytecode.name == "counter")?;
        let number = |number: u16| {
            let value = counter.attributes.iter().find(|(kind, _)| *kind == number);
            value.map_or(0, |(_, value)| be64(value))
        };
        Some((number(PACKETS), number(BYTES)))
    }
}

impl Bytecode {
    /// All that is wanted, and nothing besides but what the kernel adds on its own.
    fn has(&self, wanted: &Bytecode) -> bool {
        self.name == wanted.name
            && wanted.attributes.iter().all(|attribute| self.attributes.contains(attribute))
            && self.attributes.iter().all(|attribute @ (kind, _)| {
                wanted.attributes.contains(attribute) || self.is_added_by_kernel(*kind)
            })
    }

    fn is_added_by_kernel(&self, kind: u16) -> bool {
        let is_zero = || self.value(kind).is_some_and(|value| be32(value) == 0);
        match (self.name.as_str(), kind) {
            // The end of the address range (the same register) and flags that follow from it.
            ("nat", 4 | 7) | ("counter", _) => true,
            // Checksum type, offset and flags: none. The operation: mask and xor. Flags: none.
            ("payload", 6..=8) | ("bitwise", 6) | ("lookup", 5) => is_zero(),
            _ => false,
        }
    }

    fn value(&self, number: u16) -> Option<&[u8]> {
        let (_, value) = self.attributes.iter().find(|(kind, _)| *kind == number)?;
        Some(value)
    }
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

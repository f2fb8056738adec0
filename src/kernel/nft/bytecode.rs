//! Rules as the kernel has them: read from its answers, and compared with what we write.

use netlink_packet_core::{DefaultNla, Emitable};

use super::attribute::{attribute, attributes, be64, text};
use super::expression::Expression;
use super::found::{LIST_ELEMENT, jump_target};

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
        self.expressions.iter().find_map(Bytecode::counter)
    }
}

impl Bytecode {
    /// Packets and bytes, if it is a counter.
    pub(super) fn counter(&self) -> Option<(u64, u64)> {
        const BYTES: u16 = 1;
        const PACKETS: u16 = 2;
        let number = |kind| self.value(kind).map_or(0, be64);
        (self.name == "counter").then(|| (number(PACKETS), number(BYTES)))
    }

    /// All that is wanted, and nothing besides but what the kernel adds on its own.
    fn has(&self, wanted: &Bytecode) -> bool {
        self.name == wanted.name
            && wanted.attributes.iter().all(|attribute| self.attributes.contains(attribute))
            && self.attributes.iter().all(|attribute @ (kind, _)| {
                wanted.attributes.contains(attribute) || self.is_added_by_kernel(*kind)
            })
    }

    fn is_added_by_kernel(&self, kind: u16) -> bool {
        let is_zero = || self.value(kind).is_some_and(|value| value.iter().all(|byte| *byte == 0));
        match (self.name.as_str(), kind) {
            // The end of the address range (the same register) and flags that follow from it.
            ("nat", 4 | 7) | ("counter", _) => true,
            // Checksum type, offset and flags: none. The operation: mask and xor. Flags: none.
            // Timeout and flags: none.
            ("payload", 6..=8) | ("bitwise", 6) | ("lookup", 5) | ("dynset", 6 | 9) => is_zero(),
            _ => false,
        }
    }

    fn value(&self, number: u16) -> Option<&[u8]> {
        let (_, value) = self.attributes.iter().find(|(kind, _)| *kind == number)?;
        Some(value)
    }
}

//! The bytes of one transaction under a generation, with the name of what each message tries.

use egret_egress::nft::TableFamily;
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::attribute::attributes;
use super::message::{append, append_netfilter};

/// For which part of nfnetlink a batch is.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u8 = 16;
/// "Only if the ruleset is still of this generation" (kernel 4.12).
const NFNL_BATCH_GENID: u16 = 1;
/// Place of the flags in a netlink header.
const FLAGS: std::ops::Range<usize> = 6..8;

/// A transaction that is being written.
pub(super) struct Batch {
    bytes: Vec<u8>,
    first: u32,
    /// Where each message starts, and what it tries on which object. The first begins the batch.
    messages: Vec<(usize, String)>,
}

/// A place in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    messages: usize,
}

/// A whole transaction.
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    first: u32,
    messages: Vec<(usize, String)>,
}

impl Batch {
    /// Sequence numbers from `first` on are the batch's.
    pub(super) fn new(first: u32, generation: u32) -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(4096), first, messages: Vec::new() };
        let id = DefaultNla::new(NFNL_BATCH_GENID, generation.to_be_bytes().to_vec());
        let begin =
            ControlMessage::Other { message_type: NFNL_MSG_BATCH_BEGIN, attributes: vec![id] };
        batch.messages.push((0, "begin a transaction".to_owned()));
        append_netfilter(&mut batch.bytes, NLM_F_REQUEST, first, control(begin));
        batch
    }

    /// Sequence numbers a batch may use.
    pub(super) const SEQUENCES: u32 = 1 << 20;

    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), messages: self.messages.len() }
    }

    /// Whether something was added before `mark`.
    pub(super) fn has_messages_before(mark: Mark) -> bool {
        mark.messages > 1
    }

    /// Takes back what was added after `mark`.
    pub(super) fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.messages.truncate(mark.messages);
    }

    /// The number of the next message, unique in the batch.
    pub(super) fn next_sequence(&self) -> u32 {
        let count = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.first.wrapping_add(count)
    }

    /// Adds a message; the label is its operation and object.
    pub(super) fn push(
        &mut self,
        family: TableFamily,
        flags: u16,
        message: NfTablesMessage,
        label: String,
    ) {
        let sequence = self.next_sequence();
        self.messages.push((self.bytes.len(), label));
        append(&mut self.bytes, NLM_F_REQUEST | flags, sequence, protocol(family), message);
    }

    /// The bytes to send; `None` if nothing was added.
    pub(super) fn finish(mut self) -> Option<Sent> {
        if self.messages.len() < 2 {
            return None;
        }
        // Errors come unasked; the last message alone is acknowledged.
        let (last, _) = self.messages.last()?;
        let flags = self.bytes.get_mut(*last..)?.get_mut(FLAGS)?;
        let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
        flags.copy_from_slice(&asked.to_ne_bytes());
        let sequence = self.next_sequence();
        append_netfilter(
            &mut self.bytes,
            NLM_F_REQUEST,
            sequence,
            control(ControlMessage::BatchEnd),
        );
        self.messages.push((self.bytes.len(), "commit a transaction".to_owned()));
        Some(Sent { bytes: self.bytes, first: self.first, messages: self.messages })
    }
}

impl Sent {
    /// Which message of this batch has this sequence number.
    pub(super) fn index_of(&self, sequence: u32) -> Option<usize> {
        let index = sequence.wrapping_sub(self.first) as usize;
        (index < self.messages.len()).then_some(index)
    }

    /// The last message about an object.
    pub(super) fn last(&self) -> usize {
        self.messages.len().saturating_sub(2)
    }

    pub(super) fn operation(&self, index: usize) -> String {
        self.messages.get(index).map(|(_, operation)| operation.clone()).unwrap_or_default()
    }

    /// The attribute at this offset of a message.
    pub(super) fn attribute_at(&self, index: usize, offset: usize) -> Option<(u16, Vec<u8>)> {
        let (start, _) = self.messages.get(index)?;
        let (kind, value) = attributes(self.bytes.get(start + offset..)?).next()?;
        Some((kind, value.to_vec()))
    }
}

/// The family of the messages about a table.
pub(super) fn protocol(family: TableFamily) -> NetfilterProtoFamily {
    match family {
        TableFamily::Netdev => NetfilterProtoFamily::NetDev,
        TableFamily::Inet => NetfilterProtoFamily::Inet,
    }
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    NetfilterMessage::new(header, message)
}

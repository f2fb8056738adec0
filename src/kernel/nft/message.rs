//! Single netlink messages: written with their headers, and read from the kernel's datagrams with
//! its errors.

use netlink_packet_core::{
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::attribute::{attribute, text};

const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
const NETLINK_HEADER: usize = 16;

/// One netlink message of a datagram.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// Adds one message with its padding.
pub(super) fn append(
    out: &mut Vec<u8>,
    flags: u16,
    sequence: u32,
    family: NetfilterProtoFamily,
    message: NfTablesMessage,
) {
    append_netfilter(
        out,
        flags,
        sequence,
        NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message),
    );
}

/// The same for messages of nfnetlink itself.
pub(super) fn append_netfilter(
    out: &mut Vec<u8>,
    flags: u16,
    sequence: u32,
    message: NetfilterMessage,
) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = out.len();
    out.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut out[start..]);
}

/// The messages of one datagram; ends at the first malformed one.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = message.length() as usize;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: message.into_inner().get(NETLINK_HEADER..length)?,
        })
    })
}

impl Message<'_> {
    /// The error number, if this says one. An acknowledgement is the error 0.
    pub(super) fn error(&self) -> Option<i32> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let code = self.payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
        (code != 0).then(|| code.saturating_neg())
    }

    /// The kernel's words, and the offset of the attribute it means in the refused message.
    pub(super) fn extended_ack(&self) -> (Option<String>, Option<usize>) {
        let echoed = self.payload.get(4..).unwrap_or_default();
        if self.flags & NLM_F_ACK_TLVS == 0 || echoed.len() < NETLINK_HEADER {
            return (None, None);
        }
        let length = match echoed.first_chunk() {
            Some(length) if self.flags & NLM_F_CAPPED == 0 => u32::from_ne_bytes(*length) as usize,
            _ => NETLINK_HEADER,
        };
        let rest = echoed.get(length.next_multiple_of(4)..).unwrap_or_default();
        let offset = attribute(rest, NLMSGERR_ATTR_OFFS)
            .and_then(|value| value.first_chunk())
            .map(|offset| u32::from_ne_bytes(*offset) as usize);
        (attribute(rest, NLMSGERR_ATTR_MSG).map(text), offset)
    }
}

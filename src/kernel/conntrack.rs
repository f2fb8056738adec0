//! Connection tracking of a namespace, asked over netlink (`ctnetlink`). It has a room of its own
//! beside `netlink`, whose objects are made and removed: here is only counted.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::Emitable;

use crate::error::Error;
use crate::netlink::attribute::Attributes;
use crate::netlink::socket::Socket;

/// `NFNL_SUBSYS_CTNETLINK`, in the high byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const GET_STATS_CPU: u16 = SUBSYSTEM | 4;
/// Family, version and resource id before the attributes of every nfnetlink message.
const HEADER: usize = 4;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;

/// What became of packets of which connection tracking could make no flow, since the namespace was
/// made. Each number is a sum over all processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets dropped: the table was full, or another flow had the same numbers.
    pub dropped: u64,
    /// Flows removed before their time to make room.
    pub evicted: u64,
    /// Flows that found no place in the table, whether it was full or not.
    pub insert_failed: u64,
    /// Those of them whose chain in the table was too long (since Linux 5.15).
    pub chain_too_long: u64,
}

impl Statistics {
    /// First packets dropped because another flow had the same addresses and ports, behind source
    /// NAT as a rule: no port was left.
    pub fn clashes(self) -> u64 {
        self.insert_failed.saturating_sub(self.chain_too_long)
    }

    /// First packets dropped because the table was full. The kernel counts them together with the
    /// clashes.
    pub fn table_full(self) -> u64 {
        self.dropped.saturating_sub(self.clashes())
    }

    /// One processor's numbers.
    fn add(&mut self, payload: &[u8]) {
        const INSERT_FAILED: u16 = 9;
        const DROP: u16 = 10;
        const EARLY_DROP: u16 = 11;
        const CHAIN_TOO_LONG: u16 = 15;
        let attributes = Attributes::behind(HEADER, payload);
        let number = |kind| attributes.u32_be(kind).map_or(0, u64::from);
        self.dropped += number(DROP);
        self.evicted += number(EARLY_DROP);
        self.insert_failed += number(INSERT_FAILED);
        self.chain_too_long += number(CHAIN_TOO_LONG);
    }
}

pub(crate) fn statistics(socket: &Socket) -> Result<Statistics, Error> {
    socket.fold(GET_STATS_CPU, &All, Statistics::add)
}

/// Live flows of both families by connection mark. A table of hundreds of thousands is read without
/// being kept.
pub(crate) fn flows_by_mark(socket: &Socket) -> Result<BTreeMap<u32, u64>, Error> {
    socket.fold(GET, &All, |flows: &mut BTreeMap<u32, u64>, payload| {
        // The kernel leaves a mark of 0 out.
        let mark = Attributes::behind(HEADER, payload).u32_be(CTA_MARK).unwrap_or(0);
        *flows.entry(mark).or_default() += 1;
    })
}

/// How many of the flows with these numbers live. nftables calls the number `ct id`, and has its
/// bytes as they are here.
pub(crate) fn count_living(socket: &Socket, numbers: &BTreeSet<u32>) -> Result<u64, Error> {
    if numbers.is_empty() {
        return Ok(0);
    }
    socket.fold(GET, &All, |living: &mut u64, payload| {
        let number = Attributes::behind(HEADER, payload).u32(CTA_ID);
        *living += u64::from(number.is_some_and(|number| numbers.contains(&number)));
    })
}

/// The header of a question about all families (`AF_UNSPEC`).
struct All;

impl Emitable for All {
    fn buffer_len(&self) -> usize {
        HEADER
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of Linux 6.18: header with the processor's number, then the attributes in the
    /// kernel's order, of which most do not matter here.
    fn answer(processor: u8, numbers: &[(u8, u32)]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, processor];
        for (kind, number) in numbers {
            // A length and a kind in the machine's order, the number in the network's.
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(u16::from(*kind).to_ne_bytes());
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn processors_are_summed_and_a_full_table_is_told_from_a_clash() {
        let first = [(2, 7), (4, 3), (8, 0), (9, 5), (10, 12), (11, 2), (12, 1), (13, 9), (14, 4)];
        let second = [(2, 1), (9, 1), (10, 1), (11, 1), (15, 0)];
        let mut sum = Statistics::default();
        sum.add(&answer(0, &first));
        sum.add(&answer(1, &second));
        let wanted = Statistics { dropped: 13, evicted: 3, insert_failed: 6, chain_too_long: 0 };
        assert_eq!(sum, wanted);
        assert_eq!((sum.table_full(), sum.clashes()), (7, 6));
    }

    #[test]
    fn a_chain_that_is_too_long_is_no_clash() {
        let mut sum = Statistics::default();
        sum.add(&answer(0, &[(9, 4), (10, 1), (15, 3)]));
        assert_eq!((sum.table_full(), sum.clashes(), sum.chain_too_long), (0, 1, 3));
    }

    #[test]
    fn a_truncated_answer_counts_nothing() {
        let whole = answer(0, &[(10, 12)]);
        for length in 0..whole.len() {
            let mut sum = Statistics::default();
            sum.add(&whole[..length]);
            assert_eq!(sum, Statistics::default(), "{length} bytes");
        }
    }
}

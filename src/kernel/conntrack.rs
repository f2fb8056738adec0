//! Connection tracking of a namespace, asked over netlink (`ctnetlink`). It has a room of its own
//! beside `netlink`, whose objects are made and compared: flows are made by packets, and here only
//! counted and deleted.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};
use nix::errno::Errno;

use crate::error::{Error, refused_with};
use crate::netlink::attribute::Attributes;
use crate::netlink::socket::Socket;

/// `NFNL_SUBSYS_CTNETLINK`, in the high byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const GET_STATS_CPU: u16 = SUBSYSTEM | 4;
/// Family, version and resource id before the attributes of every nfnetlink message.
const HEADER: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
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

/// How many of these flows live.
pub(crate) fn count_living(socket: &Socket, flows: &BTreeSet<FlowKey>) -> Result<u64, Error> {
    if flows.is_empty() {
        return Ok(0);
    }
    socket.fold(GET, &All, |living: &mut u64, payload| {
        *living += u64::from(FlowKey::of(payload).is_some_and(|key| flows.contains(&key)));
    })
}

/// Deletes those of these flows that live, and tells how many it were.
pub(crate) fn delete(socket: &Socket, flows: &BTreeSet<FlowKey>) -> Result<u64, Error> {
    if flows.is_empty() {
        return Ok(0);
    }
    let found = socket.fold(GET, &All, |found: &mut Vec<Entry>, payload| {
        let wanted = FlowKey::of(payload).is_some_and(|key| flows.contains(&key));
        found.extend(Entry::of(payload).filter(|_| wanted));
    })?;
    let mut deleted = 0;
    for entry in found {
        let answer = socket.change(DELETE, 0, &entry);
        // It has ended meanwhile, by itself or because another flow has its place.
        if !refused_with(&answer, &[Errno::ENOENT]) {
            answer?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// A flow, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// The kernel's number, a hash. nftables calls it `ct id` and has its bytes as they are here.
    pub number: u32,
    /// Its connection mark: a later flow of somebody else may have the same number.
    pub mark: u32,
}

impl FlowKey {
    fn of(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::behind(HEADER, payload);
        let mark = attributes.u32_be(CTA_MARK).unwrap_or(0);
        Some(Self { number: attributes.u32(CTA_ID)?, mark })
    }
}

/// What names an entry to the kernel: the numbers of its first direction, with the zone in them, and
/// its own, so that another one in its place is left alone.
struct Entry {
    family: u8,
    original: Vec<u8>,
    number: Vec<u8>,
}

impl Entry {
    fn of(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::behind(HEADER, payload);
        Some(Self {
            family: *payload.first()?,
            original: attributes.bytes(CTA_TUPLE_ORIG)?.to_vec(),
            number: attributes.bytes(CTA_ID)?.to_vec(),
        })
    }

    fn attributes(&self) -> [DefaultNla; 2] {
        [
            DefaultNla::new(CTA_TUPLE_ORIG | NLA_F_NESTED, self.original.clone()),
            DefaultNla::new(CTA_ID, self.number.clone()),
        ]
    }
}

impl Emitable for Entry {
    fn buffer_len(&self) -> usize {
        HEADER + self.attributes().as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let (header, rest) = buffer.split_at_mut(HEADER);
        header.copy_from_slice(&[self.family, 0, 0, 0]);
        self.attributes().as_slice().emit(rest);
    }
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

    /// An answer in the layout of Linux 6.18, with numbers made up: header with the processor's number,
    /// then the attributes in the kernel's order, of which most do not matter here.
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

//! One netlink socket, for routes or for connection tracking: send a request, read its answer. The
//! kernel does the work inside `sendmsg`, so answers are there when it returns; nothing is gained by
//! not waiting for them.

use std::cell::Cell;
use std::io;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_MULTIPART, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NetlinkBuffer,
    NetlinkHeader,
};
use netlink_sys::{
    SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::attribute::{Attributes, u32_at};
use crate::error::Error;

/// Only a bug of the kernel or of ours lets an answer wait at all; nobody hangs for it.
const PATIENCE_SECONDS: i64 = 5;
/// How often a list is read again that changed under the reading.
const ATTEMPTS: u32 = 10;
const HEADER: usize = 16;
/// In the attributes of an error: the kernel's own words.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// See the file comment. It belongs to the namespace of the thread that opened it.
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    sequence: Cell<u32>,
}

impl Socket {
    /// For links, addresses, routes, rules and neighbours.
    pub(crate) fn route() -> Result<Self, Error> {
        Self::open(NETLINK_ROUTE)
    }

    /// For connection tracking.
    pub(crate) fn netfilter() -> Result<Self, Error> {
        Self::open(NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> Result<Self, Error> {
        let failed = |source| Error::Socket { step: "opening", source };
        let mut socket = netlink_sys::Socket::new(protocol).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        // Lets the kernel filter lists. Kernels before 4.20 do not know it and send all of them,
        // so every reader filters again.
        if socket.set_netlink_get_strict_chk(true).is_err() {
            log::debug!("this kernel does not filter lists");
        }
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))
            .map_err(|errno| failed(errno.into()))?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// Sends a change and waits until it is done.
    pub(crate) fn change(
        &self,
        kind: u16,
        flags: u16,
        message: &impl Emitable,
    ) -> Result<(), Error> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, message)?;
        self.answer(|_| ()).map(|_| ())
    }

    /// Asks for one object; its message without the header of netlink.
    pub(crate) fn get(&self, kind: u16, message: &impl Emitable) -> Result<Vec<u8>, Error> {
        self.send(kind, NLM_F_REQUEST, message)?;
        let mut object = None;
        self.answer(|payload| object = Some(payload.to_vec()))?;
        object.ok_or(Error::Malformed { what: "object" })
    }

    /// Reads a list, again when it changed meanwhile. `parse` chooses and decodes.
    pub(crate) fn list<T>(
        &self,
        kind: u16,
        message: &impl Emitable,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        // Decoded afterwards: the shorter the reading, the less can change meanwhile.
        let found = self.fold(kind, message, |all: &mut Vec<_>, one| all.push(one.to_vec()))?;
        Ok(found.iter().filter_map(|found| parse(found)).collect())
    }

    /// Reads a list without keeping it, however long it is: `add` sums up, from an empty sum again
    /// when the list changed meanwhile.
    pub(crate) fn fold<T: Default>(
        &self,
        kind: u16,
        message: &impl Emitable,
        add: impl Fn(&mut T, &[u8]),
    ) -> Result<T, Error> {
        for _ in 0..ATTEMPTS {
            let mut sum = T::default();
            self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, message)?;
            if self.answer(|found| add(&mut sum, found))? == Reading::Whole {
                return Ok(sum);
            }
        }
        Err(Error::Interrupted { attempts: ATTEMPTS })
    }

    fn send(&self, kind: u16, flags: u16, message: &impl Emitable) -> Result<(), Error> {
        let failed = |source| Error::Socket { step: "sending on", source };
        self.sequence.set(self.sequence.get().wrapping_add(1));
        let mut header = NetlinkHeader::default();
        let mut buffer = vec![0; HEADER + message.buffer_len()];
        header.length = u32::try_from(buffer.len()).map_err(|e| failed(io::Error::other(e)))?;
        header.message_type = kind;
        header.flags = flags;
        header.sequence_number = self.sequence.get();
        let (head, body) = buffer.split_at_mut(HEADER);
        header.emit(head);
        message.emit(body);
        self.socket.send(&buffer, 0).map(|_| ()).map_err(failed)
    }

    /// Reads until the answer to the last request is complete, and hands out its messages.
    fn answer(&self, mut take: impl FnMut(&[u8])) -> Result<Reading, Error> {
        let mut reading = Reading::Whole;
        loop {
            let datagram = self.receive()?;
            let mut rest = datagram.as_slice();
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                // Answers to an earlier request that ran out of patience.
                if message.sequence_number() == self.sequence.get() {
                    if message.flags() & NLM_F_DUMP_INTR != 0 {
                        reading = Reading::Interrupted;
                    }
                    if take_message(&message, &mut take)? == Next::Nothing {
                        return Ok(reading);
                    }
                }
                let length = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }

    fn receive(&self) -> Result<Vec<u8>, Error> {
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => return Ok(datagram),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Socket { step: "waiting for an answer on", source });
                }
            }
        }
    }
}

/// Whether a list is what it was at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Whole,
    /// It changed while it was read.
    Interrupted,
}

/// What follows a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Messages,
    Nothing,
}

fn take_message(
    message: &NetlinkBuffer<&[u8]>,
    take: &mut impl FnMut(&[u8]),
) -> Result<Next, Error> {
    let payload = message.payload();
    match message.message_type() {
        NLMSG_NOOP => Ok(Next::Messages),
        NLMSG_ERROR | NLMSG_DONE => match u32_at(payload, 0).unwrap_or(0).cast_signed() {
            0.. => Ok(Next::Nothing),
            code => Err(refusal(code, message.flags(), payload)),
        },
        _ => {
            take(payload);
            let more = message.flags() & NLM_F_MULTIPART != 0;
            Ok(if more { Next::Messages } else { Next::Nothing })
        }
    }
}

/// The error of an `NLMSG_ERROR`: number, then the request (with `NETLINK_CAP_ACK` only its
/// header), then attributes.
fn refusal(code: i32, flags: u16, payload: &[u8]) -> Error {
    let echoed =
        if flags & NLM_F_CAPPED == 0 { u32_at(payload, 4).unwrap_or(0) as usize } else { HEADER };
    let attributes = Attributes::behind(4 + echoed.next_multiple_of(4), payload);
    let known = flags & NLM_F_ACK_TLVS != 0;
    let text = attributes.text(NLMSGERR_ATTR_MSG).filter(|text| known && !text.is_empty());
    Error::Kernel { errno: Errno::from_raw(-code), text }
}

//! One netlink socket for nftables: reads, dumps, and transactions under the generation that was
//! read. What is asked and sent is not decided here.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::batch::Batch;
use super::error::{Error, Refusal};
use super::message::{append, messages};

/// A dump's datagrams have at most 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// A transaction is one datagram and must fit the send buffer.
const SOCKET_BUFFER: usize = 4 << 20;
/// A deadline for reads that the kernel answers late; it answers within the send as a rule.
const ANSWER_SECONDS: i64 = 5;
/// Questions of one send, so that their answers fit the receive buffer.
const PIPELINE: usize = 512;
/// Every lost try means that another writer succeeded.
const TRIES: u32 = 500;
const LONGEST_PAUSE: Duration = Duration::from_millis(3);

const NLM_F_DUMP_INTR: u16 = 0x10;
/// Family, version and resource id before the attributes of every nfnetlink message.
const NETFILTER_HEADER: usize = 4;

/// A socket that stays in the network namespace in which it was opened.
pub(crate) struct Socket {
    netlink: netlink_sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A read of one object, or of a list.
pub(super) struct Question {
    pub(super) family: NetfilterProtoFamily,
    pub(super) message: NfTablesMessage,
    /// Its name in errors.
    pub(super) object: String,
}

/// A transaction, planned from what was read.
pub(super) struct Plan {
    pub(super) batch: Batch,
    pub(super) next: Next,
}

/// Whether a plan is the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Done,
    /// Another transaction must follow: plan again.
    Again,
}

enum Commit {
    Done,
    /// The ruleset has changed since it was read.
    Stale,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, Error> {
        let failed = |source| Error::Open { source };
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0)).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        socket.set_ext_ack(true).map_err(failed)?;
        set_options(&socket).map_err(|errno| failed(errno.into()))?;
        Ok(Self { netlink: socket, sequence: 1, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Sequence numbers for `count` messages, for nothing else of this socket.
    pub(super) fn take_sequence(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    /// Asks for single objects, all in one send; the attributes of each, `None` where there is no
    /// such object.
    pub(super) fn ask(&mut self, questions: Vec<Question>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut answers = Vec::with_capacity(questions.len());
        let mut questions = questions.into_iter().peekable();
        while questions.peek().is_some() {
            let some: Vec<Question> = questions.by_ref().take(PIPELINE).collect();
            answers.extend(self.ask_some(some)?);
        }
        Ok(answers)
    }

    fn ask_some(&mut self, questions: Vec<Question>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let first = self.take_sequence(u32::try_from(questions.len()).unwrap_or(u32::MAX));
        let mut bytes = Vec::with_capacity(64 * questions.len());
        let mut objects = Vec::with_capacity(questions.len());
        for (question, sequence) in questions.into_iter().zip(first..) {
            append(&mut bytes, NLM_F_REQUEST, sequence, question.family, question.message);
            objects.push(question.object);
        }
        self.send(&bytes)?;
        let mut answers: Vec<Option<Vec<u8>>> = vec![None; objects.len()];
        let mut open = objects.len();
        while open > 0 {
            for message in messages(self.receive(MsgFlags::empty())?) {
                let index = message.sequence.wrapping_sub(first) as usize;
                let (Some(answer), Some(object)) = (answers.get_mut(index), objects.get(index))
                else {
                    continue; // A late answer to something older.
                };
                open -= 1;
                match message.error() {
                    None => *answer = message.payload.get(NETFILTER_HEADER..).map(<[u8]>::to_vec),
                    Some(errno) if errno == Errno::ENOENT as i32 => {}
                    Some(errno) => {
                        let source = io::Error::from_raw_os_error(errno);
                        return Err(Error::Read { object: object.clone(), source });
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Asks for a list; empty where what is listed does not exist. Begins again when the list
    /// changed meanwhile.
    pub(super) fn dump(&mut self, question: impl Fn() -> Question) -> Result<Vec<Vec<u8>>, Error> {
        for _ in 0..TRIES {
            let question = question();
            if let Some(list) = self.dump_once(question)? {
                return Ok(list);
            }
        }
        Err(Error::Contended { object: question().object, tries: TRIES })
    }

    fn dump_once(&mut self, question: Question) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let sequence = self.take_sequence(1);
        let mut bytes = Vec::with_capacity(64);
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        append(&mut bytes, flags, sequence, question.family, question.message);
        self.send(&bytes)?;
        let (mut list, mut interrupted) = (Vec::new(), false);
        loop {
            for message in messages(self.receive(MsgFlags::empty())?) {
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.error() {
                    Some(errno) if errno == Errno::ENOENT as i32 => return Ok(Some(list)),
                    Some(errno) => {
                        let source = io::Error::from_raw_os_error(errno);
                        return Err(Error::Read { object: question.object, source });
                    }
                    None if message.kind == NLMSG_DONE => {
                        return Ok((!interrupted).then_some(list));
                    }
                    None => {
                        list.extend(message.payload.get(NETFILTER_HEADER..).map(<[u8]>::to_vec));
                    }
                }
            }
        }
    }

    /// Plans and sends, until a plan was sent of which nothing had changed since it was read.
    pub(super) fn transact(
        &mut self,
        object: &str,
        mut plan: impl FnMut(&mut Self) -> Result<Plan, Error>,
    ) -> Result<(), Error> {
        let mut tries = 0;
        while tries < TRIES {
            let Plan { batch, next } = plan(self)?;
            match (self.commit(batch)?, next) {
                (Commit::Done, Next::Done) => return Ok(()),
                (Commit::Done, Next::Again) => tries = 0,
                (Commit::Stale, _) => {
                    tries += 1;
                    std::thread::sleep(self.pause(tries));
                }
            }
        }
        Err(Error::Contended { object: object.to_owned(), tries })
    }

    /// Longer with each lost try, and different for each process, by its sockets' addresses.
    fn pause(&self, tries: u32) -> Duration {
        let seed = std::process::id().wrapping_mul(31).wrapping_add(self.sequence);
        let spread = 64 + seed.wrapping_mul(2_654_435_761) % 128;
        (Duration::from_micros(u64::from(spread)) * tries.min(32)).min(LONGEST_PAUSE)
    }

    /// Sends one transaction: all of it is applied or none.
    fn commit(&mut self, batch: Batch) -> Result<Commit, Error> {
        let Some(sent) = batch.finish() else {
            return Ok(Commit::Done);
        };
        self.send(&sent.bytes)?;
        // nfnetlink works inside the send: every answer is queued by now, so this never waits. The
        // acknowledgement of the last message alone is not success: it also comes when an earlier
        // one failed.
        let (mut refusals, mut acknowledged) = (Vec::new(), false);
        loop {
            let datagram = match self.receive(MsgFlags::MSG_DONTWAIT) {
                Err(Error::Exchange { source, .. })
                    if source.kind() == io::ErrorKind::WouldBlock =>
                {
                    break;
                }
                other => other?,
            };
            for message in messages(datagram) {
                let Some(index) = sent.index_of(message.sequence) else { continue };
                if message.kind != NLMSG_ERROR {
                    continue;
                }
                match message.error() {
                    None => acknowledged |= index == sent.last(),
                    Some(errno) if errno == Errno::ERESTART as i32 => return Ok(Commit::Stale),
                    Some(errno) => {
                        let (text, offset) = message.extended_ack();
                        let attribute = offset.and_then(|offset| sent.attribute_at(index, offset));
                        let operation = sent.operation(index);
                        refusals.push(Refusal { operation, errno, text, attribute });
                    }
                }
            }
        }
        match (refusals.is_empty(), acknowledged) {
            (true, true) => Ok(Commit::Done),
            (true, false) => Err(Error::Unacknowledged { object: sent.operation(sent.last()) }),
            (false, _) => Err(Error::Refused { refusals }),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let sent = self.netlink.send(bytes, 0);
        sent.map(|_| ()).map_err(|source| Error::Exchange { operation: "send to nftables", source })
    }

    fn receive(&mut self, flags: MsgFlags) -> Result<&[u8], Error> {
        let failed = |source| Error::Exchange { operation: "receive from nftables", source };
        self.buffer.clear();
        let flags = (flags | MsgFlags::MSG_TRUNC).bits();
        let length = self.netlink.recv(&mut self.buffer, flags).map_err(failed)?;
        if length > self.buffer.len() {
            return Err(failed(io::Error::other("a datagram is larger than 64 KiB")));
        }
        Ok(&self.buffer)
    }
}

fn set_options(socket: &netlink_sys::Socket) -> nix::Result<()> {
    // Beyond the system's limit where the process may; else as far as the limit goes.
    if setsockopt(socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    if setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))
}

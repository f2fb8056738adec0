//! A stream of numbered datagrams to a counter outside, which answers each with its number: which
//! were lost, on which of the two ways, and from which addresses they came.
//!
//! One datagram a millisecond, by deadlines that do not drift. On a busy machine the pace suffers,
//! the count does not.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::Ns;

const PERIOD: Duration = Duration::from_millis(1);
/// A sender that was kept from the processor for longer begins its schedule anew: all of it at once
/// would be more than the machine's own queues hold.
const LATE: Duration = Duration::from_millis(20);
/// Seconds of traffic, in case a reader is kept from the processor.
const BUFFER: usize = 8 << 20;
/// How long a datagram may still be on its way after the last one was sent.
const GRACE: Duration = Duration::from_secs(2);
/// How often a reader without anything to read looks whether it is over.
const GLANCE: Duration = Duration::from_millis(50);

/// A stream that runs until it is stopped or dropped.
pub struct Stream {
    next: Arc<AtomicU64>,
    sending: Arc<AtomicBool>,
    reading: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    sender: Option<JoinHandle<Duration>>,
    readers: Vec<JoinHandle<()>>,
}

/// What has been seen of a stream.
#[derive(Debug, Clone, Default)]
struct Tally {
    arrived: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    sources: BTreeSet<SocketAddr>,
}

/// What became of a stream.
#[derive(Debug, Clone)]
pub struct Report {
    tally: Tally,
    /// How many datagrams were sent; they are numbered from 0.
    pub sent: u64,
    /// How many that was in a second.
    pub pace: f64,
}

/// How many datagrams were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Sent, and not seen by the server.
    pub outward: u64,
    /// Seen by the server, which answered, and the answer not seen by the sender.
    pub inward: u64,
}

impl Lost {
    /// None.
    pub const NONE: Self = Self { outward: 0, inward: 0 };
}

impl Stream {
    /// From a namespace to a counter that is started at an address of another one, on a port of its
    /// own.
    #[track_caller]
    pub fn start(from: &Ns, to: &Ns, address: IpAddr) -> Self {
        let said = format!("a stream from {} to {address} in {}", from.name(), to.name());
        let (server, client) = sockets(from, to, address).unwrap_or_else(|e| panic!("{said}: {e}"));
        let flag = || Arc::new(AtomicBool::new(true));
        let mut stream = Self {
            next: Arc::default(),
            sending: flag(),
            reading: flag(),
            tally: Arc::default(),
            sender: None,
            readers: Vec::new(),
        };
        let answers = client.try_clone().unwrap_or_else(|e| panic!("{said}: {e}"));
        stream.read(server, count_and_answer);
        stream.read(answers, count_answer);
        let (sending, next) = (Arc::clone(&stream.sending), Arc::clone(&stream.next));
        stream.sender = Some(std::thread::spawn(move || send(&client, &sending, &next)));
        stream
    }

    fn read(&mut self, socket: UdpSocket, note: fn(&UdpSocket, &mut Tally, (u64, SocketAddr))) {
        let (reading, tally) = (Arc::clone(&self.reading), Arc::clone(&self.tally));
        self.readers.push(std::thread::spawn(move || {
            while reading.load(Ordering::Relaxed) {
                let mut number = [0; 8];
                // A timeout, or an error that some host sent: the stream goes on.
                let Ok((8, peer)) = socket.recv_from(&mut number) else { continue };
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                note(&socket, &mut tally, (u64::from_be_bytes(number), peer));
            }
        }));
    }

    /// The number of the next datagram.
    pub fn position(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// The number of the newest answer so far.
    pub fn newest_answer(&self) -> Option<u64> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).answered.last().copied()
    }

    /// Nothing more is sent; to be stopped all the same.
    pub fn send_no_more(&self) {
        self.sending.store(false, Ordering::Relaxed);
    }

    /// Ends it when what is on its way has come, or could have.
    pub fn stop(mut self) -> Report {
        self.send_no_more();
        let sender = self.sender.take().map(JoinHandle::join);
        let time = sender.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let sent = self.position();
        let seen = || self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let end = Instant::now() + GRACE;
        while (seen().answered.len() as u64) < sent && Instant::now() < end {
            std::thread::sleep(GLANCE);
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let pace = sent as f64 / time.unwrap_or_default().as_secs_f64();
        Report { tally: seen(), sent, pace }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for flag in [&self.sending, &self.reading] {
            flag.store(false, Ordering::Relaxed);
        }
        self.sender.take().map(JoinHandle::join);
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
    }
}

impl Report {
    /// The addresses and ports from which the server saw it come.
    pub fn sources(&self) -> &BTreeSet<SocketAddr> {
        &self.tally.sources
    }

    /// What was lost of these numbers.
    pub fn lost(&self, numbers: Range<u64>) -> Lost {
        let Tally { arrived, answered, .. } = &self.tally;
        let length = numbers.end.saturating_sub(numbers.start);
        let (there, back) = (arrived.range(numbers.clone()), answered.range(numbers));
        let (there, back) = (there.count() as u64, back.count() as u64);
        Lost { outward: length - there, inward: there.saturating_sub(back) }
    }

    /// What was lost of all.
    pub fn lost_in_all(&self) -> Lost {
        self.lost(0..self.sent)
    }
}

fn sockets(from: &Ns, to: &Ns, address: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let server = to.inside(|| UdpSocket::bind((address, 0)))?;
    let at = server.local_addr()?;
    let client = from.inside(|| {
        let client = UdpSocket::bind((any, 0))?;
        client.connect(at).map(|()| client)
    })?;
    for socket in [&server, &client] {
        setsockopt(socket, sockopt::RcvBufForce, &BUFFER)?;
        socket.set_read_timeout(Some(GLANCE))?;
    }
    Ok((server, client))
}

/// Gives for how long it has sent.
fn send(client: &UdpSocket, sending: &AtomicBool, next: &AtomicU64) -> Duration {
    let began = Instant::now();
    let mut due = began;
    while sending.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::SeqCst);
        // One that cannot be sent is one that is lost, and counted so.
        client.send(&number.to_be_bytes()).ok();
        due += PERIOD;
        let now = Instant::now();
        if now > due + LATE {
            due = now;
        }
        std::thread::sleep(due.saturating_duration_since(now));
    }
    began.elapsed()
}

fn count_and_answer(socket: &UdpSocket, tally: &mut Tally, (number, peer): (u64, SocketAddr)) {
    tally.arrived.insert(number);
    tally.sources.insert(peer);
    socket.send_to(&number.to_be_bytes(), peer).ok();
}

fn count_answer(_: &UdpSocket, tally: &mut Tally, (number, _): (u64, SocketAddr)) {
    tally.answered.insert(number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_lost_on_the_way_on_which_it_is_missing() {
        let mut tally = Tally::default();
        tally.arrived.extend([0, 1, 3, 4]);
        tally.answered.extend([0, 4]);
        let report = Report { tally, sent: 6, pace: 1000.0 };
        assert_eq!(report.lost_in_all(), Lost { outward: 2, inward: 2 });
        assert_eq!(report.lost(0..1), Lost::NONE);
        assert_eq!(report.lost(1..3), Lost { outward: 1, inward: 1 });
        assert_eq!(report.lost(4..4), Lost::NONE);
    }
}

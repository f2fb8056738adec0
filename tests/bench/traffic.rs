//! Traffic that is timed, from a client in a pod to a server outside. A socket belongs to the
//! namespace in which it was made, so only that happens inside.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use egret_tests::Ns;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeValLike;

use crate::server::{ECHO, SINK, Server, stay_on_one_processor};

const BLOCK: usize = 128 * 1024;
const MESSAGE: [u8; 64] = [0x65; 64];
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without another datagram, none comes any more.
const SILENCE: Duration = Duration::from_millis(2);

/// How traffic is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A datagram of 64 bytes forth and back; again.
    Datagram,
    /// 64 bytes forth and back on one standing TCP connection; again.
    Exchange,
    /// A TCP connection, 64 bytes forth and back, closed; again.
    Connect,
    /// Datagrams of 64 bytes one way, as fast as they can be sent; those that arrive count.
    Packets,
    /// One TCP connection from the pod, as fast as it can.
    Stream,
}

impl Kind {
    /// All.
    pub(crate) const ALL: [Kind; 5] =
        [Kind::Datagram, Kind::Exchange, Kind::Connect, Kind::Packets, Kind::Stream];

    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Datagram => "UDP requests and answers/s",
            Kind::Exchange => "TCP requests and answers/s",
            Kind::Connect => "TCP connections/s",
            Kind::Packets => "UDP packets/s, one way",
            Kind::Stream => "TCP stream, Mbyte/s",
        }
    }
}

/// How fast traffic was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// For each second that passed.
    pub(crate) time: f64,
    /// For each second of processor time that client, server and all between them took.
    pub(crate) work: f64,
}

/// Traffic from a namespace for about so long, in the unit of its kind.
pub(crate) fn rate(from: &Ns, to: (IpAddr, &Server), kind: Kind, time: Duration) -> Rate {
    let (address, server) = to;
    let [echo, sink] = [ECHO, SINK].map(|port| SocketAddr::new(address, port));
    let done = from.inside(|| {
        stay_on_one_processor();
        match kind {
            Kind::Datagram => datagrams(echo, time),
            Kind::Exchange => exchanges(echo, time),
            Kind::Connect => repeat(time, || connect(echo)),
            Kind::Packets => packets(sink, server, time),
            Kind::Stream => stream(sink, time),
        }
    });
    done.unwrap_or_else(|e| panic!("{kind:?} from {} to {address}: {e}", from.name()))
}

/// Time and processor time since a moment.
struct Clock {
    start: Instant,
    used: Duration,
}

impl Clock {
    fn start() -> io::Result<Self> {
        Ok(Self { start: Instant::now(), used: used()? })
    }

    fn rate(&self, amount: f64) -> io::Result<Rate> {
        let used = used()?.saturating_sub(self.used);
        let time = self.start.elapsed();
        Ok(Rate { time: amount / time.as_secs_f64(), work: amount / used.as_secs_f64() })
    }
}

/// Of all threads of this process. Sending does most of what the kernel does with a packet at once,
/// in the sender's time, up to the socket of the receiver.
fn used() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds).unwrap_or_default()))
}

/// The first is not counted: what is made once is made by it.
fn repeat(time: Duration, mut once: impl FnMut() -> io::Result<()>) -> io::Result<Rate> {
    once()?;
    let (clock, mut count) = (Clock::start()?, 0_u32);
    while clock.start.elapsed() < time {
        once()?;
        count += 1;
    }
    clock.rate(f64::from(count))
}

fn datagrams(server: SocketAddr, time: Duration) -> io::Result<Rate> {
    let socket = datagram_socket(server)?;
    repeat(time, || {
        socket.send(&MESSAGE)?;
        let length = socket.recv(&mut [0; 2048])?;
        if length == MESSAGE.len() { Ok(()) } else { Err(io::Error::other("another length")) }
    })
}

fn datagram_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn exchanges(server: SocketAddr, time: Duration) -> io::Result<Rate> {
    let mut stream = connection(server)?;
    repeat(time, || exchange(&mut stream))
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&MESSAGE)?;
    stream.read_exact(&mut [0; MESSAGE.len()])
}

fn connection(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Ends with a reset: thousands of connections that wait for their end would use up the ports.
fn connect(server: SocketAddr) -> io::Result<()> {
    let mut stream = connection(server)?;
    exchange(&mut stream)?;
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(setsockopt(&stream, sockopt::Linger, &at_once)?)
}

/// What was sent in this time, as far as it arrived.
fn packets(address: SocketAddr, server: &Server, time: Duration) -> io::Result<Rate> {
    let socket = datagram_socket(address)?;
    socket.send(&MESSAGE)?;
    let before = settled(server);
    let clock = Clock::start()?;
    while clock.start.elapsed() < time {
        for _ in 0..32 {
            socket.send(&MESSAGE)?;
        }
    }
    let sent = clock.rate(1.0)?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
    let arrived = (settled(server) - before) as f64;
    // The last of them are read after the time is over, by work that counts.
    Ok(Rate { time: arrived * sent.time, work: clock.rate(arrived)?.work })
}

/// The server's count when nothing is on the way any more.
fn settled(server: &Server) -> u64 {
    let mut count = server.datagrams();
    loop {
        std::thread::sleep(SILENCE);
        let now = server.datagrams();
        if now == count {
            return now;
        }
        count = now;
    }
}

fn stream(server: SocketAddr, time: Duration) -> io::Result<Rate> {
    let mut stream = connection(server)?;
    let block = vec![0x65; BLOCK];
    stream.write_all(&block)?;
    let (clock, mut blocks) = (Clock::start()?, 0_u32);
    while clock.start.elapsed() < time {
        stream.write_all(&block)?;
        blocks += 1;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let megabytes = BLOCK as f64 / 1e6;
    clock.rate(f64::from(blocks) * megabytes)
}

//! Traffic that is timed: a server outside, and a client in a pod. A socket belongs to the namespace
//! in which it was made, so only that happens inside.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use egret_tests::Ns;
use nix::sys::socket::{setsockopt, sockopt};

/// Beside the port of the laboratory's own server.
const PORT: u16 = 8100;
const BLOCK: usize = 128 * 1024;
/// Bytes of a stream that is timed.
const STREAM: usize = 64 * 1024 * 1024;
const DATAGRAM: [u8; 64] = [0x65; 64];

/// How traffic is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TCP connection, one byte forth and back, closed; again.
    Connect,
    /// A datagram of 64 bytes forth and back; again.
    Datagram,
    /// One TCP connection with 64 MiB from the pod.
    Stream,
}

impl Kind {
    /// All.
    pub(crate) const ALL: [Kind; 3] = [Kind::Connect, Kind::Datagram, Kind::Stream];

    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Connect => "TCP connections/s, one after the other",
            Kind::Datagram => "UDP request and answer/s",
            Kind::Stream => "TCP stream, Mbyte/s",
        }
    }
}

/// Starts the server in a namespace; it ends with this process.
pub(crate) fn serve(namespace: &Ns) {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let (tcp, udp) = namespace
        .inside(|| Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?)))
        .unwrap_or_else(|e: io::Error| panic!("a server in {}: {e}", namespace.name()));
    std::thread::spawn(move || answer_datagrams(&udp));
    std::thread::spawn(move || {
        // A connection that was reset before it was accepted is the client's matter.
        tcp.incoming().flatten().for_each(|stream| answer(stream).unwrap_or_default());
    });
}

fn answer_datagrams(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], peer)?;
    }
}

/// One byte is answered at once; what is more is answered when it ends.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut length = stream.read(&mut buffer)?;
    while length > 1 {
        length = stream.read(&mut buffer)?;
    }
    stream.write_all(b"x")
}

/// Traffic from a namespace for about so long, as a rate in the unit of its kind.
pub(crate) fn rate(from: &Ns, to: IpAddr, kind: Kind, time: Duration) -> f64 {
    let server = SocketAddr::new(to, PORT);
    let done = from.inside(|| match kind {
        Kind::Connect => repeat(time, || connect(server)),
        Kind::Datagram => {
            let socket = datagram_socket(server)?;
            repeat(time, || exchange(&socket))
        }
        Kind::Stream => stream(server),
    });
    done.unwrap_or_else(|e| panic!("{kind:?} from {} to {server}: {e}", from.name()))
}

fn repeat(time: Duration, mut once: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    once()?;
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        once()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Ends with a reset: thousands of connections that wait for their end would use up the ports.
fn connect(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(setsockopt(&stream, sockopt::Linger, &at_once)?)
}

fn datagram_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket) -> io::Result<()> {
    socket.send(&DATAGRAM)?;
    let length = socket.recv(&mut [0; 2048])?;
    if length == DATAGRAM.len() { Ok(()) } else { Err(io::Error::other("another length")) }
}

fn stream(server: SocketAddr) -> io::Result<f64> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let block = vec![0x65; BLOCK];
    let start = Instant::now();
    for _ in 0..STREAM / BLOCK {
        stream.write_all(&block)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let bytes = STREAM as f64;
    Ok(bytes / 1e6 / start.elapsed().as_secs_f64())
}

//! What answers outside: datagrams and bytes come back from one port, and are only counted on the
//! next. All of it stands on one processor with the client, so that a rate is work for each packet.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egret_tests::Ns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

/// Beside the port of the laboratory's own server; what comes here goes back.
pub(crate) const ECHO: u16 = 8100;
/// What comes here is counted.
pub(crate) const SINK: u16 = 8101;
const BLOCK: usize = 128 * 1024;
/// Bytes of datagrams that may wait to be counted.
const WAITING: usize = 16 * 1024 * 1024;

/// A server in a namespace. It ends with this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    datagrams: Arc<AtomicU64>,
}

impl Server {
    /// Starts it.
    pub(crate) fn start(namespace: &Ns) -> Self {
        let server = Self::default();
        let count = Arc::clone(&server.datagrams);
        let sockets = namespace.inside(|| {
            let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let tcp = |port| TcpListener::bind(any(port));
            let udp = |port| UdpSocket::bind(any(port));
            io::Result::Ok((tcp(ECHO)?, tcp(SINK)?, udp(ECHO)?, udp(SINK)?))
        });
        let (bytes, stream, datagrams, counted) =
            sockets.unwrap_or_else(|e| panic!("a server in {}: {e}", namespace.name()));
        setsockopt(&counted, sockopt::RcvBufForce, &WAITING)
            .unwrap_or_else(|e| panic!("a large receive buffer: {e}"));
        thread(move || each(&bytes, echo));
        thread(move || each(&stream, sink));
        thread(move || answer_datagrams(&datagrams).unwrap_or_default());
        thread(move || count_datagrams(&counted, &count).unwrap_or_default());
        server
    }

    /// Datagrams counted since the start.
    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }
}

fn thread(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        stay_on_one_processor();
        work();
    });
}

/// Keeps the calling thread on the last processor: the first has the interrupts.
pub(crate) fn stay_on_one_processor() {
    let last = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
    let mut one = CpuSet::new();
    let pinned = one.set(last).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one));
    pinned.unwrap_or_else(|e| panic!("a thread on processor {last}: {e}"));
}

/// A connection that was reset is the client's matter.
fn each(listener: &TcpListener, serve: impl Fn(TcpStream) -> io::Result<()>) {
    listener.incoming().flatten().for_each(|stream| serve(stream).unwrap_or_default());
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// Says so when all has come.
fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    while stream.read(&mut buffer)? > 0 {}
    stream.write_all(b"x")
}

fn answer_datagrams(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], peer)?;
    }
}

fn count_datagrams(socket: &UdpSocket, count: &AtomicU64) -> io::Result<()> {
    loop {
        socket.recv(&mut [0; 2048])?;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

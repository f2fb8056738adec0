//! The client: asks the echo server, through an ordinary socket, with the options that matter here.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::ECHO_PORT;
use crate::echo::{CHECKSUM_START, checksum, drain, pattern, send_pattern};

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Over a TCP connection.
    Tcp,
    /// With a small datagram.
    Udp,
    /// With a datagram of this many bytes, to be answered by one of the same size. Asked three
    /// times: the first may be lost while the path's MTU is found out.
    Big(usize),
}

impl Question {
    /// TCP, UDP, and a datagram that needs fragments in both directions.
    pub const ALL: [Question; 3] = [Question::Tcp, Question::Udp, Question::Big(8000)];
}

/// What the server saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The client's address.
    pub address: IpAddr,
    /// The client's port.
    pub port: u16,
    /// Bytes of the server's answer.
    pub answer: usize,
}

/// A client of the echo server.
#[derive(Debug, Clone)]
pub struct Client {
    /// The server.
    pub server: SocketAddr,
    /// The link that the socket is bound to (`SO_BINDTODEVICE`), past all routes.
    pub device: Option<String>,
    /// The local port, if it matters.
    pub source_port: u16,
    /// How long a connection or an answer may take.
    pub patience: Duration,
}

impl Client {
    /// A client without options of the server at an address, port [`ECHO_PORT`].
    pub fn new(server: IpAddr) -> Self {
        Self {
            server: SocketAddr::from((server, ECHO_PORT)),
            device: None,
            source_port: 0,
            patience: Duration::from_secs(3),
        }
    }

    /// Asks who the client is.
    pub fn ask(&self, question: Question) -> io::Result<Seen> {
        match question {
            Question::Tcp => self.ask_tcp(),
            Question::Udp => self.ask_udp(20),
            Question::Big(length) => (0..2)
                .find_map(|_| self.ask_udp(length).ok())
                .map_or_else(|| self.ask_udp(length), Ok),
        }
    }

    /// Sends bytes over TCP; an error unless all arrived as they were sent.
    pub fn upload(&self, length: u64) -> io::Result<()> {
        let mut stream = self.connect()?;
        writeln!(stream, "SINK {length}")?;
        send_pattern(&mut stream, length)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let wanted = format!("{length} {:x}", pattern_checksum(length));
        same(answer.trim(), &wanted)
    }

    /// Receives bytes over TCP; an error unless all arrived as they were sent.
    pub fn download(&self, length: u64) -> io::Result<()> {
        let mut stream = self.connect()?;
        writeln!(stream, "SOURCE {length}")?;
        let (received, sum) = drain(stream)?;
        let wanted = format!("{length} {:x}", pattern_checksum(length));
        same(&format!("{received} {sum:x}"), &wanted)
    }

    fn ask_tcp(&self) -> io::Result<Seen> {
        let mut stream = self.connect()?;
        writeln!(stream, "WHO")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        read_answer(answer.as_bytes())
    }

    fn ask_udp(&self, length: usize) -> io::Result<Seen> {
        let socket = UdpSocket::from(self.socket(SockType::Datagram)?);
        let mut question = b"BIG".to_vec();
        question.resize(length, b'a');
        if length < 100 {
            question[0] = b'S';
        }
        socket.send(&question)?;
        let mut answer = vec![0; 65_536];
        let received = socket.recv(&mut answer)?;
        read_answer(&answer[..received])
    }

    /// A TCP connection.
    pub fn connect(&self) -> io::Result<TcpStream> {
        Ok(TcpStream::from(self.socket(SockType::Stream)?))
    }

    /// A connected socket. The send timeout bounds the connection attempt as well (socket(7)).
    fn socket(&self, kind: SockType) -> io::Result<OwnedFd> {
        let (family, any): (_, IpAddr) = match self.server {
            SocketAddr::V4(_) => (AddressFamily::Inet, std::net::Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (AddressFamily::Inet6, std::net::Ipv6Addr::UNSPECIFIED.into()),
        };
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if let Some(device) = &self.device {
            setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
        }
        if self.source_port != 0 {
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            let local = SocketAddr::from((any, self.source_port));
            bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
        }
        let patience = TimeVal::new(
            i64::try_from(self.patience.as_secs()).map_err(io::Error::other)?,
            i64::from(self.patience.subsec_micros()),
        );
        setsockopt(&fd, sockopt::SendTimeout, &patience)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(self.server))?;
        Ok(fd)
    }
}

fn pattern_checksum(length: u64) -> u64 {
    checksum(CHECKSUM_START, &pattern(length).collect::<Vec<u8>>())
}

fn same(found: &str, wanted: &str) -> io::Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!("transferred {found:?} (bytes, checksum), wanted {wanted:?}")))
}

fn read_answer(answer: &[u8]) -> io::Result<Seen> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.split_whitespace();
    let address = words.next().and_then(|word| word.parse().ok());
    let port = words.next().and_then(|word| word.parse().ok());
    match (address, port) {
        (Some(address), Some(port)) => Ok(Seen { address, port, answer: answer.len() }),
        _ => Err(io::Error::other(format!("the server's answer is {text:?}"))),
    }
}

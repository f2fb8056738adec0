//! The server outside: it answers with the source address and port that it sees. TCP and UDP, both
//! families on one socket each.
//!
//! TCP, one line then its answer: `WHO` -> `ADDRESS PORT`; `SINK n`, n bytes -> `n CHECKSUM`;
//! `SOURCE n` -> n bytes of [`pattern`]. UDP: `ADDRESS PORT LENGTH`; a datagram that begins with
//! `BIG` gets an answer of its own length.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// The port of the server in every laboratory.
pub const ECHO_PORT: u16 = 8000;

/// The bytes of a download: no period that divides a packet's size, so that a lost or doubled
/// packet changes the checksum.
pub(crate) fn pattern(length: u64) -> impl Iterator<Item = u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap_or_default())
}

/// FNV-1a over what was transferred.
pub(crate) fn checksum(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where [`checksum`] starts.
pub(crate) const CHECKSUM_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Serves TCP and UDP on a port until the process ends; calls `ready` when both are bound.
pub fn serve(port: u16, ready: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let tcp = TcpListener::bind(any)?;
    let udp = UdpSocket::bind(any)?;
    ready()?;
    std::thread::spawn(move || answer_datagrams(&udp));
    for stream in tcp.incoming() {
        // A connection that was reset before it was accepted is the client's matter.
        let Ok(stream) = stream else { continue };
        std::thread::spawn(move || answer_connection(stream));
    }
    Ok(())
}

fn seen(peer: SocketAddr) -> String {
    format!("{} {}", peer.ip().to_canonical(), peer.port())
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        let mut answer = format!("{} {length}", seen(peer)).into_bytes();
        if buffer.starts_with(b"BIG") && answer.len() < length {
            answer.push(b' ');
            answer.resize(length, b'x');
        }
        // Too big for the path at first: the kernel learns the MTU, the client asks again.
        socket.send_to(&answer, peer).ok();
    }
}

fn answer_connection(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let peer = stream.peer_addr()?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["WHO"] => writeln!(writer, "{}", seen(peer)),
        ["SINK", length] => {
            let (received, sum) = drain(reader.take(number(length)?))?;
            writeln!(writer, "{received} {sum:x}")
        }
        ["SOURCE", length] => send_pattern(&mut writer, number(length)?),
        _ => writeln!(writer, "ask WHO, SINK n or SOURCE n"),
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}

/// Reads to the end: how much it was, and its checksum.
pub(crate) fn drain(mut source: impl Read) -> io::Result<(u64, u64)> {
    let mut buffer = vec![0; 65_536];
    let (mut received, mut sum) = (0, CHECKSUM_START);
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            return Ok((received, sum));
        }
        received += length as u64;
        sum = checksum(sum, &buffer[..length]);
    }
}

/// Writes the pattern.
pub(crate) fn send_pattern(writer: &mut impl Write, length: u64) -> io::Result<()> {
    let bytes: Vec<u8> = pattern(length).collect();
    writer.write_all(&bytes)
}

//! The peer that does the same to the kernel as a plugin and nothing else: netlink written by hand,
//! one socket for each namespace, everything of a table family in one transaction. What it adds are
//! the bytes of a plugin's own transaction, seen by strace; what it deletes is made from a record.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use egret_egress::nft::{Datum, Removal, Ruleset, TableFamily};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const HEADER: usize = 20;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NFTABLES: u16 = 10;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
/// `NFT_MSG_GETTABLE`, `GETCHAIN`, `GETSET`.
const LISTS: [u16; 3] = [1, 4, 10];
const DELETE_TABLE: u16 = 2;
const DELETE_CHAIN: u16 = 5;
const DELETE_RULE: u16 = 8;
const DELETE_ELEMENT: u16 = 14;
const GET_GENERATION: u16 = 16;
const DELETE_LINK: u16 = 17;

/// A netlink socket in the namespace of the thread that opens it.
struct Socket(OwnedFd);

impl Socket {
    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    /// The messages of the next datagram, each with its type.
    fn receive(&self) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let mut buffer = vec![0; 65_536];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        Ok(messages(&buffer[..length]).map(|text| (kind(text), text.to_vec())).collect())
    }

    /// Waits for the answer to the message that asked for one.
    fn acknowledged(&self) -> io::Result<()> {
        for (kind, message) in self.receive()? {
            if kind == ERROR {
                let code = message
                    .get(16..20)
                    .map_or(0, |code| i32::from_ne_bytes(code.try_into().unwrap_or_default()));
                return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
        }
        Err(io::Error::other("no answer"))
    }
}

/// The messages that lie behind each other in a buffer.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = bytes.get(..4)?;
        let length = u32::from_ne_bytes(length.try_into().ok()?) as usize;
        let message = bytes.get(..length).filter(|_| length > 0)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn kind(message: &[u8]) -> u16 {
    message.get(4..6).map_or(0, |two| u16::from_ne_bytes(two.try_into().unwrap_or_default()))
}

/// What of a plugin's transaction is between its begin and its end.
pub(crate) fn body(batch: &[u8]) -> Vec<u8> {
    let changes = messages(batch).filter(|message| !matches!(kind(message), BEGIN | END));
    changes.flat_map(padded).collect()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &padded(value)].concat()
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// A message with the header of nftables: family, version, resource.
fn message(kind: u16, flags: u16, family: u8, resource: u16, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + rest.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn nftables(kind: u16, flags: u16, family: u8, rest: &[u8]) -> Vec<u8> {
    message(NFTABLES << 8 | kind, flags, family, 0, rest)
}

fn number(family: TableFamily) -> u8 {
    match family {
        TableFamily::Inet => 1,
        TableFamily::Netdev => 5,
    }
}

/// Deletes what one attachment alone has in a table: its elements, the rules of its chains, these.
pub(crate) fn deletion(ruleset: &Ruleset) -> Vec<u8> {
    let family = number(ruleset.family);
    let table = text(1, &ruleset.table);
    let delete = |kind, rest: Vec<u8>| nftables(kind, 0, family, &[&table[..], &rest].concat());
    let mut bytes = Vec::new();
    for element in &ruleset.elements {
        let key = attribute(1 | NESTED, &attribute(1, &key(&element.entry.key)));
        let list = attribute(3 | NESTED, &attribute(1 | NESTED, &key));
        bytes.extend(delete(DELETE_ELEMENT, [text(2, &element.set), list].concat()));
    }
    let own = || ruleset.chains.iter().filter(|chain| chain.removal == Removal::Delete);
    own().for_each(|chain| bytes.extend(delete(DELETE_RULE, text(2, &chain.name))));
    own().for_each(|chain| bytes.extend(delete(DELETE_CHAIN, text(3, &chain.name))));
    bytes
}

/// Deletes a table.
pub(crate) fn table_deletion(ruleset: &Ruleset) -> Vec<u8> {
    nftables(DELETE_TABLE, 0, number(ruleset.family), &text(1, &ruleset.table))
}

fn key(parts: &[Datum]) -> Vec<u8> {
    let part = |datum: &Datum| match datum {
        Datum::Address(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
        Datum::Address(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
        Datum::Mac(mac) => padded(&mac.0),
        Datum::Mark(number) => number.to_ne_bytes().to_vec(),
        Datum::IfIndex(index) => index.0.to_ne_bytes().to_vec(),
    };
    parts.iter().flat_map(part).collect()
}

/// Opens, reads the generation and which tables, chains and sets there are, sends one transaction,
/// waits for its answer and closes.
pub(crate) fn transaction(changes: &[u8]) -> io::Result<()> {
    let socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
    for list in LISTS {
        socket.send(&nftables(list, DUMP, 0, &[]))?;
        while !socket.receive()?.iter().any(|(kind, _)| *kind == DONE) {}
    }
    commit(&socket, changes)
}

fn commit(socket: &Socket, changes: &[u8]) -> io::Result<()> {
    socket.send(&nftables(GET_GENERATION, 0, 0, &[]))?;
    let answer = socket.receive()?;
    let generation = answer.first().and_then(|(_, message)| message.get(24..28));
    let generation = generation.ok_or_else(|| io::Error::other("no generation"))?;
    let begin = message(BEGIN, 0, 0, NFTABLES, &attribute(1, generation));
    let end = message(END, 0, 0, NFTABLES, &[]);
    let mut middle: Vec<Vec<u8>> = messages(changes).map(padded).collect();
    for change in &mut middle {
        let flags = u16::from_ne_bytes([change[6], change[7]]) & !ACK;
        change[6..8].copy_from_slice(&flags.to_ne_bytes());
    }
    // One answer is enough: it comes when all of it has been done, or for the first that was not.
    if let Some(last) = middle.last_mut() {
        last[6] |= 4;
    }
    socket.send(&[begin, middle.concat(), end].concat())?;
    socket.acknowledged()
}

/// Deletes a link of the calling thread's namespace.
fn delete_link(socket: &Socket, name: &str) -> io::Result<()> {
    let rest = [vec![0; 12], text(3, name)].concat();
    // The header of links is four bytes longer in front of its attributes.
    socket.send(&message(DELETE_LINK, ACK, 0, 0, &rest))?;
    socket.acknowledged()
}

/// Does what a file says, line by line, in one process: `netns PATH`, `nft HEX`, `link NAME`,
/// `unlink PATH`. Sockets are closed at the end, as a process does that ends.
pub(crate) fn follow(file: &Path) -> io::Result<()> {
    let mut open = Vec::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let (word, rest) = line.split_once(' ').ok_or_else(|| io::Error::other("no word"))?;
        match word {
            "netns" => setns(File::open(rest)?, CloneFlags::CLONE_NEWNET)?,
            "nft" => {
                let socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
                commit(&socket, &bytes_of(rest))?;
                open.push(socket);
            }
            "link" => {
                let socket = Socket::open(SockProtocol::NetlinkRoute)?;
                delete_link(&socket, rest)?;
                open.push(socket);
            }
            "unlink" => std::fs::remove_file(rest)?,
            _ => return Err(io::Error::other("an unknown word")),
        }
    }
    Ok(())
}

/// Bytes as digits, for a file.
pub(crate) fn digits(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len() / 2).map(|at| digits.get(2 * at..2 * at + 2).unwrap_or_default());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_default()).collect()
}

/// What strace dumped (`-e write=all`) of the transactions that name a table.
pub(crate) fn seen(trace: &str, table: &str) -> Vec<u8> {
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    for line in trace.lines().filter_map(|line| line.strip_prefix(" | ")) {
        let Some((offset, rest)) = line.split_once("  ") else { continue };
        if offset == "00000" {
            buffers.push(Vec::new());
        }
        let hex: String = rest.chars().take(49).filter(char::is_ascii_hexdigit).collect();
        if let Some(buffer) = buffers.last_mut() {
            buffer.extend(bytes_of(&hex));
        }
    }
    let names = |bytes: &Vec<u8>| bytes.windows(table.len()).any(|part| part == table.as_bytes());
    let batches = buffers.iter().filter(|bytes| kind(bytes) == BEGIN && names(bytes));
    batches.flat_map(|batch| body(batch)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_of_strace_is_read() {
        let dump = " | 00000  1c 00 00 00 10 00 01 00  00 00 00 00 00 00 00 00  ................ |\n\
             | 00010  00 00 00 0a 08 00 01 00  00 00 00 07              ............     |\n";
        let dump = dump.replace("             | 00010", " | 00010");
        assert_eq!(seen(&dump, "egret"), Vec::<u8>::new());
        let change = nftables(DELETE_TABLE, 0, 1, &text(1, "egret-guard"));
        let begin = message(BEGIN, 0, 0, NFTABLES, &[]);
        let batch = [begin, change.clone(), message(END, 0, 0, NFTABLES, &[])].concat();
        let lines = batch.chunks(16).enumerate().map(|(at, chunk)| {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(" | {:05x}  {:49} .\n", 16 * at, hex.join(" "))
        });
        assert_eq!(seen(&lines.collect::<String>(), "egret-guard"), change);
    }

    #[test]
    fn digits_are_bytes_again() {
        assert_eq!(bytes_of(&digits(&[0, 255, 16])), [0, 255, 16]);
    }
}

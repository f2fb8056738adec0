//! Hand-made frames: what a hostile pod or node could send. Written without the product's code and
//! without the kernel's help, so that nothing corrects a forged field.

use std::net::IpAddr;

use egret_types::MacAddr;

/// Whether the checksums of a frame are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// They are.
    #[default]
    Right,
    /// The transport's checksum is not; connection tracking calls such a packet invalid.
    Wrong,
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A UDP datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// What it carries.
        payload: Vec<u8>,
    },
    /// A TCP segment without payload.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// The byte of flags: 0x02 SYN, 0x10 ACK, 0x04 RST.
        flags: u8,
    },
    /// An ICMP or `ICMPv6` echo request.
    Echo {
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// An ICMP or `ICMPv6` error: the port is unreachable.
    Unreachable {
        /// The packet that it is about, from its IP header on.
        quoted: Vec<u8>,
    },
}

impl Transport {
    /// A UDP datagram from port 40000 to port 9999.
    pub fn udp(payload: &str) -> Self {
        Transport::Udp { source: 40_000, destination: 9999, payload: payload.into() }
    }
}

/// An Ethernet frame with an IP packet. Addresses of both ends must be of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Source MAC.
    pub source_mac: MacAddr,
    /// Destination MAC.
    pub destination_mac: MacAddr,
    /// 802.1Q tags, outermost first.
    pub vlans: Vec<u16>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// What the packet carries.
    pub transport: Transport,
    /// Whether the transport's checksum is right.
    pub checksum: Checksum,
}

impl Frame {
    /// A frame without tags and with right checksums.
    pub fn new(macs: [MacAddr; 2], addresses: [IpAddr; 2], transport: Transport) -> Self {
        let [source_mac, destination_mac] = macs;
        let [source, destination] = addresses;
        Self {
            source_mac,
            destination_mac,
            vlans: Vec::new(),
            source,
            destination,
            ttl: 64,
            transport,
            checksum: Checksum::Right,
        }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.destination_mac.0, self.source_mac.0].concat();
        for vlan in &self.vlans {
            bytes.extend(0x8100_u16.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        let body = self.transport_bytes();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(0x0800_u16.to_be_bytes());
                bytes.extend(self.v4_header(source.octets(), destination.octets(), body.len()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend(0x86dd_u16.to_be_bytes());
                bytes.extend(self.v6_header(source.octets(), destination.octets(), body.len()));
            }
            (source, destination) => panic!("a packet from {source} to {destination}"),
        }
        bytes.extend(body);
        bytes
    }

    /// The packet in two fragments with this identification, the first with this many bytes behind
    /// its IP header (a multiple of 8).
    pub fn fragments(&self, identification: u16, first: usize) -> [Vec<u8>; 2] {
        let body = self.transport_bytes();
        let (head, tail) = body.split_at(first);
        [
            self.fragment(identification, head, None),
            self.fragment(identification, tail, Some(first)),
        ]
    }

    /// The last fragment is at a place; the first is at 0, and more follow.
    fn fragment(&self, identification: u16, part: &[u8], last: Option<usize>) -> Vec<u8> {
        let macs = [self.destination_mac.0, self.source_mac.0].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = self.v4_header(source.octets(), destination.octets(), part.len());
                let place = short(last.map_or(0x2000, |at| at / 8));
                header[4..6].copy_from_slice(&identification.to_be_bytes());
                header[6..8].copy_from_slice(&place);
                header[10..12].fill(0);
                let sum = ones_complement(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                [macs, vec![0x08, 0x00], header, part.to_vec()].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = 8 + part.len();
                let mut header = self.v6_header(source.octets(), destination.octets(), length);
                header[6] = 44;
                let place = short(last.unwrap_or(1));
                let mut fragment = vec![self.protocol(), 0];
                fragment.extend(place);
                fragment.extend(u32::from(identification).to_be_bytes());
                [macs, vec![0x86, 0xdd], header, fragment, part.to_vec()].concat()
            }
            (source, destination) => panic!("a packet from {source} to {destination}"),
        }
    }

    fn protocol(&self) -> u8 {
        match (&self.transport, self.source) {
            (Transport::Udp { .. }, _) => 17,
            (Transport::Tcp { .. }, _) => 6,
            (Transport::Echo { .. } | Transport::Unreachable { .. }, IpAddr::V4(_)) => 1,
            (Transport::Echo { .. } | Transport::Unreachable { .. }, IpAddr::V6(_)) => 58,
        }
    }

    fn v4_header(&self, source: [u8; 4], destination: [u8; 4], body: usize) -> Vec<u8> {
        let mut header = vec![0x45, 0];
        header.extend(short(20 + body));
        header.extend([0, 1, 0, 0, self.ttl, self.protocol(), 0, 0]);
        header.extend(source);
        header.extend(destination);
        let sum = ones_complement(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn v6_header(&self, source: [u8; 16], destination: [u8; 16], body: usize) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(short(body));
        header.extend([self.protocol(), self.ttl]);
        header.extend(source);
        header.extend(destination);
        header
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let (mut bytes, place) = match &self.transport {
            Transport::Udp { source, destination, payload } => {
                let mut bytes = ports(*source, *destination);
                bytes.extend(short(8 + payload.len()));
                bytes.extend([0, 0]);
                bytes.extend(payload);
                (bytes, 6)
            }
            Transport::Tcp { source, destination, flags } => {
                let mut bytes = ports(*source, *destination);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                (bytes, 16)
            }
            Transport::Echo { id, sequence } => {
                let kind = if self.source.is_ipv4() { 8 } else { 128 };
                let mut bytes = vec![kind, 0, 0, 0];
                bytes.extend(id.to_be_bytes());
                bytes.extend(sequence.to_be_bytes());
                (bytes, 2)
            }
            Transport::Unreachable { quoted } => {
                let kind = if self.source.is_ipv4() { [3, 3] } else { [1, 4] };
                let mut bytes = [kind, [0; 2], [0; 2], [0; 2]].concat();
                bytes.extend(quoted);
                (bytes, 2)
            }
        };
        let mut summed = self.pseudo_header(bytes.len());
        summed.extend(&bytes);
        let sum = match self.checksum {
            Checksum::Right => ones_complement(&summed),
            Checksum::Wrong => ones_complement(&summed) ^ 0x5555,
        };
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// What the transport's checksum covers besides the transport: nothing for ICMP over IPv4.
    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        match (self.source, self.destination, self.protocol()) {
            (IpAddr::V4(source), IpAddr::V4(destination), protocol) if protocol != 1 => {
                let mut bytes = [source.octets(), destination.octets()].concat();
                bytes.extend([0, protocol]);
                bytes.extend(short(length));
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination), protocol) => {
                let mut bytes = [source.octets(), destination.octets()].concat();
                bytes.extend([0, 0]);
                bytes.extend(short(length));
                bytes.extend([0, 0, 0, protocol]);
                bytes
            }
            _ => Vec::new(),
        }
    }
}

/// A VXLAN datagram's payload: the header with this network identifier, and the frame.
pub fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x08, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(frame);
    bytes
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a packet under 64 KiB").to_be_bytes()
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// The internet checksum (RFC 1071).
pub(crate) fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

//! Addresses of both families, and networks without host bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Invalid;

/// An address family.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Both, v4 first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bits of an address: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The highest address as a number; the lowest is 0.
    pub fn last(self) -> u128 {
        match self {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        }
    }

    /// The address with this number. Bits above a v4 address are cut off.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "documented: high bits are cut off"
            )]
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }
    }

    /// An address as a number.
    pub fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(a) => u128::from(a.to_bits()),
            IpAddr::V6(a) => a.to_bits(),
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        })
    }
}

/// One value for each family; either may be missing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct DualStack<T> {
    /// The IPv4 value.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none", rename = "ipv4")]
    pub v4: Option<T>,
    /// The IPv6 value.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none", rename = "ipv6")]
    pub v6: Option<T>,
}

// Derived, it would ask for `T: Default`, which an address is not.
impl<T> Default for DualStack<T> {
    fn default() -> Self {
        Self { v4: None, v6: None }
    }
}

impl<T> DualStack<T> {
    /// The value of a family.
    pub fn get(&self, family: Family) -> Option<&T> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// The place of a family's value.
    pub fn slot(&mut self, family: Family) -> &mut Option<T> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// What is there, v4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::BOTH.into_iter().filter_map(|family| self.get(family).map(|value| (family, value)))
    }

    /// Neither family.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefixError {
    /// Not `address/length`.
    Form(String),
    /// Bits behind the prefix are set; the second value is the network that contains the address.
    HostBits(String, Prefix),
}

impl std::fmt::Display for PrefixError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PrefixError::Form(text) => {
                write!(f, "{text:?} is not a network in CIDR notation (address/length)")
            }
            PrefixError::HostBits(text, network) => {
                write!(f, "{text:?} has host bits set; the network is {network}")
            }
        }
    }
}

impl std::error::Error for PrefixError {}

/// A network: an address without host bits, and the length of its prefix. Sorts by family,
/// address, then length, so that a network stands directly before what it contains.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network of this length that contains the address; `None` if the length is too large.
    pub fn containing(address: IpAddr, length: u8) -> Option<Self> {
        let family = Family::of(address);
        let host_bits = family.bits().checked_sub(length)?;
        let mask = u128::MAX.checked_shl(u32::from(host_bits)).unwrap_or(0);
        Some(Self { address: family.address(Family::number(address) & mask), length })
    }

    /// The network of one address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: Family::of(address).bits() }
    }

    /// `0.0.0.0/0` or `::/0`.
    pub fn all(family: Family) -> Self {
        Self { address: family.address(0), length: 0 }
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The family of its addresses.
    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The numbers of the first and the last address.
    pub fn range(self) -> (u128, u128) {
        let first = Family::number(self.address);
        let host_bits = u32::from(self.family().bits() - self.length);
        let hosts = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
        (first, first | hosts)
    }

    /// Every address of `other` is one of this network.
    pub fn contains(self, other: Prefix) -> bool {
        self.family() == other.family()
            && self.length <= other.length
            && Self::containing(other.address, self.length) == Some(self)
    }

    /// The address is one of this network.
    pub fn contains_address(self, address: IpAddr) -> bool {
        self.contains(Self::host(address))
    }

    /// The two networks share an address.
    pub fn overlaps(self, other: Prefix) -> bool {
        self.contains(other) || other.contains(self)
    }
}

impl std::str::FromStr for Prefix {
    type Err = PrefixError;
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let form = || PrefixError::Form(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(form)?;
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length = length.parse().ok().filter(|_| digits).ok_or_else(form)?;
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let network = Self::containing(address, length).ok_or_else(form)?;
        if network.address == address {
            Ok(network)
        } else {
            Err(PrefixError::HostBits(text.to_owned(), network))
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;
    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// An address on a link with the length of its prefix, `192.0.2.10/24`: unlike a [`Prefix`] it has
/// host bits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct LinkAddress {
    address: IpAddr,
    length: u8,
}

impl LinkAddress {
    /// An address with a prefix of this length; `None` if the family has no such length.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        (length <= Family::of(address).bits()).then_some(Self { address, length })
    }

    /// The address itself.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The family of the address.
    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The connected network.
    pub fn network(self) -> Prefix {
        // The constructor has checked the length, so the fallback is never taken.
        Prefix::containing(self.address, self.length).unwrap_or(Prefix::host(self.address))
    }
}

impl std::str::FromStr for LinkAddress {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid =
            || Invalid::new(text, "an address with the length of its prefix (address/length)");
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        Self::new(address, length).ok_or_else(invalid)
    }
}

impl TryFrom<String> for LinkAddress {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<LinkAddress> for String {
    fn from(address: LinkAddress) -> String {
        address.to_string()
    }
}

impl std::fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_no_host_bits() {
        let error = "10.0.0.1/8".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"10.0.0.1/8\" has host bits set; the network is 10.0.0.0/8"
        );
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/+8",
            "::/129",
            "010.0.0.0/8",
        ] {
            assert!(matches!(bad.parse::<Prefix>(), Err(PrefixError::Form(_))), "{bad}");
        }
    }

    #[test]
    fn containment_knows_both_families_and_both_ends() {
        assert!(net("0.0.0.0/0").contains(net("255.255.255.255/32")));
        assert!(net("::/0").contains(net("2001:db8::/32")));
        assert!(!net("::/0").contains(net("10.0.0.0/8")));
        assert!(!net("10.1.0.0/16").contains(net("10.0.0.0/8")));
        assert!(net("10.1.0.0/16").overlaps(net("10.0.0.0/8")));
        assert_eq!(net("::/0").range(), (0, u128::MAX));
        assert_eq!(net("10.0.0.0/8").range(), (0x0a00_0000, 0x0aff_ffff));
        assert_eq!(net("0.0.0.0/0").range(), (0, u128::from(u32::MAX)));
    }

    #[test]
    fn an_address_keeps_its_host_bits_and_knows_its_network() {
        for (text, network) in [
            ("10.244.1.7/24", "10.244.1.0/24"),
            ("fd00::7/64", "fd00::/64"),
            ("10.0.0.1/0", "0.0.0.0/0"),
        ] {
            let address: LinkAddress = text.parse().unwrap();
            assert_eq!((address.to_string(), address.network()), (text.into(), net(network)));
        }
    }

    #[test]
    fn what_is_no_address_with_a_length_is_refused() {
        for bad in ["", "10.0.0.1", "10.0.0.1/33", "fd00::1/129", "10.0.0.1/+8", "10.0.0.1/"] {
            assert!(bad.parse::<LinkAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_sorts_directly_before_what_it_contains() {
        let mut all =
            [net("10.1.0.0/16"), net("11.0.0.0/8"), net("10.0.0.0/8"), net("10.0.0.0/16")];
        all.sort();
        assert_eq!(
            all,
            [net("10.0.0.0/8"), net("10.0.0.0/16"), net("10.1.0.0/16"), net("11.0.0.0/8")]
        );
    }

    #[test]
    fn an_address_of_a_link_keeps_its_host_bits() {
        let address: LinkAddress = "2001:db8::7/64".parse().unwrap();
        assert_eq!(address.to_string(), "2001:db8::7/64");
        assert_eq!(address.network(), net("2001:db8::/64"));
        assert_eq!("192.0.2.7/0".parse::<LinkAddress>().unwrap().network(), net("0.0.0.0/0"));
        for bad in ["192.0.2.7", "192.0.2.7/33", "192.0.2.7/", "x/24"] {
            assert!(bad.parse::<LinkAddress>().is_err(), "{bad}");
        }
    }
}

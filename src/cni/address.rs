//! An address of an interface with the length of its network: what results call `address`.

use std::net::IpAddr;

use egret_types::{Family, Invalid, Prefix};
use serde::{Deserialize, Serialize};

/// An address and the length of the network it lives in, `10.244.1.7/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceAddress {
    address: IpAddr,
    length: u8,
}

impl InterfaceAddress {
    /// An address in a network of this length; `None` if the family has no such length.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        (length <= Family::of(address).bits()).then_some(Self { address, length })
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the network's prefix.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The family of the address.
    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The network it lives in.
    pub fn network(self) -> Prefix {
        // The constructors have checked the length, so the fallback is never taken.
        Prefix::containing(self.address, self.length).unwrap_or(Prefix::host(self.address))
    }
}

impl std::str::FromStr for InterfaceAddress {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let digits = length.bytes().all(|b| b.is_ascii_digit());
            Self::new(address.parse().ok()?, length.parse().ok().filter(|_| digits)?)
        };
        parse().ok_or_else(|| Invalid::new(text, "an address with the length of its network"))
    }
}

impl TryFrom<String> for InterfaceAddress {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<InterfaceAddress> for String {
    fn from(address: InterfaceAddress) -> String {
        address.to_string()
    }
}

impl std::fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_host_bits_and_knows_its_network() {
        for (text, network) in [
            ("10.244.1.7/24", "10.244.1.0/24"),
            ("fd00::7/64", "fd00::/64"),
            ("10.0.0.1/0", "0.0.0.0/0"),
        ] {
            let address: InterfaceAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.network().to_string(), network);
        }
    }

    #[test]
    fn what_is_no_address_with_a_length_is_refused() {
        for bad in ["", "10.0.0.1", "10.0.0.1/33", "fd00::1/129", "10.0.0.1/+8", "10.0.0.1/"] {
            assert!(bad.parse::<InterfaceAddress>().is_err(), "{bad}");
        }
    }
}

//! Links and what belongs to them.

use crate::{Invalid, attachment::is_link_name, text_type};

text_type! {
    /// The name of a link, as the kernel takes it.
    LinkName, is_link_name, "a link name (1 to 15 bytes, no '/', ':' or blank, not '.' or '..')"
}

/// The kernel's number of a link in one network namespace.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct IfIndex(pub u32);

/// An Ethernet address.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl std::fmt::Display for MacAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl std::str::FromStr for MacAddr {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "an Ethernet address (six hexadecimal bytes)");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

/// Maximum transmission unit of a link in bytes, at least what IPv6 needs (RFC 8200, section 5).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mtu(u32);

impl Mtu {
    /// The smallest MTU over which IPv6 works.
    pub const MIN: Mtu = Mtu(1280);

    /// In bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Mtu {
    type Error = Invalid;
    fn try_from(bytes: u32) -> Result<Self, Invalid> {
        if (Self::MIN.0..=65535).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(Invalid::new(bytes.to_string(), "an MTU of 1280 to 65535 bytes (IPv6 needs 1280)"))
        }
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> u32 {
        mtu.0
    }
}

impl std::fmt::Display for Mtu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// VXLAN network identifier, 24 bits (RFC 7348).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// What a tunnel has unless the resources say otherwise.
    pub const DEFAULT: Vni = Vni(crate::ours::VNI);
}

impl TryFrom<u32> for Vni {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        if (1..1 << 24).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Invalid::new(number.to_string(), "a VNI (1 to 16777215)"))
        }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_read_what_they_print() {
        let mac: MacAddr = "02:e6:01:00:00:0b".parse().unwrap();
        assert_eq!(mac.to_string(), "02:e6:01:00:00:0b");
        for bad in
            ["", "02:e6:01:00:00", "02:e6:01:00:00:0b:1", "2:e6:01:00:00:0b", "zz:e6:01:00:00:0b"]
        {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert!(Mtu::try_from(1279).is_err() && Mtu::try_from(1280).is_ok());
        assert!(Vni::try_from(0).is_err() && Vni::try_from(1 << 24).is_err());
    }
}

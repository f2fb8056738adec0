//! Numbers that travel in frames, marks and zones. They are the wire format between nodes: the
//! layouts below never change.

use crate::{Invalid, MacAddr};

/// An `EgressPool`'s `id`: 1 to 255. 0 is Egret's own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct PoolId(u8);

impl PoolId {
    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u32> for PoolId {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        match u8::try_from(number) {
            Ok(id) if id > 0 => Ok(Self(id)),
            _ => Err(Invalid::new(number.to_string(), "a pool id (1 to 255)")),
        }
    }
}

impl From<PoolId> for u32 {
    fn from(id: PoolId) -> u32 {
        u32::from(id.0)
    }
}

/// Position of an egress pair in its pool, 24 bits. Exclusions are holes, never shifts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct PairIndex(u32);

impl PairIndex {
    /// Of a pool's first pair.
    pub const FIRST: PairIndex = PairIndex(0);
    /// One more than the largest index.
    pub const LIMIT: u32 = 1 << 24;

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for PairIndex {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        if number < Self::LIMIT {
            Ok(Self(number))
        } else {
            Err(Invalid::new(number.to_string(), "a pair index (0 to 16777215)"))
        }
    }
}

impl From<PairIndex> for u32 {
    fn from(index: PairIndex) -> u32 {
        index.0
    }
}

/// The right to use one egress pair: pool id in the high byte, pair index below.
///
/// It is the destination MAC of a frame to the gateway, `02:e6:PP:II:II:II`, the source MAC of the
/// answer, the connection mark on the gateway, and the key of the lease.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Identity(u32);

impl Identity {
    /// The identity of pair `index` of pool `pool`.
    pub fn new(pool: PoolId, index: PairIndex) -> Self {
        Self(u32::from(pool) << 24 | index.number())
    }

    /// The 32 bits: connection mark, packet mark before the flow is known, priority on the way back.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The MAC of this identity.
    pub fn mac(self) -> MacAddr {
        let [p, a, b, c] = self.0.to_be_bytes();
        MacAddr([0x02, 0xe6, p, a, b, c])
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A node's number, 1 to 65535: in its MAC `06:e6:00:00:NN:NN`, and the conntrack zone of its flows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct NodeId(u16);

impl NodeId {
    /// The lowest.
    pub const MIN: NodeId = NodeId(1);

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The MAC of this node's end of the tunnel and of every pod's `egr0` on it.
    pub fn mac(self) -> MacAddr {
        let [a, b] = self.0.to_be_bytes();
        MacAddr([0x06, 0xe6, 0, 0, a, b])
    }
}

impl TryFrom<u32> for NodeId {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        match u16::try_from(number) {
            Ok(id) if id > 0 => Ok(Self(id)),
            _ => Err(Invalid::new(number.to_string(), "a node id (1 to 65535)")),
        }
    }
}

impl From<NodeId> for u32 {
    fn from(id: NodeId) -> u32 {
        u32::from(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_layout_is_the_wire_format() {
        let identity = Identity::new(PoolId::try_from(1).unwrap(), PairIndex::try_from(2).unwrap());
        assert_eq!(identity.number(), 0x0100_0002);
        assert_eq!(identity.mac().to_string(), "02:e6:01:00:00:02");
        assert_eq!(NodeId::try_from(0x0b0c).unwrap().mac().to_string(), "06:e6:00:00:0b:0c");
    }

    #[test]
    fn zero_names_nobody() {
        assert!(PoolId::try_from(0).is_err() && PoolId::try_from(256).is_err());
        assert!(NodeId::try_from(0).is_err() && NodeId::try_from(65536).is_err());
    }
}

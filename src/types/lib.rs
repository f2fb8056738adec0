//! Egret's vocabulary: the types every other crate speaks, without any effect.
//!
//! Glossary, in the field's own terms:
//!
//! * *attachment* — one configuration applied to one container: container id, interface name, network.
//! * *node* — a machine; *worker* where pods run, *gateway* where traffic leaves. It may be both.
//! * *VTEP* — a node's underlay address, the outer end of the tunnel.
//! * *egress pair* — the v4 and v6 address (or one of them) at one index of a pool.
//! * *identity* — pool id and pair index in 32 bits: the right to use an egress pair. It travels as
//!   the destination MAC of a frame, and is the connection mark on the gateway.
//! * *node id* — 16 bits that name a node: in its MAC, and as conntrack zone on the gateway.
//! * *decision* — what all policies together mean for one pod, per destination prefix.
//! * *egret namespace* — the network namespace of ours on each node that holds the tunnel link.
//!
//! Every constructor checks; a value of one of these types cannot be wrong.

mod address;
mod attachment;
mod identity;
mod link;
mod name;
pub mod ours;

pub use address::{DualStack, Family, LinkAddress, Prefix, PrefixError};
pub use attachment::{Attachment, ContainerId, IfName, NetworkName};
pub use identity::{Identity, NodeId, PairIndex, PoolId};
pub use link::{IfIndex, LinkName, MacAddr, Mtu, Vni};
pub use name::{GatewayName, Namespace, NodeName, PolicyName, PoolName};

/// A text that is not what its type asks for. Displays as `"<text>" is not <what is allowed>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The text as it was given.
    pub text: String,
    /// What would have been right, as a noun phrase.
    pub expected: &'static str,
}

impl Invalid {
    /// The error for `text` where `expected` was wanted.
    pub fn new(text: impl Into<String>, expected: &'static str) -> Self {
        Self { text: text.into(), expected }
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is not {}", self.text, self.expected)
    }
}

impl std::error::Error for Invalid {}

/// Gives a checked text type its `Display`, `FromStr`, serde and accessor, all through one check.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::Invalid;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err($crate::Invalid::new(text, $expected)) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Invalid;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text_type;

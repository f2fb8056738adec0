//! What can be asked on the command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};
use egret_types::{ContainerId, NodeName, PoolName};

/// Stable egress IPs for pods: look, check and act on this node.
#[derive(Debug, Parser)]
#[command(name = "egretctl", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Network configuration list that names `egret` [default: the first in /etc/cni/net.d]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of resources, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) resources: Option<PathBuf>,
    /// This node's `EgressNode`, instead of the configured one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    /// Prefix of every path
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a directory of resources and tell every problem
    Validate {
        /// The directory [default: the configured one]
        dir: Option<PathBuf>,
    },
    /// The gateway side of this node
    Gateway {
        #[command(subcommand)]
        command: GatewayCommand,
    },
    /// The pools, and how many of their egress pairs are free
    Pools {
        /// Form of the answer
        #[arg(long, short, default_value = "table")]
        output: Format,
    },
    /// Who owns which egress pair on this node, and which pods use it
    Leases {
        #[command(subcommand)]
        command: Option<LeasesCommand>,
        /// Form of the answer
        #[arg(long, short, default_value = "table")]
        output: Format,
    },
    /// Remove what all pods of this node shared when no pod is left
    Gc {
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// This node at a glance: pods, tunnel, gateways, drops, problems
    Status {
        /// Form of the answer
        #[arg(long, short, default_value = "table")]
        output: Format,
    },
    /// What the kernel holds of attachments against the record of their ADD
    Check {
        /// Only those of this container
        container: Option<ContainerId>,
        /// Form of the answer
        #[arg(long, short, default_value = "table")]
        output: Format,
    },
    /// Put back guards, where egress IPs are, and what ADD made for each pod
    Repair,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Take the egress IPs of the gateways of which this node is the first member
    Up {
        /// Also of those of which it is another member, until `gateway up` is run without this
        #[arg(long)]
        take: bool,
    },
    /// Give all egress IPs up
    Down,
    /// What this node serves, carries and drops, and what is wrong
    Status {
        /// Form of the answer
        #[arg(long, short, default_value = "table")]
        output: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeasesCommand {
    /// Take a lease that no pod uses away from its owner
    Release {
        /// The pool
        pool: PoolName,
        /// Which pair of it: its index, or one of its addresses
        pair: PairArg,
    },
}

/// An egress pair of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairArg {
    /// By its number.
    Index(u32),
    /// By one of its addresses.
    Address(IpAddr),
}

impl FromStr for PairArg {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = |_| text.parse().map(PairArg::Address);
        text.parse()
            .map(PairArg::Index)
            .or_else(address)
            .map_err(|_| "wanted an index or an address")
    }
}

impl std::fmt::Display for PairArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PairArg::Index(index) => write!(f, "pair {index}"),
            PairArg::Address(address) => write!(f, "{address}"),
        }
    }
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

//! The resources of Egret: what an operator writes, as checked values.
//!
//! [`parse`] takes the text of every file at once, because most of what can be wrong concerns two
//! resources, and an operator wants to see all of it. It reads no file: that is
//! `egret_store::resource_dir`.
//!
//! One file per kind (`cluster`, `node`, `pool`, `gateway`, `policy`) holds the type, its keys and
//! its reader; what an absent key means stands in `defaults`; `references` checks what no document
//! can say alone.

mod cluster;
mod consent;
mod cursor;
mod defaults;
mod document;
mod gateway;
mod local;
mod nearest;
mod node;
mod overlap;
mod period;
mod pod_network;
mod policy;
mod pool;
mod problem;
mod range;
mod references;
mod resource;
mod resources;
mod taken;
mod unicast;
mod uplink;

pub use cluster::{EgressCluster, Guard, Tunnel};
pub use consent::{Admission, Consent, Labels};
pub use gateway::EgressGateway;
pub use local::{LocalConfig, LogLevel, Underlay};
pub use nearest::nearest;
pub use node::{EgressNode, NoOuterFamily};
pub use pod_network::PodNetwork;
pub use policy::{EgressIp, EgressPolicy, Scope, Selector};
pub use pool::{EgressPool, Retain, Serves};
pub use problem::{Problem, ProblemKind};
pub use range::{AddressRange, RangeError};
pub use resources::{Resources, explicit_pairs};
pub use uplink::{Uplink, UplinkMode, UplinkSpec};

/// The text of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as errors show it.
    pub name: String,
    /// YAML or JSON, several documents if it likes.
    pub text: String,
}

/// All resources of these files, or everything that is wrong with them.
pub fn parse(files: &[SourceFile]) -> Result<Resources, Vec<Problem>> {
    let mut problems = problem::Problems::default();
    let trees: Vec<_> = files
        .iter()
        .map(|file| (file.name.as_str(), document::parse_documents(file, &mut problems)))
        .collect();
    let mut drafts = resource::Drafts::default();
    for (file, documents) in &trees {
        for document in documents {
            drafts.read(cursor::Cursor::root(file, document), &mut problems);
        }
    }
    references::check(&drafts, &mut problems);
    if problems.is_empty() { Ok(drafts.into_resources()) } else { Err(problems.into_sorted(files)) }
}

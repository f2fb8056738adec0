//! The testkit: whole laboratories of network namespaces, and what a test needs to observe them.
//!
//! [`Lab`] is the only way to get a namespace. Each test makes its own and loses it when the test
//! ends, however it ends. The parts that the product would provide on a real machine (the container
//! runtime's call, the main plugin, the underlay, the outside) are real programs: cnitool, the
//! reference plugins, the kernel. What a test asserts, it reads anew, from outside the product.
//!
//! A testkit reports by panicking, so that a test reads as a list of facts.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a testkit fails a test by panicking, with a sentence that says what is wrong"
)]

mod address;
mod capture;
mod conflist;
mod containerd;
mod containerd_config;
mod cri_pod;
mod datagram;
mod deadline;
mod echo;
mod family;
mod fault;
mod frame;
mod lab;
mod location;
mod malformed;
mod netns;
mod node;
mod own_mounts;
mod packet;
mod pause_image;
mod plugin_run;
mod pod;
mod podman;
mod probe;
mod program;
mod random;
mod reaper;
mod reboot;
pub mod resources;
mod sandbox;
mod snapshot;
mod stream;
mod strike;
mod wire;
mod wiring;

pub use address::{egress_ip, external, far, pod_network, underlay};
pub use capture::Capture;
pub use conflist::MainPlugin;
pub use containerd::Containerd;
pub use cri_pod::{CriPod, CriPodSpec};
pub use datagram::Datagram;
pub use deadline::eventually;
pub use echo::{ECHO_PORT, serve};
pub use family::Families;
pub use fault::{Fault, at_each_changing_call};
pub use frame::{Checksum, Frame, Transport, vxlan};
pub use lab::{Lab, LabBuilder};
pub use location::{ContainerdVersion, PluginSet, probe, product, root};
pub use malformed::{BadFrames, Fate, Hostile, Identities, Sender, Tunnelled};
pub use netns::Ns;
pub use node::{Node, Role};
pub use packet::Packet;
pub use plugin_run::{PluginOutcome, PluginRun};
pub use pod::{CniFailure, Pod, PodSpec};
pub use podman::Podman;
pub use probe::{Client, Question, Seen};
pub use program::{Finished, Program, Running};
pub use random::{Random, seeds};
pub use sandbox::Sandbox;
pub use snapshot::{Snapshot, assert_no_leftovers};
pub use stream::{Lost, Report, Stream};
pub use strike::{Strike, Victim};
pub use wire::{PacketSocket, link_mac, send_frame, send_vxlan};

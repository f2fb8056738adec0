//! The CNI protocol, both directions: what a runtime tells a plugin, what a plugin answers, and
//! what a plugin tells the plugin it delegates to. Synchronous and without any effect of its own:
//! environment, streams and [`Exec`] come from outside.
//!
//! A plugin implements [`Plugin`] and its `main` calls [`answer_always`] and [`run`]. Everything
//! the protocol asks of every plugin (variables, versions, error objects, a clean stdout, also
//! after a panic and at a deadline) happens here; a plugin sees only a validated [`Request`], or a
//! [`NetworkRequest`] where there is no attachment.
//!
//! One check stays with the plugin because it needs an effect: a `CNI_NETNS` that is the plugin's
//! own namespace is to be refused with [`Code::INVALID_NETNS`] before anything changes, and a path
//! that is no namespace with [`Code::UNKNOWN_CONTAINER`].

mod answer;
mod args;
mod command;
mod config;
mod delegate;
mod dispatch;
mod dns;
mod environment;
mod error;
mod lenient;
mod network_request;
mod prev_result;
mod raw;
mod request;
mod result;
mod route;
mod unknown_key;
mod valid_attachments;
mod version;

pub use answer::answer_always;
pub use args::{CniArgs, RequestedIp};
pub use command::{Command, Variable};
pub use config::NetworkConfig;
pub use delegate::{Delegate, Exec, Invocation, LONGEST_OUTPUT, Output};
pub use dispatch::{About, Added, Plugin, run};
pub use dns::Dns;
pub use environment::Environment;
pub use error::{CniError, Code};
pub use network_request::NetworkRequest;
pub use prev_result::{NewInterface, PrevInterface, PrevIp, PrevResult};
pub use raw::RawObject;
pub use request::Request;
pub use result::{IpamResult, ResultIp};
pub use route::Route;
pub use unknown_key::UnknownKey;
pub use valid_attachments::ValidAttachments;
pub use version::{CniVersion, Layout};

//! The only crate that reads and writes files.

pub mod resource_dir;

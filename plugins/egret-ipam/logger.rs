//! Where log lines go: stderr. Never stdout, which carries the answer.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

/// Starts logging.
pub(crate) fn start() {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("egret-ipam {} {}\n", record.level(), record.args());
        // Nobody is left to be told when the log itself cannot be written.
        std::io::stderr().write_all(line.as_bytes()).ok();
    }

    fn flush(&self) {}
}

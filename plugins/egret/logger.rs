//! Where log lines go: stderr, which runtimes keep when a plugin succeeds, or a file. Never stdout.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

use egret_resources::{LocalConfig, LogLevel};

struct Sink {
    label: String,
    file: Option<File>,
}

/// Starts logging for one call, which is about this. A log file that cannot be opened must not stop a pod: its lines go
/// to stderr, and the first of them says why.
pub(crate) fn start(config: &LocalConfig, label: &dyn Display) {
    let open = |path| OpenOptions::new().create(true).append(true).open(path);
    let (file, failed) = match config.log_file.as_deref().map(open).transpose() {
        Ok(file) => (file, None),
        Err(error) => (None, Some(error)),
    };
    let sink = Sink { label: label.to_string(), file };
    if log::set_boxed_logger(Box::new(sink)).is_ok() {
        log::set_max_level(level(config.log_level));
    }
    if let (Some(error), Some(path)) = (failed, &config.log_file) {
        log::warn!("open log file {}: {error}", path.display());
    }
}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("egret {} [{}] {}\n", record.level(), self.label, record.args());
        // One write: lines of parallel calls do not mix in one file. Nobody is left to be told when
        // the log itself cannot be written.
        let written = match self.file.as_ref() {
            Some(mut file) => file.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        written.ok();
    }

    fn flush(&self) {}
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

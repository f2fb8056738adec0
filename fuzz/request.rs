//! A whole call: lines `VARIABLE=value`, an empty one, then stdin.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use egret_cni::{About, Added, CniError, Code, Environment, NetworkRequest, Plugin, Request, run};
use egret_resources::LocalConfig;
use egret_store::journal::AttachmentDir;
use egret_types::Attachment;
use serde_json::Value;

use crate::document::refused;

/// stdout gets nothing or one object, which for exit code 1 is an error. Whatever an attachment is
/// called, its record is one file in its directory.
pub fn request(call: &[u8]) {
    let (variables, mut stdin) = split(call);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = run(&Recorder, variables, &mut stdin, &mut stdout, &mut stderr);
    match code {
        0 if stdout.is_empty() => {}
        0 => assert!(answer(&stdout).is_object()),
        1 => {
            assert!(answer(&stdout)["cniVersion"].is_string());
            refused(&CniError::from_json(&stdout).expect("it is an error object"));
        }
        other => assert!(other < 2, "exit code {other}"),
    }
}

fn answer(stdout: &[u8]) -> Value {
    assert!(stdout.ends_with(b"\n"));
    serde_json::from_slice(stdout).expect("stdout has one JSON document")
}

fn split(call: &[u8]) -> (Environment, &[u8]) {
    let end = call.windows(2).position(|pair| pair == b"\n\n").unwrap_or(call.len());
    let (lines, stdin) = call.split_at(end);
    let pair = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        Some((OsString::from_vec(line[..at].to_vec()), OsString::from_vec(line[at + 1..].to_vec())))
    };
    let variables = lines.split(|byte| *byte == b'\n').filter_map(pair).collect();
    (variables, stdin)
}

/// Does nothing but keep a record, and hands the previous result on.
struct Recorder;

impl Plugin for Recorder {
    type Config = LocalConfig;

    fn about(&self) -> About {
        About { name: "recorder", version: "0" }
    }

    fn add(&self, request: &Request<LocalConfig>) -> Result<Added, CniError> {
        request.require_netns()?;
        record(request.attachment());
        request.config().require_prev_result().map(Added::Chained)
    }

    fn del(&self, request: &Request<LocalConfig>) -> Result<(), CniError> {
        record(request.attachment());
        Ok(())
    }

    fn check(&self, request: &Request<LocalConfig>) -> Result<(), CniError> {
        request.config().require_prev_result().map(drop)
    }

    fn gc(&self, request: &NetworkRequest<LocalConfig>) -> Result<(), CniError> {
        request.valid_attachments().map(drop)
    }

    fn status(&self, _request: &NetworkRequest<LocalConfig>) -> Result<(), CniError> {
        Err(CniError::new(Code::NOT_AVAILABLE, "not now"))
    }
}

fn record(attachment: &Attachment) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let state = directory.path().join("state");
    let records = AttachmentDir::<String>::new(&state);
    records.put(attachment, &String::new()).expect("a record can be written");
    let files = files(directory.path().to_owned());
    let [file] = &files[..] else { unreachable!("{files:?}") };
    assert_eq!(file.parent(), Some(state.join("attachments").as_path()));
    records.remove(attachment).expect("a record can be removed");
}

fn files(directory: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![directory]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("it can be listed").flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

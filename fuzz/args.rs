//! `CNI_ARGS`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use egret_cni::{CniArgs, CniError, Code, Command, Request};
use egret_resources::LocalConfig;

use crate::document::{environment, refused};

/// DEL takes anything. What ADD takes, DEL reads the same, and written anew it reads the same; what
/// ADD does not take it refuses by the name of the variable.
pub fn args(text: &[u8]) {
    let text = OsStr::from_bytes(text);
    let del = read(Command::Del, text).expect("DEL takes any arguments");
    match read(Command::Add, text) {
        Ok(args) => {
            assert_eq!(args, del);
            assert_eq!(read(Command::Add, OsStr::new(&written(&args))), Ok(args));
        }
        Err(error) => {
            assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
            assert!(error.msg().contains("CNI_ARGS"), "{error}");
            refused(&error);
        }
    }
}

fn read(command: Command, text: &OsStr) -> Result<CniArgs, CniError> {
    let mut stdin = &br#"{"cniVersion":"1.0.0","name":"podnet"}"#[..];
    let environment = environment(OsString::from(text));
    let request = Request::<LocalConfig>::read(command, environment, &mut stdin)?;
    Ok(request.args().clone())
}

fn written(args: &CniArgs) -> String {
    let ip = |ip: &egret_cni::RequestedIp| match ip.length {
        Some(length) => format!("{}/{length}", ip.address),
        None => ip.address.to_string(),
    };
    let pairs = [
        ("K8S_POD_NAMESPACE", args.pod_namespace.as_ref().map(ToString::to_string)),
        ("K8S_POD_NAME", args.pod_name.clone()),
        ("K8S_POD_UID", args.pod_uid.clone()),
        ("K8S_POD_INFRA_CONTAINER_ID", args.infra_container_id.clone()),
        ("IP", Some(args.ips.iter().map(ip).collect::<Vec<_>>().join(","))),
        ("MAC", args.mac.map(|mac| mac.to_string())),
    ];
    let pairs =
        pairs.into_iter().map(|(key, value)| format!("{key}={}", value.unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(";")
}

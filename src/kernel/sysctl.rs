//! Kernel parameters: files below `/proc/sys`. Those below `net` are of the namespace of the thread
//! that looks them up, so they are read and written on a thread there.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use egret_egress::object::Sysctl;
use egret_types::LinkName;

use crate::error::Error;
use crate::resident::Resident;

const ROOT: &str = "/proc/sys";

/// The value; `None` if there is no such parameter.
pub(crate) fn get(resident: &Resident, path: &str) -> Result<Option<String>, Error> {
    let file = file(path)?;
    match resident.run(move || fs::read_to_string(file))? {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(failed("reading", path, source)),
    }
}

/// Writes the value unless it is there.
pub(crate) fn ensure(resident: &Resident, sysctl: &Sysctl) -> Result<(), Error> {
    let (file, sysctl) = (file(&sysctl.path)?, sysctl.clone());
    resident.run(move || {
        let current = fs::read_to_string(&file).map_err(|e| failed("reading", &sysctl.path, e))?;
        if current.trim() == sysctl.value { Ok(()) } else { write(&file, &sysctl, &sysctl.value) }
    })?
}

/// Puts the earlier value back, unless somebody else has changed it meanwhile.
pub(crate) fn remove(resident: &Resident, sysctl: &Sysctl) -> Result<(), Error> {
    let Some(was) = sysctl.was.clone() else { return Ok(()) };
    let (file, sysctl) = (file(&sysctl.path)?, sysctl.clone());
    resident.run(move || match fs::read_to_string(&file) {
        Ok(current) if current.trim() == sysctl.value => write(&file, &sysctl, &was),
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(source) => Err(failed("reading", &sysctl.path, source)),
    })?
}

pub(crate) fn differences(resident: &Resident, sysctl: &Sysctl) -> Result<Vec<String>, Error> {
    let name = sysctl.path.replace('/', ".");
    Ok(match get(resident, &sysctl.path)? {
        Some(value) if value == sysctl.value => vec![],
        Some(value) => vec![format!("sysctl {name}: {value}, should be {}", sysctl.value)],
        None => vec![format!("sysctl {name}: missing")],
    })
}

/// The parameter that says that IPv6 is off, in the namespace or on the link, with its value.
pub(crate) fn ipv6_disabled(resident: &Resident, link: Option<&LinkName>) -> Option<String> {
    let whole = "net/ipv6/conf/all/disable_ipv6";
    let of_link = link.map(|link| format!("net/ipv6/conf/{link}/disable_ipv6"));
    match get(resident, whole).ok()? {
        None => Some("there is no net/ipv6 in /proc/sys".to_owned()),
        Some(value) if value != "0" => Some(format!("{} = {value}", whole.replace('/', "."))),
        Some(_) => {
            let path = of_link?;
            let value = get(resident, &path).ok()?.filter(|value| value != "0")?;
            Some(format!("{} = {value}", path.replace('/', ".")))
        }
    }
}

/// Only real names: a record read from a file must not write elsewhere.
fn file(path: &str) -> Result<PathBuf, Error> {
    let relative = Path::new(path);
    if relative.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(Path::new(ROOT).join(relative))
    } else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a path below /proc/sys");
        Err(failed("finding", path, source))
    }
}

#[expect(clippy::disallowed_methods, reason = "a parameter is written in place, not replaced")]
fn write(file: &Path, sysctl: &Sysctl, value: &str) -> Result<(), Error> {
    fs::write(file, value).map_err(|source| failed("writing", &sysctl.path, source))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn failed(step: &'static str, path: &str, source: io::Error) -> Error {
    Error::Sysctl { step, path: path.to_owned(), source }
}

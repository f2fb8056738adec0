//! The clocks of this machine, read at once.

use std::{path::Path, time::SystemTime};

use egret_ipam::{Clock, Timestamp};

use crate::{
    boot_id,
    error::{Error, Operation},
};

/// Seconds since the boot, suspended time included, and seconds of idling, which are not read.
const UPTIME: &str = "/proc/uptime";

/// What they say now. A wall clock before 1970 is shown as 1970; nothing is decided by it.
pub fn read() -> Result<Clock, Error> {
    let path = Path::new(UPTIME);
    let text = std::fs::read_to_string(path).map_err(Error::io(Operation::Read, path))?;
    let seconds = text.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok());
    let uptime = seconds.ok_or_else(|| Error::Damaged {
        path: path.to_path_buf(),
        why: format!("{text:?} does not begin with a number"),
    })?;
    let now = Timestamp(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs());
    Ok(Clock { now, boot: boot_id::read()?, uptime })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_time_that_the_machine_is_up_goes_on() {
        let (first, second) = (super::read().unwrap(), super::read().unwrap());
        assert!(first.uptime > 0 && second.uptime >= first.uptime && second.boot == first.boot);
    }
}

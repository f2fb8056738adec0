//! Which run of the machine this is.

use std::path::Path;

use egret_ipam::BootId;

use crate::error::{Error, Operation};

const FILE: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's id of this boot.
pub fn read() -> Result<BootId, Error> {
    let path = Path::new(FILE);
    let text = std::fs::read_to_string(path).map_err(Error::io(Operation::Read, path))?;
    BootId::try_from(text.trim().to_owned())
        .map_err(|error| Error::Damaged { path: path.to_path_buf(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_boot_id_stays() {
        assert_eq!(super::read().unwrap(), super::read().unwrap());
    }
}

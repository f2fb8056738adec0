//! The versions of the specification that we speak. One table, because advertising a version and
//! honouring what it demands must never come apart.

use crate::{CniError, Code, Command};

/// A version of the specification that this crate supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CniVersion {
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: adds CHECK.
    V0_4_0,
    /// 1.0.0: results without `ips[].version`.
    V1_0_0,
    /// 1.1.0: adds GC and STATUS.
    V1_1_0,
}

/// How a result is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Before 1.0.0: `ips[].version` is mandatory, `dns` always there, and links and routes have
    /// no attributes beyond the basic ones.
    Legacy,
    /// From 1.0.0.
    One,
}

struct Row {
    version: CniVersion,
    text: &'static str,
    layout: Layout,
    commands: &'static [Command],
}

const WITHOUT_CHECK: &[Command] = &[Command::Add, Command::Del, Command::Version];
const WITH_CHECK: &[Command] = &[Command::Add, Command::Del, Command::Check, Command::Version];
const WITH_GC_AND_STATUS: &[Command] =
    &[Command::Add, Command::Del, Command::Check, Command::Gc, Command::Status, Command::Version];

/// In ascending order; the position is the value of the enum.
const TABLE: [Row; 4] = [
    Row {
        version: CniVersion::V0_3_1,
        text: "0.3.1",
        layout: Layout::Legacy,
        commands: WITHOUT_CHECK,
    },
    Row {
        version: CniVersion::V0_4_0,
        text: "0.4.0",
        layout: Layout::Legacy,
        commands: WITH_CHECK,
    },
    Row { version: CniVersion::V1_0_0, text: "1.0.0", layout: Layout::One, commands: WITH_CHECK },
    Row {
        version: CniVersion::V1_1_0,
        text: "1.1.0",
        layout: Layout::One,
        commands: WITH_GC_AND_STATUS,
    },
];

/// What the specification says an absent `cniVersion` means.
const ABSENT: &str = "0.1.0";

impl CniVersion {
    /// The newest one: the language of answers to requests that name no version we speak.
    pub const LATEST: CniVersion = TABLE[TABLE.len() - 1].version;

    /// All of them, oldest first.
    pub fn all() -> impl Iterator<Item = CniVersion> {
        TABLE.iter().map(|row| row.version)
    }

    /// As in `cniVersion`.
    pub fn as_str(self) -> &'static str {
        self.row().text
    }

    /// How results of this version look.
    pub fn layout(self) -> Layout {
        self.row().layout
    }

    /// Reads the value of `cniVersion`; an absent or empty one counts as 0.1.0.
    ///
    /// # Errors
    /// [`Code::DECODING_FAILURE`] for what is no version at all,
    /// [`Code::INCOMPATIBLE_VERSION`] for one we do not speak.
    pub fn parse(text: Option<&str>) -> Result<Self, CniError> {
        let text = text.filter(|text| !text.is_empty()).unwrap_or(ABSENT);
        if let Some(row) = TABLE.iter().find(|row| row.text == text) {
            return Ok(row.version);
        }
        if !is_version(text) {
            let msg = format!("cniVersion {text:?} is not a version (three numbers)");
            return Err(CniError::new(Code::DECODING_FAILURE, msg));
        }
        let supported = Self::all().map(Self::as_str).collect::<Vec<_>>().join(", ");
        Err(CniError::new(Code::INCOMPATIBLE_VERSION, "incompatible CNI versions").with_details(
            format!("the configuration says {text}, this plugin supports {supported}"),
        ))
    }

    /// Refuses an operation that this version does not have.
    pub(crate) fn allow(self, command: Command) -> Result<(), CniError> {
        if self.row().commands.contains(&command) { Ok(()) } else { Err(self.refuse(command)) }
    }

    fn refuse(self, command: Command) -> CniError {
        let msg = format!("config version does not allow {command}");
        CniError::new(Code::INCOMPATIBLE_VERSION, msg).with_details(format!("cniVersion is {self}"))
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl std::fmt::Display for CniVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split('.').count() == 3 && text.split('.').all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_the_enum() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.version as usize, position);
            assert_eq!(CniVersion::parse(Some(row.text)), Ok(row.version));
        }
    }

    #[test]
    fn items_18_19_and_23_what_is_not_supported_has_the_right_code() {
        for (text, code) in [
            (Some("9.9.9"), Code::INCOMPATIBLE_VERSION),
            (Some("1.2.0"), Code::INCOMPATIBLE_VERSION),
            (Some("0.2.0"), Code::INCOMPATIBLE_VERSION),
            (None, Code::INCOMPATIBLE_VERSION),
            (Some(""), Code::INCOMPATIBLE_VERSION),
            (Some("abc"), Code::DECODING_FAILURE),
            (Some("1"), Code::DECODING_FAILURE),
            (Some("1.0"), Code::DECODING_FAILURE),
            (Some("1..0"), Code::DECODING_FAILURE),
            (Some("1.0.0.0"), Code::DECODING_FAILURE),
            (Some("v1.0.0"), Code::DECODING_FAILURE),
            (Some("99999999999999999999.0.0"), Code::INCOMPATIBLE_VERSION),
        ] {
            assert_eq!(CniVersion::parse(text).unwrap_err().code(), code, "{text:?}");
        }
        let error = CniVersion::parse(Some("9.9.9")).unwrap_err();
        for part in ["9.9.9", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            assert!(error.details().contains(part), "{part} in {}", error.details());
        }
    }

    #[test]
    fn item_22_an_operation_younger_than_the_version_is_refused() {
        assert!(CniVersion::V0_4_0.allow(Command::Check).is_ok());
        assert!(CniVersion::V1_1_0.allow(Command::Gc).is_ok());
        assert!(CniVersion::V1_1_0.allow(Command::Status).is_ok());
        for (version, command) in [
            (CniVersion::V0_3_1, Command::Check),
            (CniVersion::V1_0_0, Command::Gc),
            (CniVersion::V1_0_0, Command::Status),
        ] {
            let error = version.allow(command).unwrap_err();
            assert_eq!(error.code(), Code::INCOMPATIBLE_VERSION);
            assert_eq!(error.msg(), format!("config version does not allow {command}"));
        }
    }
}

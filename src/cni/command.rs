//! The operations of the protocol, the variables that each one needs and the time it may take. One
//! table, so that a new operation is a row here and a method of the trait.

use std::time::Duration;

use crate::{CniError, Code, Environment};

/// What `CNI_COMMAND` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach it.
    Del,
    /// Compare an attachment with what ADD made.
    Check,
    /// Remove what belongs to no attachment.
    Gc,
    /// Say whether ADD would work.
    Status,
    /// Say which versions of the specification the plugin speaks.
    Version,
}

/// A variable that an operation may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `CNI_CONTAINERID`
    ContainerId,
    /// `CNI_NETNS`
    Netns,
    /// `CNI_IFNAME`
    IfName,
    /// `CNI_PATH`
    Path,
}

impl Variable {
    /// Its name in the environment.
    pub fn name(self) -> &'static str {
        match self {
            Variable::ContainerId => "CNI_CONTAINERID",
            Variable::Netns => "CNI_NETNS",
            Variable::IfName => "CNI_IFNAME",
            Variable::Path => "CNI_PATH",
        }
    }
}

/// `CNI_PATH` is optional in the specification; ADD and CHECK ask for it as all Go plugins do. DEL
/// does not: it must work with as little as possible, and only a delegate needs the path.
///
/// Runtimes give ADD minutes and DEL one at least; ours ends before, with an answer. STATUS is asked
/// every few seconds.
const TABLE: [(Command, &str, &[Variable], Duration); 6] = {
    use Variable::{ContainerId, IfName, Netns, Path};
    [
        (Command::Add, "ADD", &[ContainerId, Netns, IfName, Path], Duration::from_secs(20)),
        (Command::Del, "DEL", &[ContainerId, IfName], Duration::from_secs(10)),
        (Command::Check, "CHECK", &[ContainerId, Netns, IfName, Path], Duration::from_secs(5)),
        (Command::Gc, "GC", &[Path], Duration::from_mins(1)),
        (Command::Status, "STATUS", &[], Duration::from_secs(5)),
        (Command::Version, "VERSION", &[], Duration::from_secs(5)),
    ]
};

impl Command {
    /// The name of the variable that carries it.
    pub const VARIABLE: &'static str = "CNI_COMMAND";

    /// As in `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The variables without which the operation cannot be done.
    pub fn required(self) -> &'static [Variable] {
        TABLE[self as usize].2
    }

    /// How long it may take, from its beginning to its answer.
    pub fn deadline(self) -> Duration {
        TABLE[self as usize].3
    }

    /// How long a delegated plugin may take for it: less than half where its caller waits for locks
    /// and changes things as well, most of it where the caller only looks.
    pub(crate) fn delegate_deadline(self) -> Duration {
        let fifths = if matches!(self, Command::Check | Command::Status) { 4 } else { 2 };
        self.deadline() * fifths / 5
    }

    /// What the environment asks for; `None` if it asks for nothing.
    pub(crate) fn read(environment: &Environment) -> Result<Option<Self>, CniError> {
        let Some(value) = environment.get(Self::VARIABLE) else { return Ok(None) };
        let row = TABLE.iter().find(|(_, name, ..)| value == *name);
        row.map(|(command, ..)| Some(*command)).ok_or_else(|| {
            let names = TABLE.map(|(_, name, ..)| name).join(", ");
            let value = value.to_string_lossy();
            let msg = format!("{} is {value:?}, not one of {names}", Self::VARIABLE);
            CniError::new(Code::INVALID_ENVIRONMENT, msg)
        })
    }

    /// Refuses an environment that lacks something, naming all of it.
    pub(crate) fn require(self, environment: &Environment) -> Result<(), CniError> {
        let is_missing = |variable: &&Variable| environment.get(variable.name()).is_none();
        let missing: Vec<_> =
            self.required().iter().filter(is_missing).map(|variable| variable.name()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let msg = format!("{self} needs the environment variables {}", missing.join(", "));
        Err(CniError::new(Code::INVALID_ENVIRONMENT, msg).with_details("they are missing or empty"))
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_the_enum() {
        for (position, (command, name, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*command as usize, position);
            let environment = Environment::from_iter([("CNI_COMMAND", *name)]);
            assert_eq!(Command::read(&environment), Ok(Some(*command)));
        }
    }

    #[test]
    fn item_2_an_unknown_command_is_refused_by_name() {
        for value in ["FOO", "add", " ADD", "ADD "] {
            let error =
                Command::read(&Environment::from_iter([("CNI_COMMAND", value)])).unwrap_err();
            assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
            assert!(error.msg().contains("CNI_COMMAND") && error.msg().contains(value));
        }
    }

    #[test]
    fn items_3_and_4_all_missing_variables_are_named_and_empty_ones_are_missing() {
        let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
        for (command, needed) in [
            (Command::Add, &all[..]),
            (Command::Check, &all[..]),
            (Command::Del, &["CNI_CONTAINERID", "CNI_IFNAME"]),
            (Command::Gc, &["CNI_PATH"]),
        ] {
            for environment in
                [Environment::default(), all.map(|name| (name, "")).into_iter().collect()]
            {
                let error = command.require(&environment).unwrap_err();
                assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
                for name in all {
                    assert_eq!(
                        error.msg().contains(name),
                        needed.contains(&name),
                        "{command} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn item_56_status_works_with_empty_variables() {
        assert_eq!(Command::Status.require(&Environment::default()), Ok(()));
        assert_eq!(Command::Version.require(&Environment::default()), Ok(()));
    }
}

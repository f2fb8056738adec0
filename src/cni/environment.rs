//! The environment of one call, taken once. Kept whole because a delegated plugin gets all of it
//! (specification, section "Delegated plugin execution").

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use crate::{Command, Variable};

/// Names and values, as `std::env::vars_os` gives them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// The value of a variable. Runtimes set every variable of the protocol, also to nothing, so
    /// an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.0.iter().find(|(other, _)| other == name)?;
        Some(value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// All of it, with one variable set to `value`.
    #[must_use]
    pub fn with(&self, variable: Variable, value: &str) -> Self {
        Self(self.changed(variable.name(), value))
    }

    /// What a child gets that is to do this.
    pub(crate) fn of_child(&self, command: Command) -> Vec<(OsString, OsString)> {
        self.changed(Command::VARIABLE, command.as_str())
    }

    fn changed(&self, name: &str, value: &str) -> Vec<(OsString, OsString)> {
        let mut all = self.0.clone();
        all.retain(|(other, _)| other != name);
        all.push((name.into(), value.into()));
        all
    }

    /// The directories in `CNI_PATH`. An empty element would be the working directory, which is
    /// nowhere an administrator installs plugins: it is left out.
    pub fn plugin_paths(&self) -> Vec<PathBuf> {
        let value = self.get("CNI_PATH").unwrap_or_default().to_string_lossy();
        value.split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect()
    }
}

/// Names only: a runtime passes its whole environment, which may hold secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_4_an_empty_variable_is_absent() {
        let environment = Environment::from_iter([("CNI_NETNS", ""), ("CNI_IFNAME", "eth0")]);
        assert_eq!(environment.get("CNI_NETNS"), None);
        assert_eq!(environment.get("CNI_IFNAME"), Some(OsStr::new("eth0")));
        assert_eq!(environment.get("CNI_PATH"), None);
    }

    #[test]
    fn an_overridden_variable_is_there_once() {
        let environment = Environment::from_iter([("CNI_COMMAND", "ADD"), ("TRACEPARENT", "x")]);
        let all = environment.of_child(Command::Del);
        let expected = [("TRACEPARENT", "x"), ("CNI_COMMAND", "DEL")];
        assert_eq!(all, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn values_do_not_get_into_logs() {
        let environment = Environment::from_iter([("TOKEN", "secret")]);
        assert_eq!(format!("{environment:?}"), "{\"TOKEN\"}");
    }

    #[test]
    fn the_plugin_path_has_no_empty_elements() {
        let environment = Environment::from_iter([("CNI_PATH", ":/opt/cni/bin::/usr/lib/cni:")]);
        assert_eq!(
            environment.plugin_paths(),
            [PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")]
        );
        assert!(Environment::default().plugin_paths().is_empty());
    }
}

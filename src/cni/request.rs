//! One call about one attachment, validated: environment and stdin become a [`Request`] or the
//! error that the specification asks for.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use egret_types::{Attachment, ContainerId, IfName, Invalid};
use serde::de::DeserializeOwned;

use crate::{
    CniArgs, CniError, Code, Command, Environment, NetworkConfig, NetworkRequest, Variable,
    config::Document,
};

/// What ADD, DEL or CHECK is asked to do. `C` holds the plugin's own keys.
#[derive(Debug, Clone)]
pub struct Request<C> {
    attachment: Attachment,
    netns: Option<PathBuf>,
    args: CniArgs,
    network: NetworkRequest<C>,
}

impl<C> Request<C> {
    /// Reads and validates a call.
    ///
    /// Order, which decides the code where several things are wrong: missing variables (4), stdin
    /// (5), JSON and version text (6), version and whether it has the operation (1), values of
    /// variables (4), name and own keys (7, 2).
    ///
    /// # Errors
    /// The first of these that is wrong.
    pub fn read(
        command: Command,
        environment: Environment,
        stdin: &mut dyn Read,
    ) -> Result<Self, CniError>
    where
        C: DeserializeOwned,
    {
        command.require(&environment)?;
        let document = Document::read(stdin)?;
        document.version().allow(command)?;
        Self::new(command, environment, document)
    }

    /// What is left when variables are there and the version has the operation.
    pub(crate) fn new(
        command: Command,
        environment: Environment,
        document: Document,
    ) -> Result<Self, CniError>
    where
        C: DeserializeOwned,
    {
        let container_id: ContainerId = variable(&environment, Variable::ContainerId)?;
        let ifname: IfName = variable(&environment, Variable::IfName)?;
        let netns = environment.get(Variable::Netns.name()).map(PathBuf::from);
        let args = match command {
            Command::Del => CniArgs::read_leniently(&environment),
            _ => CniArgs::read(&environment)?,
        };
        let network = NetworkRequest::new(environment, document)?;
        let name = network.config().name().clone();
        let attachment = Attachment { network: name, container_id, ifname };
        Ok(Self { attachment, netns, args, network })
    }

    /// Which attachment.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// `CNI_NETNS`, which DEL may lack.
    pub fn netns(&self) -> Option<&Path> {
        self.netns.as_deref()
    }

    /// `CNI_NETNS`, for operations that cannot do without.
    ///
    /// # Errors
    /// [`Code::INVALID_ENVIRONMENT`] if it is absent, which ADD and CHECK never see.
    pub fn require_netns(&self) -> Result<&Path, CniError> {
        self.netns().ok_or_else(|| {
            CniError::new(Code::INVALID_ENVIRONMENT, "CNI_NETNS is missing or empty")
        })
    }

    /// `CNI_ARGS`
    pub fn args(&self) -> &CniArgs {
        &self.args
    }

    /// What the call tells apart from the attachment.
    pub fn network(&self) -> &NetworkRequest<C> {
        &self.network
    }

    /// The plugin configuration.
    pub fn config(&self) -> &NetworkConfig<C> {
        self.network.config()
    }

    /// The plugin's own keys.
    pub fn own(&self) -> &C {
        self.network.own()
    }
}

fn variable<T: std::str::FromStr<Err = Invalid>>(
    environment: &Environment,
    variable: Variable,
) -> Result<T, CniError> {
    let text = environment.get(variable.name()).unwrap_or_default().to_string_lossy();
    text.parse().map_err(|error: Invalid| {
        let msg = format!("{} is not {}", variable.name(), error.expected);
        let details = format!("{} is {:?}", variable.name(), error.text);
        CniError::new(Code::INVALID_ENVIRONMENT, msg).with_details(details)
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::CniVersion;

    #[derive(Debug, Deserialize)]
    struct NoKeys {}

    const CONFIG: &str = r#"{"cniVersion":"1.0.0","name":"podnet"}"#;

    fn environment(changed: &str, value: &str) -> Environment {
        let variables = [
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        let unchanged = variables.into_iter().filter(|(name, _)| *name != changed);
        unchanged.chain([(changed, value)]).collect()
    }

    fn read(command: Command, changed: &str, value: &str) -> Result<Request<NoKeys>, CniError> {
        Request::read(command, environment(changed, value), &mut CONFIG.as_bytes())
    }

    #[test]
    fn items_5_and_7_a_wrong_id_or_name_is_shown_in_the_details() {
        for command in [Command::Add, Command::Del, Command::Check] {
            for (variable, value) in [
                ("CNI_CONTAINERID", "-bad"),
                ("CNI_CONTAINERID", "a/b"),
                ("CNI_CONTAINERID", "a b"),
                ("CNI_IFNAME", "a234567890123456"),
                ("CNI_IFNAME", "."),
                ("CNI_IFNAME", ".."),
                ("CNI_IFNAME", "a/b"),
                ("CNI_IFNAME", "a:b"),
                ("CNI_IFNAME", "a b"),
            ] {
                let error = read(command, variable, value).unwrap_err();
                assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
                assert!(error.msg().contains(variable), "{error}");
                assert!(error.details().contains(value), "{error}");
            }
        }
    }

    #[test]
    fn items_6_and_7_every_legal_id_and_name_is_accepted() {
        let hex = "0123456789abcdef".repeat(4);
        for (variable, value) in [
            ("CNI_CONTAINERID", hex.as_str()),
            ("CNI_CONTAINERID", "ABC_d.e-f"),
            ("CNI_CONTAINERID", "cnitool-77383ca0d0d0d0d0d0d0"),
            ("CNI_IFNAME", "a23456789012345"),
        ] {
            assert!(read(Command::Add, variable, value).is_ok(), "{variable}={value}");
        }
    }

    #[test]
    fn item_41_del_needs_no_netns_and_add_does() {
        assert_eq!(read(Command::Del, "CNI_NETNS", "").unwrap().netns(), None);
        assert!(read(Command::Del, "CNI_NETNS", "").unwrap().require_netns().is_err());
        for command in [Command::Add, Command::Check] {
            let error = read(command, "CNI_NETNS", "").unwrap_err();
            assert!(error.msg().contains("CNI_NETNS"));
            let request = read(command, "X", "").unwrap();
            assert_eq!(request.require_netns(), Ok(Path::new("/run/netns/x")));
        }
    }

    #[test]
    fn items_13_and_14_arguments_can_stop_add_and_check_but_never_del() {
        for args in ["FOO=bar", "A", "A=b=c", "MAC=x"] {
            for command in [Command::Add, Command::Check] {
                let error = read(command, "CNI_ARGS", args).unwrap_err();
                assert_eq!(error.code(), Code::INVALID_ENVIRONMENT);
            }
            assert!(read(Command::Del, "CNI_ARGS", args).is_ok());
        }
    }

    #[test]
    fn item_42_del_gets_along_with_any_previous_result() {
        let deep = format!("{}1e999{}", "[".repeat(200), "]".repeat(200));
        for prev_result in [
            deep.as_str(),
            "null",
            "{}",
            "5",
            r#""x""#,
            "[[]]",
            r#"{"cniVersion":"0.2.0","ips":7}"#,
        ] {
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"a","prevResult":{prev_result}}}"#);
            let request: Result<Request<NoKeys>, _> =
                Request::read(Command::Del, environment("X", ""), &mut text.as_bytes());
            assert!(request.is_ok(), "{prev_result}");
        }
    }

    #[test]
    fn item_48_del_with_an_unreadable_configuration_is_a_decoding_failure() {
        for text in ["", "{", "[]", "no"] {
            let error: CniError =
                Request::<NoKeys>::read(Command::Del, environment("X", ""), &mut text.as_bytes())
                    .unwrap_err();
            assert_eq!(error.code(), Code::DECODING_FAILURE, "{text:?}");
        }
    }

    #[test]
    fn item_22_a_request_for_check_needs_a_version_that_has_it() {
        let text = r#"{"cniVersion":"0.3.1","name":"a"}"#;
        for (command, allowed) in [(Command::Add, true), (Command::Check, false)] {
            let request: Result<Request<NoKeys>, _> =
                Request::read(command, environment("X", ""), &mut text.as_bytes());
            assert_eq!(request.is_ok(), allowed, "{command}");
        }
    }

    #[test]
    fn the_attachment_has_all_three_names() {
        let request = read(Command::Add, "X", "").unwrap();
        assert_eq!(request.attachment().to_string(), "c1/eth0 of network podnet");
        assert_eq!(request.config().version(), CniVersion::V1_0_0);
    }
}

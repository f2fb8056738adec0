//! From process to plugin and back: which operation, its answer on stdout, its exit code. The only
//! place that writes to stdout, so that nothing but one JSON document ever gets there.

use std::{
    cell::Cell,
    io::{self, Read, Write},
};

use serde::de::DeserializeOwned;

use crate::{
    CniError, CniVersion, Command, Environment, IpamResult, NetworkRequest, PrevResult, Request,
    answer, config::Document,
};

/// What a plugin says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The name of the program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// What ADD answers.
#[derive(Debug, Clone)]
pub enum Added {
    /// A chained plugin hands on what it got.
    Chained(PrevResult),
    /// An IPAM plugin has given addresses.
    Ipam(IpamResult),
}

impl Added {
    fn to_json(&self, version: CniVersion) -> Result<String, CniError> {
        match self {
            Added::Chained(result) => result.to_json(),
            Added::Ipam(result) => result.to_json(version),
        }
    }
}

/// A CNI plugin. No method has a default body: an operation that does nothing is a decision that
/// its plugin writes down.
pub trait Plugin {
    /// The plugin's own keys in the configuration.
    type Config: DeserializeOwned;

    /// Name and version.
    fn about(&self) -> About;

    /// Attach. `CNI_NETNS` is there; whether it is a namespace, and not the plugin's own
    /// ([`crate::Code::INVALID_NETNS`]), the plugin checks before it changes anything.
    fn add(&self, request: &Request<Self::Config>) -> Result<Added, CniError>;

    /// Detach. Whatever is already gone is no error; `CNI_NETNS` and the previous result may be
    /// missing or worthless.
    fn del(&self, request: &Request<Self::Config>) -> Result<(), CniError>;

    /// Compare with what ADD made.
    fn check(&self, request: &Request<Self::Config>) -> Result<(), CniError>;

    /// Remove what belongs to attachments of the network that the runtime does not have any more
    /// ([`NetworkRequest::valid_attachments`]).
    fn gc(&self, request: &NetworkRequest<Self::Config>) -> Result<(), CniError>;

    /// Say whether ADD can be served now: [`crate::Code::NOT_AVAILABLE`] or
    /// [`crate::Code::LIMITED_CONNECTIVITY`] if not. Asked every few seconds: it is quick and
    /// changes nothing.
    fn status(&self, request: &NetworkRequest<Self::Config>) -> Result<(), CniError>;
}

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

/// Serves one call and tells the exit code of the process.
///
/// Guarantees: stdout gets nothing, or exactly one JSON document; an error is one error object and
/// exit code 1 (see [`crate::answer_always`] for a panic and a deadline). VERSION does not touch
/// stdin. Without `CNI_COMMAND` a text about the plugin goes to stderr.
pub fn run<P: Plugin>(
    plugin: &P,
    environment: Environment,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let version = Cell::new(CniVersion::LATEST);
    let answer = serve(plugin, environment, stdin, &version);
    answer::claim();
    let (written, code) = match answer {
        Ok(Answer::Nothing) => (Ok(()), SUCCESS),
        Ok(Answer::About(text)) => (write(stderr, &text), SUCCESS),
        Ok(Answer::Document(text)) => (write(stdout, &text), SUCCESS),
        Err(error) => (write(stdout, &error.to_json(version.get())), FAILURE),
    };
    match written {
        Ok(()) => code,
        Err(error) => {
            // Nobody is left to be told if stderr is closed as well.
            write(stderr, &format!("write the answer: {error}")).ok();
            FAILURE
        }
    }
}

enum Answer {
    Nothing,
    About(String),
    Document(String),
}

fn serve<P: Plugin>(
    plugin: &P,
    environment: Environment,
    stdin: &mut dyn Read,
    version: &Cell<CniVersion>,
) -> Result<Answer, CniError> {
    let Some(command) = Command::read(&environment)? else {
        return Ok(Answer::About(about(plugin.about())));
    };
    if command == Command::Version {
        return Ok(Answer::Document(versions()));
    }
    command.require(&environment)?;
    answer::begin(command);
    let document = Document::read(stdin)?;
    version.set(document.version());
    answer::answer_in(document.version());
    document.version().allow(command)?;
    perform(plugin, command, environment, document)
}

fn perform<P: Plugin>(
    plugin: &P,
    command: Command,
    environment: Environment,
    document: Document,
) -> Result<Answer, CniError> {
    let version = document.version();
    let done = match command {
        Command::Version => return Ok(Answer::Document(versions())),
        Command::Add => {
            let added = plugin.add(&Request::new(command, environment, document)?)?;
            return added.to_json(version).map(Answer::Document);
        }
        Command::Del => plugin.del(&Request::new(command, environment, document)?),
        Command::Check => plugin.check(&Request::new(command, environment, document)?),
        Command::Gc => plugin.gc(&NetworkRequest::new(environment, document)?),
        Command::Status => plugin.status(&NetworkRequest::new(environment, document)?),
    };
    done.map(|()| Answer::Nothing)
}

fn about(about: About) -> String {
    let versions = CniVersion::all().map(CniVersion::as_str).collect::<Vec<_>>().join(", ");
    format!("{} {}\nCNI protocol versions supported: {versions}", about.name, about.version)
}

fn versions() -> String {
    serde_json::json!({
        "cniVersion": CniVersion::LATEST.as_str(),
        "supportedVersions": CniVersion::all().map(CniVersion::as_str).collect::<Vec<_>>(),
    })
    .to_string()
}

/// In one call: an answer is there or not, and not without its end.
fn write(stream: &mut dyn Write, text: &str) -> io::Result<()> {
    stream.write_all(format!("{text}\n").as_bytes())?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::{Code, NewInterface};

    /// A chained plugin with one key, which adds one link and finds one difference.
    struct Chained;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keys {
        link: egret_types::LinkName,
        #[serde(default)]
        level: Level,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Level {
        #[default]
        Info,
    }

    impl Plugin for Chained {
        type Config = Keys;

        fn about(&self) -> About {
            About { name: "chained", version: "1.2.3" }
        }

        fn add(&self, request: &Request<Keys>) -> Result<Added, CniError> {
            request.require_netns()?;
            assert!(matches!(request.own().level, Level::Info));
            let mut result = request.config().require_prev_result()?;
            result.append_interface(&NewInterface {
                name: &request.own().link,
                mac: egret_types::MacAddr([2, 0, 0, 0, 0, 9]),
                sandbox: request.netns(),
                mtu: egret_types::Mtu::try_from(1450).ok(),
            })?;
            Ok(Added::Chained(result))
        }

        fn del(&self, _request: &Request<Keys>) -> Result<(), CniError> {
            Ok(())
        }

        fn check(&self, request: &Request<Keys>) -> Result<(), CniError> {
            request.config().require_prev_result()?;
            Err(CniError::new(Code::CHECK_DIFFERENCE, "the link is gone").with_details("egr0"))
        }

        fn gc(&self, request: &NetworkRequest<Keys>) -> Result<(), CniError> {
            match request.valid_attachments()? {
                Some(_) => Ok(()),
                None => Err(CniError::new(Code::INVALID_CONFIG, "no list")),
            }
        }

        fn status(&self, request: &NetworkRequest<Keys>) -> Result<(), CniError> {
            assert_eq!(request.config().name().as_str(), "podnet");
            Err(CniError::new(Code::NOT_AVAILABLE, "not now"))
        }
    }

    /// No test may read it.
    struct NeverEnds;

    impl Read for NeverEnds {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("stdin was read"))
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Outcome {
        code: u8,
        stdout: String,
        stderr: String,
    }

    impl Outcome {
        /// Exit code 1 and exactly one error object, whose code it is.
        fn error(&self) -> (u64, Value) {
            assert_eq!((self.code, self.stderr.as_str()), (1, ""));
            let object: Value = serde_json::from_str(&self.stdout).unwrap();
            assert!(object["cniVersion"].is_string() && object["msg"].is_string(), "{object}");
            (object["code"].as_u64().unwrap(), object)
        }
    }

    fn serve(environment: Environment, stdin: &mut dyn Read) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = run(&Chained, environment, stdin, &mut stdout, &mut stderr);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code, stdout: text(stdout), stderr: text(stderr) }
    }

    fn call(command: &str, config: &str) -> Outcome {
        let environment = Environment::from_iter([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        serve(environment, &mut config.as_bytes())
    }

    fn config(version: &str, rest: &str) -> String {
        format!(r#"{{"cniVersion":"{version}","name":"podnet","link":"egr0"{rest}}}"#)
    }

    #[test]
    fn item_1_without_a_command_the_plugin_tells_about_itself() {
        for environment in [Environment::default(), Environment::from_iter([("CNI_COMMAND", "")])] {
            let outcome = serve(environment, &mut NeverEnds);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
            assert_eq!(
                outcome.stderr,
                "chained 1.2.3\nCNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"
            );
        }
    }

    #[test]
    fn items_2_to_4_a_wrong_environment_is_one_error_object_and_stdin_is_not_read() {
        for (command, parts) in [
            ("FOO", &["CNI_COMMAND", "FOO"][..]),
            ("add", &["CNI_COMMAND"]),
            ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
            ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
        ] {
            let environment = Environment::from_iter([("CNI_COMMAND", command), ("CNI_NETNS", "")]);
            let (code, object) = serve(environment, &mut NeverEnds).error();
            assert_eq!(code, 4);
            let msg = object["msg"].as_str().unwrap();
            assert!(parts.iter().all(|part| msg.contains(part)), "{msg}");
        }
    }

    #[test]
    fn items_8_to_12_18_19_22_to_24_48_and_51_each_wrong_configuration_has_its_code() {
        let good = config("1.0.0", "");
        for (command, text, code, part) in [
            ("ADD", "", 6, "stdin"),
            ("ADD", "no", 6, "stdin"),
            ("DEL", "{", 6, "stdin"),
            ("ADD", r#"{"cniVersion":"1.0.0","link":"a"}"#, 7, "name"),
            ("ADD", r#"{"cniVersion":"1.0.0","link":"a","name":"a/b"}"#, 7, "name"),
            ("ADD", r#"{"cniVersion":"1.0.0","name":"a"}"#, 7, "link"),
            ("ADD", r#"{"cniVersion":"1.0.0","name":"a","link":1}"#, 7, "link"),
            ("ADD", r#"{"cniVersion":"1.0.0","name":"a","link":"a/b"}"#, 7, "a/b"),
            ("ADD", &config("1.0.0", r#","level":"loud""#), 2, "loud"),
            ("ADD", &config("9.9.9", ""), 1, "incompatible"),
            ("ADD", r#"{"name":"a","link":"a"}"#, 1, "incompatible"),
            ("ADD", &config("abc", ""), 6, "abc"),
            ("CHECK", &config("0.3.1", ""), 1, "config version does not allow CHECK"),
            ("GC", &good, 1, "config version does not allow GC"),
            ("STATUS", &good, 1, "config version does not allow STATUS"),
            ("ADD", &good, 7, "prevResult"),
            ("CHECK", &good, 7, "prevResult"),
            ("CHECK", &config("1.0.0", r#","prevResult":{}"#), 110, "gone"),
        ] {
            let (found, object) = call(command, text).error();
            assert_eq!(found, code, "{command} {text}: {object}");
            assert!(object["msg"].as_str().unwrap().contains(part), "{command} {text}: {object}");
        }
    }

    #[test]
    fn item_22_gc_and_status_as_libcni_sends_them_name_the_version() {
        for command in ["GC", "STATUS"] {
            let environment = Environment::from_iter([
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", ""),
                ("CNI_NETNS", ""),
                ("CNI_IFNAME", ""),
                ("CNI_PATH", "/opt/cni/bin"),
            ]);
            let (code, object) = serve(environment, &mut config("1.0.0", "").as_bytes()).error();
            assert_eq!((code, &object["cniVersion"]), (1, &Value::from("1.0.0")));
            assert_eq!(object["msg"], format!("config version does not allow {command}"));
        }
    }

    #[test]
    fn items_56_and_65_gc_and_status_need_no_attachment() {
        let environment = |command| {
            Environment::from_iter([
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", ""),
                ("CNI_NETNS", ""),
                ("CNI_IFNAME", ""),
                ("CNI_ARGS", ""),
                ("CNI_PATH", "/opt/cni/bin"),
            ])
        };
        let call = |command, rest: &str| {
            serve(environment(command), &mut config("1.1.0", rest).as_bytes())
        };
        assert_eq!(call("STATUS", "").error().0, 50);
        assert_eq!(call("GC", "").error().0, 7);
        let collected = call("GC", r#","cni.dev/attachments":null"#);
        assert_eq!((collected.code, collected.stdout.as_str()), (0, ""));
        for command in ["GC", "STATUS"] {
            let nameless = r#"{"cniVersion":"1.1.0","link":"a"}"#;
            let outcome = serve(environment(command), &mut nameless.as_bytes());
            assert_eq!(outcome.error().0, 7);
        }
    }

    #[test]
    fn items_8_and_48_a_configuration_cut_or_damaged_anywhere_is_one_error_object() {
        let whole = config("1.0.0", r#","prevResult":{"cniVersion":"1.0.0","ips":[]}"#);
        assert_eq!(call("ADD", &whole).code, 0);
        for length in 0..whole.len() {
            for command in ["ADD", "DEL"] {
                assert_eq!(call(command, &whole[..length]).error().0, 6, "{length}");
            }
            for byte in ["\"", "{", "]", ",", "0", "\\"] {
                let mut damaged = whole.clone();
                damaged.replace_range(length..=length, byte);
                let outcome = call("ADD", &damaged);
                assert!(outcome.code == 0 || outcome.error().0 != 120, "{damaged}");
            }
        }
    }

    #[test]
    fn an_error_is_told_in_the_version_of_the_configuration() {
        for (text, version) in [
            (config("0.4.0", ""), "0.4.0"),
            (config("0.3.1", r#","level":1"#), "0.3.1"),
            (config("9.9.9", ""), "1.1.0"),
            (String::new(), "1.1.0"),
        ] {
            assert_eq!(call("ADD", &text).error().1["cniVersion"], version);
        }
    }

    #[test]
    fn item_8_stdin_that_cannot_be_read_is_an_io_failure() {
        let environment = Environment::from_iter([
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
        ]);
        assert_eq!(serve(environment, &mut NeverEnds).error().0, 5);
    }

    #[test]
    fn items_16_and_17_version_answers_from_nothing_but_its_command() {
        let libcni = [
            ("CNI_COMMAND", "VERSION"),
            ("CNI_NETNS", "dummy"),
            ("CNI_IFNAME", "dummy"),
            ("CNI_PATH", "dummy"),
        ];
        for environment in [Environment::from_iter(libcni), Environment::from_iter([libcni[0]])] {
            let outcome = serve(environment, &mut NeverEnds);
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
            assert_eq!(
                outcome.stdout,
                "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":\
                 [\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n"
            );
        }
    }

    #[test]
    fn items_20_and_21_every_listed_version_works_in_its_layout() {
        for version in CniVersion::all() {
            let prev = format!(r#","prevResult":{{"cniVersion":"{version}","ips":[],"x":1.0}}"#);
            let outcome = call("ADD", &config(version.as_str(), &prev));
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
            let mtu = if version.layout() == crate::Layout::One { ",\"mtu\":1450" } else { "" };
            assert_eq!(
                outcome.stdout,
                format!(
                    "{{\"cniVersion\":\"{version}\",\"ips\":[],\"x\":1.0,\"interfaces\":[\
                     {{\"name\":\"egr0\",\"mac\":\"02:00:00:00:00:09\",\
                     \"sandbox\":\"/run/netns/x\"{mtu}}}]}}\n"
                )
            );
        }
    }

    #[test]
    fn item_42_del_is_silent_whatever_the_previous_result_says() {
        for prev in
            ["", r#","prevResult":{}"#, r#","prevResult":[1]"#, r#","prevResult":{"ips":5}"#]
        {
            let outcome = call("DEL", &config("1.0.0", prev));
            assert_eq!(
                (outcome.code, outcome.stdout, outcome.stderr),
                (0, String::new(), String::new())
            );
        }
    }

    #[test]
    fn an_answer_that_cannot_be_written_is_a_failure() {
        let environment = Environment::from_iter([("CNI_COMMAND", "VERSION")]);
        let mut stderr = Vec::new();
        let code = run(&Chained, environment, &mut NeverEnds, &mut Closed, &mut stderr);
        assert_eq!(code, 1);
        assert!(String::from_utf8(stderr).unwrap().starts_with("write the answer: "));
    }
}

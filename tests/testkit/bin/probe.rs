//! egret-probe: the client of egret-echo and the sender of hand-made frames, for shell scripts and
//! for processes that must not be the test's own (another user, no capabilities).

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use egret_tests::{Checksum, Client, Datagram, Frame, Question, Transport, send_frame, send_vxlan};

const USAGE: &str = "egret-probe who tcp|udp|big SERVER [OPTION VALUE]..
egret-probe upload|download SERVER BYTES [OPTION VALUE]..
egret-probe datagram SERVER [OPTION VALUE]..
egret-probe frame LINK [FIELD VALUE]..
egret-probe vxlan VTEP [FIELD VALUE]..
options: --port N  --bind-device LINK  --source-port N  --patience MILLISECONDS
         --payload TEXT  --mark N  --out-of LINK (datagram: sent and forgotten; SO_MARK, IP_PKTINFO)
fields:  --src-mac M  --dst-mac M  --src IP  --dst IP  --proto udp|tcp|icmp  --sport N  --dport N
         --payload TEXT  --vlan N  --ttl N  --checksum right|wrong  --count N
         --port N  --vni N (vxlan: where and what the tunnel is)";

type Outcome = Result<String, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["who", how, server, options @ ..] => who(how, server, &Options(options)),
        [way @ ("upload" | "download"), server, bytes, options @ ..] => {
            transfer(way, server, bytes, &Options(options))
        }
        ["datagram", server, options @ ..] => datagram(server, &Options(options)),
        ["frame", link, fields @ ..] => send(&Options(fields), |frame| send_frame(link, frame)),
        ["vxlan", vtep, fields @ ..] => tunnel(vtep, &Options(fields)),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(line) => {
            writeln!(std::io::stdout(), "{line}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(sentence) => {
            writeln!(std::io::stderr(), "{sentence}").ok();
            ExitCode::FAILURE
        }
    }
}

/// What follows the positional arguments: names and values in turn.
struct Options<'a>(&'a [&'a str]);

impl Options<'_> {
    fn get<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.0.chunks(2).find(|pair| pair[0] == name).map(|pair| pair.get(1));
        match value {
            None => Ok(None),
            Some(None) => Err(format!("{name} has no value\n{USAGE}")),
            Some(Some(text)) => {
                text.parse().map(Some).map_err(|error| format!("{name} {text}: {error}"))
            }
        }
    }

    fn needed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("{name} is missing\n{USAGE}"))
    }

    fn known(&self, names: &[&str]) -> Result<(), String> {
        match self.0.chunks(2).find(|pair| !names.contains(&pair[0])) {
            None => Ok(()),
            Some(pair) => Err(format!("unknown option {}\n{USAGE}", pair[0])),
        }
    }
}

fn client(server: &str, options: &Options) -> Result<Client, String> {
    options.known(&["--port", "--bind-device", "--source-port", "--patience"])?;
    let address: IpAddr = server.parse().map_err(|error| format!("{server}: {error}"))?;
    let mut client = Client::new(address);
    if let Some(port) = options.get("--port")? {
        client.server.set_port(port);
    }
    client.device = options.get("--bind-device")?;
    client.source_port = options.get("--source-port")?.unwrap_or(0);
    if let Some(milliseconds) = options.get("--patience")? {
        client.patience = std::time::Duration::from_millis(milliseconds);
    }
    Ok(client)
}

fn who(how: &str, server: &str, options: &Options) -> Outcome {
    let question = match how {
        "tcp" => Question::Tcp,
        "udp" => Question::Udp,
        "big" => Question::Big(8000),
        _ => return Err(USAGE.to_owned()),
    };
    let seen =
        client(server, options)?.ask(question).map_err(|e| format!("{how} {server}: {e}"))?;
    Ok(seen.address.to_string())
}

fn transfer(way: &str, server: &str, bytes: &str, options: &Options) -> Outcome {
    let length: u64 = bytes.parse().map_err(|error| format!("{bytes}: {error}"))?;
    let client = client(server, options)?;
    let done = if way == "upload" { client.upload(length) } else { client.download(length) };
    done.map(|()| format!("{length} bytes")).map_err(|error| format!("{way} {server}: {error}"))
}

fn datagram(server: &str, options: &Options) -> Outcome {
    options.known(&[
        "--port",
        "--bind-device",
        "--source-port",
        "--payload",
        "--mark",
        "--out-of",
    ])?;
    let address: IpAddr = server.parse().map_err(|error| format!("{server}: {error}"))?;
    let datagram = Datagram {
        to: SocketAddr::from((address, options.get("--port")?.unwrap_or(9999))),
        source_port: options.get("--source-port")?.unwrap_or(0),
        device: options.get("--bind-device")?,
        mark: options.get("--mark")?,
        out_of: options.get("--out-of")?,
    };
    let payload: String = options.get("--payload")?.unwrap_or_default();
    datagram.send(payload.as_bytes()).map_err(|error| format!("cannot send: {error}"))?;
    Ok("sent 1".to_owned())
}

fn tunnel(vtep: &str, fields: &Options) -> Outcome {
    let address: IpAddr = vtep.parse().map_err(|error| format!("{vtep}: {error}"))?;
    let port = fields.get("--port")?.unwrap_or(egret_types::ours::PORT);
    let vni = fields.get("--vni")?.unwrap_or(egret_types::ours::VNI);
    send(fields, |frame| send_vxlan(SocketAddr::from((address, port)), vni, frame))
}

fn send(fields: &Options, put: impl Fn(&[u8]) -> std::io::Result<()>) -> Outcome {
    fields.known(&[
        "--src-mac",
        "--dst-mac",
        "--src",
        "--dst",
        "--proto",
        "--sport",
        "--dport",
        "--payload",
        "--vlan",
        "--ttl",
        "--checksum",
        "--count",
        "--port",
        "--vni",
    ])?;
    let frame = frame(fields)?.encode();
    let count = fields.get("--count")?.unwrap_or(1);
    for _ in 0..count {
        put(&frame).map_err(|error| format!("cannot send: {error}"))?;
    }
    Ok(format!("sent {count}"))
}

fn frame(fields: &Options) -> Result<Frame, String> {
    let source = fields.get("--sport")?.unwrap_or(40_000);
    let destination = fields.get("--dport")?.unwrap_or(9999);
    let payload: String = fields.get("--payload")?.unwrap_or_default();
    let transport = match fields.get::<String>("--proto")?.as_deref() {
        None | Some("udp") => Transport::Udp { source, destination, payload: payload.into_bytes() },
        Some("tcp") => Transport::Tcp { source, destination, flags: 0x02 },
        Some("icmp") => Transport::Echo { id: source, sequence: 1 },
        Some(other) => return Err(format!("--proto {other}: not udp, tcp or icmp")),
    };
    let macs = [fields.needed("--src-mac")?, fields.needed("--dst-mac")?];
    let addresses: [IpAddr; 2] = [fields.needed("--src")?, fields.needed("--dst")?];
    if addresses[0].is_ipv4() != addresses[1].is_ipv4() {
        return Err("--src and --dst are of different families".to_owned());
    }
    let mut frame = Frame::new(macs, addresses, transport);
    frame.vlans.extend(fields.get::<u16>("--vlan")?);
    frame.ttl = fields.get("--ttl")?.unwrap_or(64);
    frame.checksum = match fields.get::<String>("--checksum")?.as_deref() {
        None | Some("right") => Checksum::Right,
        Some("wrong") => Checksum::Wrong,
        Some(other) => return Err(format!("--checksum {other}: not right or wrong")),
    };
    Ok(frame)
}

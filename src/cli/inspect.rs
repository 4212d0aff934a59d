//! `shakedown inspect`: recorded handshakes and sessions, explained as `probe` explains its own.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{CliError, Exit};
use super::output::{self, Color};
use crate::base::input;
use crate::inspect::{self, Handshake, Inspection, OtherConnection, Skipped, is_capture};

/// Explain recorded handshakes and the sessions behind them
///
/// Other connections are listed with what they look like. A capture without a handshake is no error: the list is empty
/// and stderr says so. A damaged capture is, after what could be read of it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// A pcap or pcapng file; or the raw streams C0C1, S0S1S2 and (optional) C2
    #[arg(value_name = "FILE", required = true, num_args = 1..=3)]
    files: Vec<PathBuf>,
    /// Only connections to this port, whatever their first bytes are (default: of any port, if they look like RTMP)
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Print JSON: {"handshakes":[...],"others":[...],"skipped":{...}}
    #[arg(long)]
    json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

#[derive(Serialize)]
struct Handshakes<'a> {
    handshakes: &'a [Handshake],
    /// Connections that are none.
    others: &'a [OtherConnection],
    /// What of the capture was not looked at; absent for raw streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a Skipped>,
}

/// Connections without a handshake that the text lists.
const MOST_OTHERS: usize = 32;

/// Explains every handshake in the files. A pcap or pcapng file is told by its magic bytes.
pub(super) fn execute(args: &InspectArgs) -> Result<Exit, CliError> {
    let first = &args.files[0];
    let mut file = input::open(first).map_err(|error| unreadable(first, &error))?;
    let mut head = Vec::new();
    file.by_ref().take(4).read_to_end(&mut head).map_err(|error| unreadable(first, &error))?;
    let file = Cursor::new(head.clone()).chain(file);
    if !is_capture(&head) {
        print(args, &[streams(args, file)?], &[], None)?;
        return Ok(Exit::PASS);
    }
    if args.files.len() > 1 {
        return Err(CliError::usage(format!("{} is a capture: inspect one at a time", shown(first))));
    }
    let Inspection { handshakes, others, skipped, damage } = inspect::capture(file, args.port);
    skipped.findings().iter().for_each(|finding| output::tell(finding));
    if let Some(damage) = damage {
        if !handshakes.is_empty() || !others.is_empty() {
            print(args, &handshakes, &others, Some(&skipped))?;
        }
        return Err(CliError::usage(format!("{}: {damage}", shown(first))));
    }
    if handshakes.is_empty() {
        let to = args.port.map_or(String::new(), |port| format!(" to port {port}"));
        output::tell(&format!(
            "no RTMP handshake{to} in {}: {} other connection(s) ({})",
            shown(first),
            skipped.other_connections,
            skipped.contents()
        ));
    }
    print(args, &handshakes, &others, Some(&skipped))?;
    Ok(Exit::PASS)
}

/// The handshake, and of the session behind it more than sets it up.
const MOST_OF_A_STREAM: u64 = 16 << 20;

/// `first` is the first of the files, opened already.
fn streams(args: &InspectArgs, first: impl Read) -> Result<Handshake, CliError> {
    let mut streams = vec![beginning(&args.files[0], first)?];
    for path in &args.files[1..] {
        let file = input::open(path).map_err(|error| unreadable(path, &error))?;
        streams.push(beginning(path, file)?);
    }
    match streams.as_slice() {
        [only] => Err(CliError::usage(format!(
            "{} is neither pcap nor pcapng (it begins with{}): give a capture, or the raw streams C0C1 S0S1S2 [C2]",
            shown(&args.files[0]),
            only.iter().take(4).map(|byte| format!(" {byte:02x}")).collect::<String>()
        ))),
        _ if args.port.is_some() => {
            Err(CliError::usage("--port chooses connections of a capture; raw streams have none"))
        }
        [c0c1, s0s1s2, c2 @ ..] => match streams.iter().position(|bytes| is_capture(bytes)) {
            Some(index) => Err(CliError::usage(format!(
                "{} is a capture: inspect it alone, or give the raw streams C0C1 S0S1S2 [C2]",
                shown(&args.files[index])
            ))),
            None => Ok(inspect::streams(c0c1, s0s1s2, c2.first().map(Vec::as_slice))),
        },
        [] => Err(CliError::usage("give a capture, or the raw streams C0C1 S0S1S2 [C2]")),
    }
}

/// The first bytes of `file`, as many as are looked at.
fn beginning(path: &Path, file: impl Read) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    file.take(MOST_OF_A_STREAM).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn shown(path: &Path) -> impl std::fmt::Display {
    input::name(path).display()
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::usage(format!("cannot read {}: {error}", shown(path)))
}

/// `others` are the first of the other connections.
fn print(
    args: &InspectArgs,
    handshakes: &[Handshake],
    others: &[OtherConnection],
    skipped: Option<&Skipped>,
) -> Result<(), CliError> {
    if args.json {
        let json = serde_json::to_string_pretty(&Handshakes { handshakes, others, skipped })
            .map_err(|error| CliError::environment(format!("cannot write the handshakes as JSON: {error}")))?;
        return output::print_json(&format!("{json}\n"));
    }
    let (width, color) = (output::width(), args.color.on_stdout());
    let explained = |handshake: &Handshake| output::rendered(color, |color| handshake.render(width, color));
    let mut texts: Vec<String> = handshakes.iter().map(explained).collect();
    let listed = &others[..others.len().min(MOST_OTHERS)];
    if !listed.is_empty() {
        let mut list: String = output::rendered(false, |_| listed.iter().map(|other| other.render(width)).collect());
        let other_connections = skipped.map_or(0, |skipped| skipped.other_connections);
        if other_connections > listed.len() {
            list.push_str(&format!("and {} other connections without a handshake\n", other_connections - listed.len()));
        }
        texts.push(list);
    }
    output::print_rendered(&texts.join("\n"))
}

//! What went wrong, for people and for machines.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use outwork_config::Faults;
use serde_json::{Value as Json, json};

use crate::client::ClientError;
use crate::local::print_json;
use crate::table::printable;

/// What a note of an error begins with: what was expected, what helps.
const NOTE: &str = "\n  = ";

/// An error with its causes, each said once, though one may quote the next; then its notes.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let (said, notes) = parts(error);
    notes.iter().fold(said, |text, note| text + NOTE + note)
}

fn parts(error: &anyhow::Error) -> (String, Vec<String>) {
    let (mut said, mut all) = (String::new(), Vec::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let mut notes = text.split(NOTE).map(str::to_owned);
        let mut what = notes.next().unwrap_or_default();
        // SQLite says the same again behind its number.
        if let Some((_, same)) = what.strip_prefix("Error code ").and_then(|numbered| numbered.split_once(": ")) {
            what = same.to_owned();
        }
        all.extend(notes.filter(|note| !said.contains(note.as_str())));
        if said.is_empty() {
            said = what;
        } else if !said.contains(&what) {
            said = format!("{said}: {what}");
        }
    }
    (said, all)
}

/// The same for a machine: `{"error": {"message": …}}` and what else is known.
fn as_json(error: &anyhow::Error) -> Json {
    if let Some(faults) = error.downcast_ref::<Faults>() {
        return json!({"error": {"message": "the configuration has faults", "faults": faults.to_json()}});
    }
    if let Some(ClientError::Refused(problem)) = error.downcast_ref() {
        return json!({"error": problem.to_json()});
    }
    let (message, notes) = parts(error);
    let mut out = json!({"message": message});
    for (name, text) in notes.iter().filter_map(|note| note.split_once(": ")) {
        out[name] = json!(text);
    }
    json!({ "error": out })
}

/// Says what went wrong: on standard error, or as JSON where the data would have been. A reader that has gone away, as
/// `head` does, is no error.
pub(crate) fn tell(error: &anyhow::Error, json: bool) -> ExitCode {
    let broken_pipe = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    // Where even this cannot be written, the exit code is what is left to say.
    if json {
        let _ = print_json(&as_json(error));
        return ExitCode::FAILURE;
    }
    let mut out = anstream::stderr();
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let reported = match error.downcast_ref() {
        Some(ClientError::Refused(problem)) => problem.report(),
        _ => None,
    };
    let _ = match (error.downcast_ref::<Faults>(), reported) {
        (Some(faults), _) => write!(out, "{}", faults.render(true)),
        (None, Some(report)) => writeln!(out, "{report}"),
        (None, None) => writeln!(out, "{red}error{red:#}: {}", text(error)),
    };
    ExitCode::FAILURE
}

/// Says that something is amiss that does not stop the command.
pub(crate) fn warn(what: &str) -> io::Result<()> {
    let yellow = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    writeln!(anstream::stderr(), "{yellow}warning{yellow:#}: {}", printable(what))
}

/// What is wrong with a command line.
pub(crate) fn usage(error: &clap::Error, json: bool) -> ! {
    if !json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message = text.split("\n\n").next().unwrap_or(text).trim();
    let _ = print_json(&json!({"error": {"message": message, "help": "see --help"}}));
    std::process::exit(error.exit_code())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open x: {source}\n  = help: make it")]
    struct Quoting {
        source: io::Error,
    }

    fn quoting() -> anyhow::Error {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        Err::<(), _>(Quoting { source }).context("store").expect_err("an error")
    }

    #[test]
    fn a_cause_that_was_quoted_is_not_said_again_and_what_helps_comes_last() {
        assert_eq!(text(&quoting()), "store: cannot open x: no such file\n  = help: make it");
        let plain = anyhow::Error::from(io::Error::other("deep")).context("outer");
        assert_eq!(text(&plain), "outer: deep");
    }

    #[test]
    fn a_machine_gets_the_message_and_what_helps_apart() {
        let expected = json!({"error": {"message": "store: cannot open x: no such file", "help": "make it"}});
        assert_eq!(as_json(&quoting()), expected);
    }
}

//! `outwork hash-password`.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail, ensure};
use outwork_front::filter::Hash;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use crate::cli::Global;

/// The longest password: whoever sends a longer one wants to keep us busy.
const LONGEST: usize = 1024;

/// Reads a password and prints its hash.
pub(crate) fn hash(global: &Global, user: Option<&str>, bcrypt: bool) -> anyhow::Result<()> {
    ensure!(
        user.is_none_or(|user| !user.is_empty() && !user.contains([':', '\n'])),
        "a name is not empty, and has no colon"
    );
    let password = match io::stdin().is_terminal() {
        true => asked()?,
        false => line().context("no password could be read from standard input")?,
    };
    ensure!(!password.is_empty(), "the password is empty");
    ensure!(password.len() <= LONGEST, "the password is longer than {LONGEST} bytes");
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).context("the kernel has no randomness")?;
    let hash = match bcrypt {
        true => Hash::bcrypt(password.as_bytes(), salt),
        false => Hash::argon2(password.as_bytes(), salt),
    };
    let hash = hash?.to_string();
    let mut out = anstream::stdout();
    match (global.json, user) {
        (true, user) => writeln!(out, "{}", json!({ "user": user, "hash": hash }))?,
        (false, Some(user)) => writeln!(out, "{user}:{hash}")?,
        (false, None) => writeln!(out, "{hash}")?,
    }
    Ok(())
}

/// Asks for it twice at the terminal, which does not show it.
fn asked() -> anyhow::Result<String> {
    let hidden = Hidden::new().context("the terminal cannot be told to hide what is typed")?;
    let prompt = |text: &str| -> anyhow::Result<String> {
        let mut terminal = io::stderr();
        write!(terminal, "{text}: ")?;
        terminal.flush()?;
        let read = line()?;
        writeln!(terminal)?;
        Ok(read)
    };
    let (first, second) = (prompt("Password")?, prompt("Again")?);
    drop(hidden);
    if first != second {
        bail!("these are two passwords");
    }
    Ok(first)
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed; dropped, it does again.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.0);
    }
}

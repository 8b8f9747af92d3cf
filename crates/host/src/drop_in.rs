//! What of it holds through a restart of the machine: a file for `/etc/sysctl.d`.

use std::fmt::Write as _;

use crate::demand::Wanting;
use crate::knob::Knob;
use crate::machine::Machine;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The setting.
    pub name: String,
    /// What it is to be: never less than it is, where more is welcome.
    pub value: String,
    /// What it is good for.
    pub why: String,
    /// Whether this machine has it.
    pub is_there: bool,
}

/// What is wanted of the kernel, as the machine is now.
pub fn lines(machine: &Machine, wanting: &Wanting) -> Vec<Line> {
    let line = |wish: &crate::wish::Wish| {
        let name = match &wish.knob {
            Knob::Sysctl { name } => name.to_string(),
            // By another name: it is of pages of the usual size, which these are on every processor that we build for.
            Knob::HugePages {} => "vm.nr_hugepages".to_owned(),
            Knob::Interrupt { .. } | Knob::Link { .. } | Knob::Queue { .. } | Knob::Card { .. } => return None,
        };
        let now = machine.read(&wish.knob).ok().flatten();
        let value = wish.wanted.value(now.as_deref().unwrap_or_default());
        Some(Line { name, value, why: wish.why.clone(), is_there: now.is_some() })
    };
    wanting.wishes.iter().filter_map(line).collect()
}

/// The file.
pub fn text(lines: &[Line]) -> String {
    let mut text = "# What Outwork wants of the kernel. Written by `outwork host sysctl`; goes to /etc/sysctl.d/60-outwork.conf, and `sysctl --system` applies it.\n".to_owned();
    for Line { name, value, why, is_there } in lines {
        // What the kernel does not have is no error there with a dash before it: a module may bring it.
        let dash = if *is_there { "" } else { "-" };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n# {why}\n{dash}{name} = {value}\n");
    }
    text
}

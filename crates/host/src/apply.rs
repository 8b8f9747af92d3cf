//! Makes a machine as it is wanted, and puts it back.

use std::io;

use serde::Serialize;

use crate::before::{Before, BeforeError, Entry};
use crate::demand::Wanting;
use crate::knob::Knob;
use crate::machine::{Machine, is_absence};
use crate::report::{absence, in_the_way};

/// What became of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Its name.
    pub name: String,
    /// What it was; `None` where this machine has no such thing.
    pub from: Option<String>,
    /// What it was to be.
    pub to: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, and what to do.
    pub remark: Option<String>,
}

/// What became of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It would be changed.
    Planned,
    /// It was changed.
    Changed,
    /// It was changed, and the kernel made something else of it.
    Partly,
    /// This machine cannot have it.
    Absent,
    /// Somebody else has changed it since; it stays as it is.
    Left,
    /// The kernel refuses.
    Failed,
}

impl Outcome {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Planned => "planned",
            Outcome::Changed => "changed",
            Outcome::Partly => "partly",
            Outcome::Absent => "absent",
            Outcome::Left => "left",
            Outcome::Failed => "failed",
        }
    }

    /// Whether it is not as it was to be, though it could be.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Partly | Outcome::Failed)
    }
}

impl Done {
    fn new(knob: &Knob, from: Option<&str>, to: &str, outcome: Outcome) -> Done {
        Done { name: knob.to_string(), from: from.map(str::to_owned), to: to.to_owned(), outcome, remark: None }
    }

    /// Whether it changed anything.
    pub fn is_change(&self) -> bool {
        matches!(self.outcome, Outcome::Changed | Outcome::Partly)
    }

    fn saying(self, remark: String) -> Done {
        Done { remark: Some(remark), ..self }
    }
}

/// What is to be changed, and what cannot be.
struct Plan {
    changes: Vec<(Knob, String, String)>,
    told: Vec<Done>,
}

impl Plan {
    fn new(machine: &Machine, wanting: &Wanting) -> Plan {
        let mut plan = Plan { changes: Vec::new(), told: Vec::new() };
        for wish in wanting.wishes.iter() {
            let (knob, wanted) = (&wish.knob, wish.wanted.to_string());
            match machine.read(knob) {
                Ok(Some(now)) if wish.wanted.is_met(&now) => {}
                Ok(Some(now)) => match in_the_way(machine, wish, &now) {
                    Some((true, why)) => {
                        plan.told.push(Done::new(knob, Some(&now), &wanted, Outcome::Absent).saying(why));
                    }
                    _ => plan.changes.push((knob.clone(), wish.wanted.value(&now), now)),
                },
                Ok(None) => plan.told.push(Done::new(knob, None, &wanted, Outcome::Absent).saying(absence(knob))),
                Err(error) => {
                    plan.told.push(Done::new(knob, None, &wanted, Outcome::Failed).saying(refusal(knob, &error)));
                }
            }
        }
        plan
    }
}

/// Says what [`apply`] would do.
pub fn rehearse(machine: &Machine, wanting: &Wanting) -> Vec<Done> {
    let Plan { changes, told } = Plan::new(machine, wanting);
    let planned = changes.iter().map(|(knob, value, now)| Done::new(knob, Some(now), value, Outcome::Planned));
    planned.chain(told).collect()
}

/// Makes a machine as it is wanted. What it was is on the disk before anything is changed; what is refused stops nothing else.
///
/// # Errors
/// When that cannot be remembered; nothing has changed then, unless it fails for the second time.
pub fn apply(machine: &Machine, wanting: &Wanting, before: &mut Before) -> Result<Vec<Done>, BeforeError> {
    let Plan { changes, told } = Plan::new(machine, wanting);
    if changes.is_empty() {
        return Ok(told);
    }
    for (knob, value, now) in &changes {
        before.remember(knob, now, value);
    }
    before.keep()?;
    let mut done = Vec::new();
    for (knob, value, now) in &changes {
        let (changed, became) = change(machine, knob, now, value);
        before.became(knob, &became);
        done.push(changed);
    }
    before.keep()?;
    done.extend(told);
    Ok(done)
}

/// Writes, and looks at what the kernel has made of it.
fn change(machine: &Machine, knob: &Knob, now: &str, value: &str) -> (Done, String) {
    let done = |outcome| Done::new(knob, Some(now), value, outcome);
    let written = machine.write(knob, value);
    let became = machine.read(knob).ok().flatten().unwrap_or_else(|| now.to_owned());
    let told = match written {
        Err(error) if is_absence(&error) => done(Outcome::Absent).saying(absence(knob)),
        Err(error) => done(Outcome::Failed).saying(refusal(knob, &error)),
        Ok(()) if became == value => done(Outcome::Changed),
        Ok(()) => done(Outcome::Partly).saying(format!("the kernel made {became} of it{}", shortage(knob))),
    };
    (told, became)
}

fn shortage(knob: &Knob) -> &'static str {
    match knob {
        Knob::HugePages {} => {
            ": memory has no more runs of 2 MiB; set them aside soon after a start of the machine, or on the kernel's command line (hugepages=N)"
        }
        _ => "",
    }
}

/// Why a thing cannot be changed, and what to do.
fn refusal(knob: &Knob, error: &io::Error) -> String {
    let advice = match (error.raw_os_error(), knob) {
        (Some(libc::EROFS), _) => {
            "; it is read-only here, as it is in a container: set it on the machine itself, or start the container with it (--sysctl)"
        }
        (Some(libc::EACCES | libc::EPERM), Knob::Sysctl { .. }) => {
            "; it takes root, and in a network namespace of its own this one may belong to the machine alone"
        }
        (Some(libc::EACCES | libc::EPERM), _) => "; it takes root",
        (Some(libc::EIO), Knob::Interrupt { .. }) => "; the driver says itself who takes it: take `interrupts` out",
        (Some(libc::EINVAL | libc::ERANGE), Knob::Card { .. }) => {
            "; the card cannot do so much: `ethtool -g`, `-l` and `-c` say what it can"
        }
        (Some(libc::EINVAL | libc::ERANGE), _) => "; the kernel takes no such value",
        _ => "",
    };
    format!("{error}{advice}")
}

/// What a rollback finds of a thing that was changed.
enum Found {
    /// It is what it was.
    Back,
    /// It is to be put back, and is this.
    Changed(String),
    /// It cannot be put back, or is not to be.
    Not(Done),
}

impl Found {
    fn of(machine: &Machine, entry: &Entry, force: bool) -> Found {
        let knob = &entry.knob;
        let told = |now: Option<&str>, outcome| Done::new(knob, now, &entry.before, outcome);
        match machine.read(knob) {
            Ok(None) => Found::Not(told(None, Outcome::Absent).saying(absence(knob))),
            Err(error) => Found::Not(told(None, Outcome::Failed).saying(refusal(knob, &error))),
            Ok(Some(now)) if now == entry.before => Found::Back,
            Ok(Some(now)) if now != entry.set && !force => {
                let why =
                    format!("somebody has changed it since, from {}; --force puts it back all the same", entry.set);
                Found::Not(told(Some(&now), Outcome::Left).saying(why))
            }
            Ok(Some(now)) => Found::Changed(now),
        }
    }
}

/// Says what [`roll_back`] would do.
pub fn rehearse_back(machine: &Machine, before: &Before, force: bool) -> Vec<Done> {
    let planned = |entry: &Entry| match Found::of(machine, entry, force) {
        Found::Back => None,
        Found::Changed(now) => Some(Done::new(&entry.knob, Some(&now), &entry.before, Outcome::Planned)),
        Found::Not(done) => Some(done),
    };
    before.entries().iter().rev().filter_map(planned).collect()
}

/// Puts back what was changed, the last change first. What somebody else has changed since stays as it is, and is remembered, unless `force` says otherwise.
///
/// # Errors
/// When what is left to put back cannot be remembered.
pub fn roll_back(machine: &Machine, before: &mut Before, force: bool) -> Result<Vec<Done>, BeforeError> {
    let mut all = Vec::new();
    for entry in before.entries().to_vec().into_iter().rev() {
        let knob = &entry.knob;
        match Found::of(machine, &entry, force) {
            Found::Back => before.forget(knob),
            Found::Changed(now) => {
                let (done, became) = change(machine, knob, &now, &entry.before);
                before.became(knob, &became);
                all.push(done);
            }
            Found::Not(done) => {
                if done.outcome == Outcome::Absent {
                    before.forget(knob);
                }
                all.push(done);
            }
        }
    }
    // What hangs on another thing may have followed when that was put back: segments are cut by a card that makes checksums.
    for entry in before.entries().to_vec() {
        let partly = all.iter_mut().find(|done| done.outcome == Outcome::Partly && done.name == entry.knob.to_string());
        if let (Some(done), Ok(Some(now))) = (partly, machine.read(&entry.knob))
            && now == entry.before
        {
            before.forget(&entry.knob);
            *done = Done { outcome: Outcome::Changed, remark: None, ..done.clone() };
        }
    }
    before.keep()?;
    Ok(all)
}

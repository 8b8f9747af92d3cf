//! The machine beside the wishes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::demand::Wanting;
use crate::knob::Knob;
use crate::limits;
use crate::machine::Machine;
use crate::processors::Processors;
use crate::wish::{Need, Wish};

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As wanted.
    Good,
    /// Not as wanted: lower, higher, or something else.
    Differs,
    /// This machine has no such thing, or does not show it.
    Absent,
}

impl State {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Differs => "differs",
            State::Absent => "absent",
        }
    }
}

/// One thing, as it is and as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Row {
    /// `sysctl`, `hugepages`, `interrupt`, `interface`, or `limit` of the process.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it is now.
    pub now: Option<String>,
    /// What is wanted.
    pub wanted: String,
    /// How the one is beside the other.
    pub state: State,
    /// What it is good for.
    pub why: String,
    /// Services that it is for; none where `[host]` names it.
    pub services: Vec<String>,
    /// Settings that cannot do what they say as it is.
    pub settings: Vec<String>,
    /// What else is to be known, and what to do.
    pub remark: Option<String>,
}

/// The machine beside what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Report {
    /// Each thing.
    pub items: Vec<Row>,
    /// How many are as wanted.
    pub good: usize,
    /// How many are not.
    pub differs: usize,
    /// How many this machine does not have.
    pub absent: usize,
}

impl Report {
    /// Looks at a machine, and at the limits of a process there where one is named: a number, or `self`.
    pub fn look(machine: &Machine, wanting: &Wanting, process: Option<&str>) -> Report {
        let mut items: Vec<Row> = wanting.wishes.iter().map(|wish| row(machine, wish)).collect();
        items.extend(process.into_iter().flat_map(|process| limits::rows(machine, process, &wanting.limits)));
        let count = |state| items.iter().filter(|row| row.state == state).count();
        let (good, differs, absent) = (count(State::Good), count(State::Differs), count(State::Absent));
        Report { items, good, differs, absent }
    }
}

fn row(machine: &Machine, wish: &Wish) -> Row {
    let (now, mut state, mut remark) = match machine.read(&wish.knob) {
        Ok(Some(now)) if wish.wanted.is_met(&now) => (Some(now), State::Good, None),
        Ok(Some(now)) => (Some(now), State::Differs, None),
        Ok(None) => (None, State::Absent, Some(absence(&wish.knob))),
        Err(error) => (None, State::Absent, Some(format!("it cannot be read: {}", error))),
    };
    if let Some((is_in_the_way, why)) = in_the_way(machine, wish, now.as_deref().unwrap_or_default())
        && state != State::Absent
    {
        remark = Some(why);
        state = if is_in_the_way && state == State::Differs { State::Absent } else { state };
    }
    let is_short = |need: &&Need| now.as_deref().is_some_and(|now| !need.wanted.is_met(now));
    let short = wish.needs.iter().filter(is_short).map(|need| need.setting.clone()).collect();
    Row {
        kind: match &wish.knob {
            Knob::Sysctl { .. } => "sysctl",
            Knob::HugePages {} => "hugepages",
            Knob::Interrupt { .. } => "interrupt",
            Knob::Link { .. } | Knob::Queue { .. } | Knob::Card { .. } => "interface",
        },
        name: wish.knob.to_string(),
        now,
        wanted: wish.wanted.to_string(),
        state,
        why: wish.why.clone(),
        services: wish.services.iter().map(|name| (*name).to_owned()).collect(),
        settings: short,
        remark,
    }
}

/// Why a machine may not have a thing.
pub(crate) fn absence(knob: &Knob) -> String {
    match knob {
        Knob::Sysctl { name } if name.to_string().starts_with("net.netfilter.") => {
            "nothing is tracked here: the module nf_conntrack is not loaded".to_owned()
        }
        Knob::Sysctl { .. } => {
            "this kernel has no such setting, or shows it in the first network namespace only".to_owned()
        }
        Knob::HugePages {} => "this kernel has no huge pages of 2 MiB".to_owned(),
        Knob::Interrupt { .. } => "there is no such interrupt any more".to_owned(),
        Knob::Link { interface, .. } | Knob::Queue { interface, .. } => {
            format!("there is no interface {interface} with that here: `ip link` lists them")
        }
        Knob::Card { interface, .. } => {
            format!("there is no interface {interface} here, or its driver has no such thing")
        }
    }
}

/// What keeps a thing from being as wanted, or will change it again; and whether it cannot be had at all.
pub(crate) fn in_the_way(machine: &Machine, wish: &Wish, now: &str) -> Option<(bool, String)> {
    let wanted = wish.wanted.value(now);
    match &wish.knob {
        Knob::Sysctl { name } if name.to_string() == "net.ipv4.tcp_congestion_control" => {
            let available = machine.text("proc/sys/net/ipv4/tcp_available_congestion_control")?;
            let has = available.split_whitespace().any(|one| one == wanted);
            let told = format!("this kernel has {available}: `modprobe tcp_{wanted}`, where there is such a module");
            (!has).then_some((true, told))
        }
        Knob::Interrupt { .. } => {
            let wanted: Processors = wanted.parse().ok()?;
            if let Some(number) = machine.processors().and_then(|online| wanted.outside(&online)) {
                return Some((true, format!("this machine has no processor {number} at work")));
            }
            let told = "irqbalance runs, and moves it again: `systemctl disable --now irqbalance`";
            machine.is_balanced().then(|| (false, told.to_owned()))
        }
        _ => None,
    }
}

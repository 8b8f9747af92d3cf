//! What a process may have. It is looked at: the service raises what it may by itself, and the rest is said where the service is started.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::machine::Machine;
use crate::report::{Row, State};

/// A limit of the process that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitWish {
    /// Which.
    pub limit: Limit,
    /// At least so much; `None` for no limit.
    pub least: Option<u64>,
    /// What it is good for.
    pub why: String,
    /// Services that it is for.
    pub services: Vec<&'static str>,
}

/// A limit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Files that it may have open, sockets among them.
    Files,
    /// Memory that it may keep from being swapped.
    LockedMemory,
}

/// `CAP_IPC_LOCK`: who has it needs no limit of locked memory.
const MAY_LOCK: u32 = 14;

impl Limit {
    /// How `/proc/PID/limits` calls it.
    fn words(self) -> &'static str {
        match self {
            Limit::Files => "Max open files",
            Limit::LockedMemory => "Max locked memory",
        }
    }

    /// How the unit of the service calls it.
    fn directive(self) -> &'static str {
        match self {
            Limit::Files => "LimitNOFILE",
            Limit::LockedMemory => "LimitMEMLOCK",
        }
    }
}

/// The process that has a data directory: whoever holds the lock on the file there, by what the kernel says.
pub fn server(machine: &Machine, lock: &Path) -> Option<u32> {
    let file = fs::metadata(lock).ok()?;
    let place = format!(":{}", file.ino());
    let locks = machine.text("proc/locks")?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "FLOCK")?;
        (words.get(at + 4)?.ends_with(&place)).then(|| words.get(at + 3)?.parse().ok())?
    })
}

/// How the limits of a process are beside what is wanted; `process` is its folder in `/proc`: a number, or `self`.
pub fn rows(machine: &Machine, process: &str, wishes: &[LimitWish]) -> Vec<Row> {
    let limits = machine.text(format!("proc/{process}/limits"));
    wishes.iter().map(|wish| row(machine, process, limits.as_deref(), wish)).collect()
}

fn row(machine: &Machine, process: &str, limits: Option<&str>, wish: &LimitWish) -> Row {
    let text = |amount: Option<u64>| amount.map_or_else(|| "unlimited".to_owned(), |amount| amount.to_string());
    let line = limits.and_then(|text| text.lines().find_map(|line| line.strip_prefix(wish.limit.words())));
    // Behind the name are the soft limit, the hard one and the unit. The service raises the soft one to the hard one.
    let now = line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned);
    let has = |now: &str| match (now.parse::<u64>(), wish.least) {
        (Ok(now), Some(least)) => now >= least,
        (Ok(_), None) => false,
        (Err(_), _) => now == "unlimited",
    };
    let may_lock = wish.limit == Limit::LockedMemory && has_capability(machine, process, MAY_LOCK);
    let state = match &now {
        None => State::Absent,
        Some(now) if has(now) || may_lock => State::Good,
        Some(_) => State::Differs,
    };
    let remark = match state {
        State::Differs => {
            let value = wish.least.map_or_else(|| "infinity".to_owned(), |least| least.to_string());
            let directive = wish.limit.directive();
            Some(format!(
                "write {directive}={value} into the unit of the service (deploy/outwork.service), and restart it"
            ))
        }
        State::Good if may_lock => Some("the process has CAP_IPC_LOCK, which no limit holds for".to_owned()),
        State::Absent => Some("this process is not there any more".to_owned()),
        State::Good => None,
    };
    Row {
        kind: "limit",
        name: wish.limit.words().replacen("Max", "max", 1),
        now,
        wanted: format!("at least {}", text(wish.least)).replace("at least unlimited", "unlimited"),
        state,
        why: wish.why.clone(),
        services: wish.services.iter().map(|name| (*name).to_owned()).collect(),
        settings: Vec::new(),
        remark,
    }
}

fn has_capability(machine: &Machine, process: &str, number: u32) -> bool {
    let status = machine.text(format!("proc/{process}/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> number & 1 == 1)
}

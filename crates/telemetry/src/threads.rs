//! What each thread of the process is doing, from `/proc/self/task`.

use std::path::Path;

use serde::Serialize;

use crate::process::USER_HZ;

/// A thread, as the kernel has it. What it does not tell is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thread {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name, as far as the kernel keeps it: 15 bytes.
    pub name: String,
    /// What it does, by a letter of proc_pid_stat(5): `R` runs or would, `S` waits, `D` waits for a device, `T` and `t` are stopped.
    pub state: char,
    /// The processor that it was on last.
    pub processor: Option<u32>,
    /// Those that it may be on, such as `0-3,8`.
    pub allowed: Option<String>,
    /// Seconds of its own on a processor.
    pub user_seconds: f64,
    /// Seconds of the kernel's for it.
    pub system_seconds: f64,
    /// How often it gave its processor away, to wait.
    pub voluntary_switches: Option<u64>,
    /// How often that was taken away from it.
    pub involuntary_switches: Option<u64>,
    /// The function of the kernel that it waits in.
    pub waits_in: Option<String>,
    /// Where it is in the kernel, from the innermost function out. Only root, with CAP_SYS_ADMIN, is told.
    pub stack: Vec<String>,
}

/// The threads of this process, by number; those that end meanwhile are left out.
pub fn all() -> Vec<Thread> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let thread = |task: std::fs::DirEntry| Thread::read(task.file_name().to_str()?.parse().ok()?, &task.path());
    let mut threads: Vec<_> = tasks.filter_map(thread).collect();
    threads.sort_by_key(|thread| thread.id);
    threads
}

impl Thread {
    fn read(id: u32, task: &Path) -> Option<Self> {
        let file = |name: &str| std::fs::read_to_string(task.join(name)).unwrap_or_default();
        Self::parse(id, &file("stat"), &file("status"), &file("wchan"), &file("stack"))
    }

    fn parse(id: u32, stat: &str, status: &str, wchan: &str, stack: &str) -> Option<Self> {
        let Stat { name, state, user_seconds, system_seconds, processor } = Stat::parse(stat)?;
        let line = |key: &str| Some(status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim());
        let count = |key: &str| line(key)?.parse().ok();
        // The address of each function is there, too, and it is 0 for almost everybody.
        let function = |line: &str| line.split_once("] ").map_or(line, |(_, function)| function).trim().to_owned();
        Some(Self {
            id,
            name: name.to_owned(),
            state,
            processor,
            allowed: line("Cpus_allowed_list").map(str::to_owned),
            user_seconds,
            system_seconds,
            voluntary_switches: count("voluntary_ctxt_switches"),
            involuntary_switches: count("nonvoluntary_ctxt_switches"),
            // 0 is told of a thread that runs, and to those who may not know.
            waits_in: Some(wchan.trim()).filter(|wchan| !matches!(*wchan, "" | "0")).map(str::to_owned),
            stack: stack.lines().map(function).filter(|line| !line.is_empty()).collect(),
        })
    }
}

/// What `stat` says of a thread, or of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stat<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: char,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) processor: Option<u32>,
}

impl<'a> Stat<'a> {
    /// proc_pid_stat(5): the name in parentheses may hold anything, so fields are counted from the last `)`.
    pub(crate) fn parse(stat: &'a str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        // The first is field 3.
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let seconds = |number| Some(field(number)?.parse::<u64>().ok()? as f64 / USER_HZ);
        Some(Self {
            name,
            state: field(3)?.chars().next()?,
            user_seconds: seconds(14)?,
            system_seconds: seconds(15)?,
            processor: field(39).and_then(|processor| processor.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a kernel, with another name.
    const STAT: &str = "42 (NAME) S 1 42 42 0 -1 4194368 100 0 0 0 250 50 0 0 20 0 9 0 12345 1000000 500 18446744073709551615 1 1 0 0 0 0 0 \
                        16781312 0 0 0 0 17 3 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_name_with_spaces_and_parentheses_shifts_nothing() {
        for name in ["front-0", "a b", "a) S 1 (b", "(", ")", ") R 9 9 9", "((()))", ""] {
            let text = STAT.replace("NAME", name);
            let stat = Stat::parse(&text).unwrap();
            let expected = Stat { name, state: 'S', user_seconds: 2.5, system_seconds: 0.5, processor: Some(3) };
            assert_eq!(stat, expected);
        }
    }

    #[test]
    fn what_is_cut_short_or_no_line_of_stat_is_nothing() {
        for text in
            ["", "42", "42 (a", "42 a) S", "42 (a)", "42 (a) ", "42 (a) S 1 1", "42 (a) S 1 1 1 0 -1 0 0 0 0 0 x y"]
        {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
        // A kernel that says less still says the time.
        let short = "42 (a) R 1 1 1 0 -1 4194560 100 0 0 0 250 50";
        assert_eq!(Stat::parse(short).unwrap().processor, None);
    }

    #[test]
    fn what_the_kernel_says_of_a_thread_is_read_line_by_line() {
        let status = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        let stack = "[<0>] ep_poll+0x35a/0x3a0\n[<0>] do_epoll_wait+0xd6/0x110\n";
        let thread = Thread::parse(42, &STAT.replace("NAME", "l4-0"), status, "ep_poll", stack).unwrap();
        assert_eq!((thread.id, thread.name.as_str(), thread.allowed.as_deref()), (42, "l4-0", Some("0-3,8")));
        assert_eq!((thread.voluntary_switches, thread.involuntary_switches), (Some(7), Some(2)));
        assert_eq!(thread.waits_in.as_deref(), Some("ep_poll"));
        assert_eq!(thread.stack, ["ep_poll+0x35a/0x3a0", "do_epoll_wait+0xd6/0x110"]);
        let hidden = Thread::parse(42, STAT, "", "0", "").unwrap();
        assert_eq!((hidden.waits_in, hidden.allowed, hidden.voluntary_switches), (None, None, None));
        assert!(hidden.stack.is_empty());
    }

    #[test]
    fn a_thread_finds_itself_running_among_all() {
        let named = std::thread::Builder::new().name("a (b) c".to_owned());
        let threads = named.spawn(all).unwrap().join().unwrap();
        let own = threads.iter().find(|thread| thread.name == "a (b) c").unwrap();
        assert!(own.state == 'R' && own.processor.is_some() && own.allowed.is_some(), "{own:?}");
        assert!(threads.len() > 1 && threads.is_sorted_by_key(|thread| thread.id), "{threads:?}");
    }
}

//! What a lab is made of on this machine: namespaces, cables, processes, and a folder. Who has built it holds a lock in the folder, which goes with that process, however it ends: a lab that
//! nobody holds is what was left of one.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use outwork_sdwan::lab::{Lab, Site};

/// How the names of all namespaces begin.
const MARK: &str = "outwork-lab-";
/// The router's namespace.
pub(super) const ROUTER: &str = "outwork-lab-router";
/// Configurations, data and logs.
pub(super) const FOLDER: &str = "/run/outwork-lab";
/// Where `ip` keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";
/// What is locked by who removes a lab or begins one: `stop` and the one that built it do so at the same time.
const RUN: &str = "/run";
/// What is locked by who has built the lab, for as long as that process lives.
const OWNER: &str = "/run/outwork-lab/owner";
/// How long servers may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// The namespace of a site.
pub(super) fn namespace(site: &str) -> String {
    format!("{MARK}{site}")
}

/// The router's end of the cable of an uplink.
pub(super) fn port(site: &str, uplink: &str) -> String {
    format!("{site}-{uplink}")
}

/// Namespaces of labs that stand, or of which something was left.
fn standing() -> Vec<String> {
    let entries = std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = names.filter(|name| name.starts_with(MARK)).collect();
    found.sort();
    found
}

/// A command that no ctrl-C of the terminal ends: what was begun is undone in its order.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).stdin(Stdio::null());
    command
}

/// A command that runs in a namespace, without the settings of who runs this.
pub(super) fn inside(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = command("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OUTWORK_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a program with words that spaces separate, and gives what it wrote.
pub(super) fn run(program: &str, words: &str) -> anyhow::Result<String> {
    let output = command(program).args(words.split_whitespace()).output();
    let output =
        output.with_context(|| format!("cannot run `{program}`\n  = help: a lab needs it: install iproute2"))?;
    if !output.status.success() {
        bail!("`{program} {words}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ip(words: &str) -> anyhow::Result<String> {
    run("ip", words)
}

/// Sets keys of the kernel in a namespace.
fn set(namespace: &str, keys: &[(&str, u8)]) -> anyhow::Result<()> {
    for (key, value) in keys {
        let script = format!("echo {value} > /proc/sys/net/ipv4/{key}");
        let done = inside(namespace, "sh").args(["-c", &script]).output().context("cannot run `ip`")?;
        if !done.status.success() {
            bail!("net.ipv4.{key} cannot be set in {namespace}: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
    }
    Ok(())
}

/// Makes the router and the namespaces of all sites, and joins them.
pub(super) fn build(lab: &Lab) -> anyhow::Result<()> {
    // An uplink hears of others by ways that it would not take to them itself.
    let loose = [("conf/all/rp_filter", 0), ("conf/default/rp_filter", 0)];
    ip(&format!("netns add {ROUTER}"))?;
    ip(&format!("-n {ROUTER} link set lo up"))?;
    set(ROUTER, &loose)?;
    set(ROUTER, &[("ip_forward", 1)])?;
    for site in &lab.sites {
        let own = namespace(&site.name);
        ip(&format!("netns add {own}"))?;
        ip(&format!("-n {own} link set lo up"))?;
        set(&own, &loose)?;
        join(site, &own)?;
    }
    Ok(())
}

/// Lays the cables of a site.
fn join(site: &Site, own: &str) -> anyhow::Result<()> {
    for (uplink, metric) in site.uplinks.iter().zip(1..) {
        let (name, port) = (&uplink.name, port(&site.name, &uplink.name));
        ip(&format!("link add {name} netns {own} type veth peer name {port} netns {ROUTER}"))?;
        ip(&format!("-n {own} addr add {}/31 dev {name}", uplink.address))?;
        ip(&format!("-n {ROUTER} addr add {}/31 dev {port}", uplink.router))?;
        ip(&format!("-n {own} link set {name} up"))?;
        ip(&format!("-n {ROUTER} link set {port} up"))?;
        ip(&format!("-n {own} route add 198.18.0.0/15 via {} dev {name} metric {metric}", uplink.router))?;
    }
    Ok(())
}

/// Has the router lose so many of a hundred packets from an uplink and to it.
pub(super) fn lose(port: &str, percent: u8) -> anyhow::Result<()> {
    let table = format!("inet lab_{}", port.replace('-', "_"));
    // What was there before goes, whether there was any or not.
    let mut script = format!("add table {table}\ndelete table {table}\n");
    if percent > 0 {
        // No number is of those that it may be compared with where all are meant.
        let some = if percent < 100 { format!("numgen random mod 100 < {percent} ") } else { String::new() };
        let rule = |way: &str| format!("{way} \"{port}\" {some}drop\n");
        let rules = rule("iifname") + &rule("oifname");
        script += &format!("table {table} {{\nchain forward {{\ntype filter hook forward priority 0;\n{rules}}}\n}}\n");
    }
    let mut nft = inside(ROUTER, "nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = nft.spawn().context("cannot run `ip`")?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(script.as_bytes()).context("`nft` takes no rules\n  = help: is it installed?")?;
    }
    let output = nft.wait_with_output()?;
    if !output.status.success() {
        bail!("`nft` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Processes in a namespace.
fn processes(namespace: &str) -> Vec<String> {
    let listed = ip(&format!("netns pids {namespace}")).unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Keeps others from removing or beginning a lab until it is dropped.
fn alone() -> anyhow::Result<File> {
    let lock = File::open(RUN).with_context(|| format!("cannot open {RUN}"))?;
    lock.lock().with_context(|| format!("cannot lock {RUN}"))?;
    Ok(lock)
}

/// Whether there is a lab, or something of one.
pub(super) fn is_there() -> bool {
    !standing().is_empty() || Path::new(FOLDER).exists()
}

/// Whether the process lives that has built the lab.
pub(super) fn is_held() -> anyhow::Result<bool> {
    let context = || format!("cannot look at {OWNER}");
    let owner = match File::open(OWNER) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened.with_context(context)?,
    };
    match owner.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).with_context(context),
    }
}

/// That the lab is this process's. It is given up with the process, if not before.
pub(super) struct Hold(File);

/// Begins a lab. With what was left of one whose owner lives no longer, which is removed; whether there was any.
pub(super) fn hold() -> anyhow::Result<(Hold, bool)> {
    let _alone = alone()?;
    ensure!(!is_held()?, "a lab stands already\n  = help: `outwork lab sdwan stop` ends it");
    let was_left = is_there();
    if was_left {
        remove().context("something is left of a lab, and cannot be removed")?;
    }
    DirBuilder::new().mode(0o700).create(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
    let context = || format!("cannot make {OWNER}");
    let owner = OpenOptions::new().write(true).create_new(true).open(OWNER).with_context(context)?;
    owner.try_lock().with_context(context)?;
    Ok((Hold(owner), was_left))
}

impl Hold {
    /// Removes the lab, unless somebody has removed it and begun another since.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        let _alone = alone()?;
        let own = self.0.metadata().with_context(|| format!("cannot look at {OWNER}"))?;
        let is_anothers = std::fs::metadata(OWNER).is_ok_and(|other| other.ino() != own.ino());
        if is_anothers { Ok(()) } else { remove() }
    }
}

/// Removes whatever lab there is.
pub(super) fn clear() -> anyhow::Result<()> {
    let _alone = alone()?;
    remove()
}

/// Ends every process in namespaces of labs, removes these and the folder. Tells of the first thing that cannot be removed, and removes the rest.
fn remove() -> anyhow::Result<()> {
    let namespaces = standing();
    let signal = |signal: &str| {
        for process in namespaces.iter().flat_map(|namespace| processes(namespace)) {
            // Who has ended meanwhile needs no signal.
            let _ = run("kill", &format!("-{signal} {process}"));
        }
    };
    signal("TERM");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && namespaces.iter().any(|namespace| !processes(namespace).is_empty()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    signal("KILL");
    let mut result: anyhow::Result<()> = Ok(());
    for namespace in &namespaces {
        result = result.and(ip(&format!("netns del {namespace}")).map(drop));
    }
    let folder = Path::new(FOLDER);
    if folder.exists() {
        result = result.and(std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {FOLDER}")));
    }
    result
}

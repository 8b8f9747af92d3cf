//! `outwork lab`: networks to practise on, in namespaces of this machine.
//!
//! - `machine`: namespaces, cables, processes, and how all of it goes away.

mod machine;

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use outwork_sdwan::lab::{Lab, PORT, Site};
use serde_json::{Value as Json, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Global;
use crate::cli::lab::{LabUplink, SdwanLab, SdwanLabArgs};
use crate::local::print_json;
use crate::table::{Table, cell};
use machine::{FOLDER, Hold, ROUTER, clear, hold, inside, is_held, is_there, lose, namespace, port, run};

/// Between looks at servers that are starting.
const LOOK: Duration = Duration::from_millis(100);
/// Looks before a server that does not answer is given up.
const LOOKS: u32 = 300;
/// The log of a site, in its folder.
const LOG: &str = "log";
/// Lines of a log that are shown of a server that has ended.
const LINES: usize = 10;

/// `outwork lab sdwan`.
pub(crate) fn sdwan(global: &Global, args: &SdwanLabArgs) -> anyhow::Result<()> {
    may_build(effective_user()?)?;
    let Some(command) = &args.command else { return stand(global, args.sites, args.uplinks) };
    if matches!(command, SdwanLab::Stop) {
        let there = is_there();
        clear()?;
        return done(global, if there { "the lab is gone" } else { "there was no lab" });
    }
    ensure!(is_there(), "there is no lab\n  = help: `outwork lab sdwan` in another terminal builds one");
    match command {
        SdwanLab::Status => status(global),
        SdwanLab::Pull(uplink) => {
            run("ip", &format!("-n {ROUTER} link set {} down", of(uplink)?))?;
            done(global, &format!("pulled {} {}", uplink.site, uplink.uplink))
        }
        SdwanLab::Plug(uplink) => {
            run("ip", &format!("-n {ROUTER} link set {} up", of(uplink)?))?;
            done(global, &format!("plugged {} {} in", uplink.site, uplink.uplink))
        }
        SdwanLab::Drop { uplink, percent } => {
            lose(&of(uplink)?, *percent)?;
            done(global, &format!("{} {} loses {percent} % of all packets", uplink.site, uplink.uplink))
        }
        SdwanLab::Delay { uplink, milliseconds } => {
            let port = of(uplink)?;
            let words = format!("-n {ROUTER} qdisc replace dev {port} root netem delay {milliseconds}ms");
            run("tc", &words).context(
                "packets cannot be delayed here: that needs `tc` and the kernel's netem\n  = help: load it (`modprobe sch_netem`), or try `drop` or `pull`, which need neither",
            )?;
            done(global, &format!("what comes to {} by {} is {milliseconds} ms late", uplink.site, uplink.uplink))
        }
        SdwanLab::Stop => Ok(()),
    }
}

/// Who runs this, as a number.
fn effective_user() -> anyhow::Result<u32> {
    // The kernel has a process's folder belong to its effective user.
    Ok(std::fs::metadata("/proc/self").context("cannot read /proc/self")?.uid())
}

fn may_build(user: u32) -> anyhow::Result<()> {
    ensure!(
        user == 0,
        "a lab is made of network namespaces, which only root may make, and this is user {user}\n  = help: run it with sudo"
    );
    Ok(())
}

/// Says what was done.
fn done(global: &Global, what: &str) -> anyhow::Result<()> {
    if global.json {
        return print_json(&json!({ "done": what }));
    }
    writeln!(anstream::stdout(), "{what}")?;
    Ok(())
}

/// The router's end of the cable of an uplink, if there is such a one.
fn of(uplink: &LabUplink) -> anyhow::Result<String> {
    let fits = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    let port = port(&uplink.site, &uplink.uplink);
    let known =
        fits(&uplink.site) && fits(&uplink.uplink) && run("ip", &format!("-n {ROUTER} link show {port}")).is_ok();
    if !known {
        bail!(
            "the lab has no uplink {} of {}\n  = help: `outwork lab sdwan status` lists them",
            uplink.uplink,
            uplink.site
        );
    }
    Ok(port)
}

/// The folder of a site.
fn folder(site: &str) -> PathBuf {
    Path::new(FOLDER).join(site)
}

/// What the server of a site answers to a command; none as long as it does not.
fn ask(site: &str, words: &[&str]) -> Option<Json> {
    let program = std::env::current_exe().ok()?;
    let mut command = inside(&namespace(site), program);
    let output = command.arg("--config").arg(folder(site).join("outwork.toml")).args(words).arg("--json").output();
    let output = output.ok().filter(|output| output.status.success())?;
    serde_json::from_slice(&output.stdout).ok()
}

/// What is said of a lab whose owner lives no longer.
const LEFT: &str = "this was left of a lab: who built it has ended without taking it down\n  = help: `outwork lab sdwan stop` removes it, and `outwork lab sdwan` removes it and builds another";

/// `outwork lab sdwan status`.
fn status(global: &Global) -> anyhow::Result<()> {
    let is_held = is_held()?;
    if !is_held && !global.json {
        writeln!(anstream::stderr(), "{LEFT}")?;
    }
    // Of what was left there may be no folder.
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut sites: Vec<_> = names.filter(|name| folder(name).is_dir()).collect();
    sites.sort_by_key(|name| (name.len(), name.clone()));
    let told: Vec<_> = sites.into_iter().map(|site| (ask(&site, &["paths"]), site)).collect();
    if global.json {
        let view = |(said, site): &(Option<Json>, String)| {
            let paths = said.as_ref().map(|said| said["paths"].clone());
            json!({ "name": site, "answers": said.is_some(), "paths": paths.unwrap_or_else(|| json!([])) })
        };
        return print_json(&json!({ "held": is_held, "sites": told.iter().map(view).collect::<Vec<_>>() }));
    }
    let mut table =
        Table::new(&["SITE", "UPLINK", "TO", "THEIRS", "STATE", ">LATENCY", ">JITTER", ">LOSS", ">SENT", ">RECEIVED"]);
    for (said, site) in &told {
        let Some(said) = said else {
            table.row([site.clone(), "its server does not answer".to_owned()]);
            continue;
        };
        for path in said["paths"].as_array().into_iter().flatten() {
            let own = |name: &str| cell(&path[name]);
            let millis = |name: &str| path[name].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
            let taken = if path["chosen"] == true { ", taken" } else { "" };
            let loss = path["loss"].as_f64().unwrap_or_default() * 100.0;
            table.row([
                site.clone(),
                own("uplink"),
                own("site"),
                own("remote_uplink"),
                own("state") + taken,
                millis("latency_ms"),
                millis("jitter_ms"),
                format!("{loss:.1} %"),
                own("sent"),
                own("received"),
            ]);
        }
    }
    table.write(&mut anstream::stdout(), "there are no sites")?;
    Ok(())
}

/// A lab that stands as long as this does.
struct Standing {
    hold: Hold,
    servers: Vec<(String, Child)>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Err(error) = self.hold.clear() {
            // Where nobody reads that, `stop` says it again.
            let _ = writeln!(anstream::stderr(), "something of the lab is left: {error:#}");
        }
        for (_, server) in &mut self.servers {
            // It has been ended: what is left is to take note of it.
            let _ = server.wait();
        }
    }
}

/// The signals that end it, and that of a server that has ended. From here on none of them ends this process by itself.
struct Signals {
    ends: [Signal; 3],
    child: Signal,
}

impl Signals {
    fn hook() -> std::io::Result<Signals> {
        let ends = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        Ok(Signals { ends, child: signal(SignalKind::child())? })
    }

    /// Waits for one that ends it.
    async fn ended(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.ends;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Waits until a server may have ended; true when it is to end instead.
    async fn one_or_ended(&mut self) -> bool {
        let Signals { ends: [interrupt, terminate, hangup], child } = self;
        tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            _ = hangup.recv() => true,
            _ = child.recv() => false,
        }
    }
}

/// `outwork lab sdwan`, alone.
fn stand(global: &Global, sites: u32, uplinks: u32) -> anyhow::Result<()> {
    let lab = Lab::new(sites, uplinks)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::hook().context("cannot hook the signals")?;
        let (hold, was_left) = hold()?;
        // Whatever happens from here on: nothing stays behind when it is dropped.
        let mut built = Standing { hold, servers: vec![] };
        if was_left {
            writeln!(
                anstream::stderr(),
                "removed what was left of a lab whose owner had ended without taking it down"
            )?;
        }
        machine::build(&lab)?;
        for site in &lab.sites {
            built.servers.push((site.name.clone(), start(&lab, site)?));
        }
        for (site, server) in &mut built.servers {
            tokio::select! {
                ready = is_ready(site, server) => ready?,
                () = signals.ended() => return Ok(()),
            }
        }
        introduce(global, &lab)?;
        // Where `stop` has ended all servers, there is nothing to wait for.
        let has_ended = |server: &mut Child| matches!(server.try_wait(), Ok(Some(_)));
        while !signals.one_or_ended().await && !built.servers.iter_mut().all(|(_, server)| has_ended(server)) {}
        anyhow::Ok(())
    })
}

/// Starts the server of a site.
fn start(lab: &Lab, site: &Site) -> anyhow::Result<Child> {
    let folder = folder(&site.name);
    let context = || format!("cannot write to {}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(context)?;
    let file = folder.join("outwork.toml");
    std::fs::write(&file, lab.configuration(site, &folder.join("data"))).with_context(context)?;
    let log = File::create(folder.join(LOG)).with_context(context)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = inside(&namespace(&site.name), program);
    command.arg("--config").arg(&file).arg("run").current_dir(&folder).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start the server of {}", site.name))
}

/// Waits until a server answers.
async fn is_ready(site: &str, server: &mut Child) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        if let Some(status) = server.try_wait()? {
            bail!("the server of {site} has ended, {status}:\n{}", end_of_log(site));
        }
        if ask(site, &["paths"]).is_some() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the server of {site} does not answer:\n{}", end_of_log(site))
}

fn end_of_log(site: &str) -> String {
    let text = std::fs::read_to_string(folder(site).join(LOG)).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}

/// Says what stands, and what can be tried.
fn introduce(global: &Global, lab: &Lab) -> anyhow::Result<()> {
    let [one, other, ..] = &lab.sites[..] else { return Ok(()) };
    if global.json {
        let view = |site: &Site| {
            let uplinks: Vec<_> = site.uplinks.iter().map(|uplink| uplink.name.clone()).collect();
            let address = site.address.to_string();
            json!({ "name": site.name, "namespace": namespace(&site.name), "address": address, "uplinks": uplinks })
        };
        return print_json(&json!({ "sites": lab.sites.iter().map(view).collect::<Vec<_>>() }));
    }
    let mut out = anstream::stdout();
    let uplinks = one.uplinks.len();
    writeln!(out, "{} sites with {uplinks} uplinks each. Configurations and logs are in {FOLDER}.\n", lab.sites.len())?;
    // What Debian has without anything else: a shell that opens connections.
    let talk = format!(
        "ip netns exec {} bash -c 'while sleep 0.2; do (: </dev/tcp/{}/{PORT}) && date +%T.%3N; done'",
        namespace(&one.name),
        other.address
    );
    let lab = |words: &str| format!("outwork lab sdwan {words}");
    for (command, why) in [
        (talk, "a connection from one to the other, again and again, and when it was there"),
        (lab("status"), "how paths are, and which of them is taken"),
        (lab("pull site1 wan1"), "pull a cable, and see what becomes of them"),
        (lab("plug site1 wan1"), "plug it in again"),
        (lab("drop site1 wan1 100"), "lose everything, though the cable is in"),
        (lab("drop site1 wan1 0"), "lose nothing any more"),
        (lab("delay site1 wan1 80"), "be late"),
    ] {
        writeln!(out, "  {command:<52}  {why}")?;
    }
    writeln!(out, "\nIt ends with ctrl-C, and leaves nothing behind.")?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_root_is_told_what_for_and_what_to_do() {
        let said = may_build(1000).unwrap_err().to_string();
        assert!(said.contains("only root") && said.contains("user 1000") && said.contains("sudo"), "{said}");
        assert!(may_build(0).is_ok());
    }
}

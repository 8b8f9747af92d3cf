//! `outwork lab sdwan`: it is built, broken, mended, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use outwork_net::testing::Namespace;
use serde_json::Value as Json;

use super::site::{binary, send, without_settings};
use super::wait_for;

/// `outwork lab sdwan` with these words.
fn lab(words: &[&str]) -> Command {
    let mut command = without_settings(Command::new(binary()));
    command.args(["lab", "sdwan"]).args(words).stdin(Stdio::null());
    command
}

fn must(words: &[&str]) -> Output {
    let output = lab(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    output
}

/// A lab that stands, and goes with this; what it says can be tried.
struct Standing(Child, Vec<String>);

impl Standing {
    /// Builds one and waits until it says what can be tried.
    fn build(words: &[&str]) -> Standing {
        Standing::of(lab(words))
    }

    fn of(mut command: Command) -> Standing {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut standing = Standing(child, vec![]);
        for line in said.lines().map_while(Result::ok) {
            if line.contains("ctrl-C") {
                return standing;
            }
            standing.1.push(line);
        }
        panic!("the lab was not built: {:?}", standing.1);
    }

    /// Runs what it says has one site talk to the other, until that has.
    fn talks(&self) {
        let line = self.1.iter().find(|line| line.contains("/dev/tcp/")).unwrap();
        let command = line.trim().split("  ").next().unwrap();
        // What it starts is ended with it.
        let mut command =
            Command::new("timeout").args(["60", "sh", "-c", command]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(command.stdout.take().unwrap()).read_line(&mut said).unwrap();
        send(15, command.id());
        command.wait().unwrap();
        assert_eq!(said.trim().len(), "12:34:56.789".len(), "{said:?}");
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        // What a test that failed left.
        let _ = lab(&["stop"]).output();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status() -> Json {
    serde_json::from_slice(&must(&["status", "--json"]).stdout).unwrap()
}

/// The paths of a site, by its number from 0.
fn paths(site: usize) -> Vec<Json> {
    status()["sites"][site]["paths"].as_array().unwrap().clone()
}

/// The uplink of a site that new flows take.
fn taken(site: usize) -> Option<String> {
    let taken = paths(site).into_iter().find(|path| path["chosen"] == true)?;
    taken["uplink"].as_str().map(str::to_owned)
}

fn wait_until_all_are_up() {
    wait_for(
        "all paths to be up",
        || format!("{:#}", status()),
        || {
            let all: Vec<_> = (0..2).flat_map(paths).collect();
            (all.len() == 8 && all.iter().all(|path| path["state"] == "up")).then_some(())
        },
    );
}

/// Octets go from the first site to the second.
fn speaks() {
    let [here, there] = ["outwork-lab-site1", "outwork-lab-site2"].map(Namespace::named);
    let server = there.run(|| UdpSocket::bind("10.102.0.1:0")).unwrap();
    let client = here.run(|| UdpSocket::bind("10.101.0.1:0")).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let to = server.local_addr().unwrap();
    wait_for(
        "a datagram through the tunnel",
        || format!("{:#}", status()),
        || {
            // As long as there is no way, it may be refused.
            let _ = client.send_to(b"x", to);
            server.recv_from(&mut [0; 9]).ok()
        },
    );
}

fn left() -> Vec<String> {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("outwork-lab-")).collect()
}

/// One test: there is one lab on a machine.
#[test]
fn a_lab_is_built_broken_and_mended_and_ends_without_a_trace() {
    let none = lab(&["status"]).output().unwrap();
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("there is no lab"), "{none:?}");
    let mut standing = Standing::build(&["--sites", "2", "--uplinks", "2"]);
    let second = lab(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("stands already"), "{second:?}");
    wait_until_all_are_up();
    speaks();
    standing.talks();

    let first = taken(0).unwrap();
    must(&["pull", "site1", &first]);
    wait_for(
        "traffic to be on the other uplink",
        || format!("{:#}", status()),
        || {
            let down = |path: &Json| path["uplink"] != first.as_str() || path["state"] == "down";
            (taken(0).is_some_and(|taken| taken != first) && paths(0).iter().all(down)).then_some(())
        },
    );
    speaks();
    must(&["plug", "site1", &first]);
    wait_until_all_are_up();

    let second = taken(1).unwrap();
    must(&["drop", "site2", &second, "100"]);
    wait_for(
        "an uplink that loses everything to be left",
        || format!("{:#}", status()),
        || taken(1).is_some_and(|taken| taken != second).then_some(()),
    );
    must(&["drop", "site2", &second, "0"]);
    wait_until_all_are_up();

    // Not every kernel has what delays packets: it is said what is missing, and what goes without.
    let delayed = lab(&["delay", "site1", "wan1", "80"]).output().unwrap();
    let said = String::from_utf8_lossy(&delayed.stderr);
    assert!(delayed.status.success() || said.contains("netem") && said.contains("modprobe sch_netem"), "{delayed:?}");
    if delayed.status.success() {
        must(&["delay", "site1", "wan1", "0"]);
    }

    let unknown = lab(&["pull", "site3", "wan1"]).output().unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && said.contains("no uplink wan1 of site3"), "{unknown:?}");
    let shown = String::from_utf8(must(&["status"]).stdout).unwrap();
    assert!(shown.contains("site1") && shown.contains(", taken"), "{shown}");

    send(2, standing.0.id());
    let ended = wait_for("the lab to end", String::new, || standing.0.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    assert!(left().is_empty() && !Path::new("/run/outwork-lab").exists(), "{:?}", left());

    // Who is killed takes nothing down: servers and namespaces stay, and the next one removes them.
    let mut killed = Standing::build(&["--sites", "2", "--uplinks", "1"]);
    assert!(status()["held"] == true);
    send(9, killed.0.id());
    wait_for("the owner to end", String::new, || killed.0.try_wait().unwrap());
    assert!(left().len() == 3 && status()["held"] == false, "{:?}", left());
    let shown = must(&["status"]);
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(said.contains("was left of a lab") && said.contains("`outwork lab sdwan stop` removes it"), "{shown:?}");

    let told = tempfile::NamedTempFile::new().unwrap();
    let mut command = lab(&["--sites", "3", "--uplinks", "1"]);
    command.stderr(told.reopen().unwrap());
    let mut standing = Standing::of(command);
    let told = std::fs::read_to_string(told.path()).unwrap();
    assert!(told.contains("removed what was left of a lab"), "{told}");
    assert!(left().len() == 4 && status()["held"] == true, "{:?}", left());
    must(&["stop"]);
    wait_for("the lab to end by itself", String::new, || standing.0.try_wait().unwrap());
    assert!(left().is_empty() && !Path::new("/run/outwork-lab").exists(), "{:?}", left());
}

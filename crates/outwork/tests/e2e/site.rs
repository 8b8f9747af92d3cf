//! A site: a namespace with the server in it, and cables that lead there.

use std::fs::{File, read_to_string};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use outwork_net::testing::{Lab, Namespace};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::wait_for;

/// The server's address on its first link, `lan`.
pub(crate) const SERVER: &str = "10.1.0.1";

/// What most tests serve: clients on the link `lan`.
pub(crate) const LAN: &str = r#"
[dhcp]
interfaces = ["lan"]
listen = ["10.1.0.1:67"]

[[dhcp.subnet]]
id = 1
prefix = "10.1.0.0/24"
lease_time = "4s"
pools = [{ range = "10.1.0.10-10.1.0.200" }]
options = { routers = ["10.1.0.1"], domain-name-servers = ["10.1.0.53"] }
"#;

/// A site. Everything in it ends with it.
pub(crate) struct Site {
    // Dropped first: ends the processes that write to the directory.
    process: Option<Child>,
    pub(crate) lab: Lab,
    pub(crate) server: Namespace,
    dir: TempDir,
    starts: u32,
    /// A BPF file system that the server finds in the usual place.
    file_system: Option<PathBuf>,
}

impl Site {
    /// A site whose server has the link `lan` (no cable in it yet) and serves what `settings` say, once it is started.
    pub(crate) fn new(settings: &str) -> Site {
        let lab = Lab::new();
        let server = lab.namespace("server");
        server.ip("link add lan type bridge forward_delay 0");
        server.ip(&format!("addr add {SERVER}/24 dev lan"));
        server.ip("link set lan up");
        let site = Site { process: None, lab, server, dir: TempDir::new().unwrap(), starts: 0, file_system: None };
        site.configure(settings);
        site
    }

    /// A site with its server running.
    pub(crate) fn running(settings: &str) -> Site {
        let mut site = Site::new(settings);
        site.start();
        site
    }

    /// Writes the configuration file.
    pub(crate) fn configure(&self, settings: &str) {
        let text = format!("[store]\ndata_dir = {:?}\nsegment_bytes = \"256KiB\"\n{settings}", self.data());
        std::fs::write(self.config(), text).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("outwork.toml")
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A namespace with a cable from its `eth0` to the server's link `lan`.
    pub(crate) fn plug(&self, name: &str) -> Namespace {
        let namespace = self.lab.namespace(name);
        self.lab.veth((&self.server, &format!("to-{name}")), (&namespace, "eth0"));
        self.server.ip(&format!("link set to-{name} master lan"));
        namespace
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let mut process = self.spawn();
        wait_for(
            "the server to be ready",
            || self.log(),
            || {
                if let Some(status) = process.try_wait().unwrap() {
                    panic!("the server ended, {status}:\n{}", self.log());
                }
                self.ready().then_some(())
            },
        );
        self.process = Some(process);
    }

    /// Starts the server, which is expected to refuse, and gives what it said.
    pub(crate) fn start_in_vain(&mut self) -> String {
        let mut process = self.spawn();
        let status = wait_for("the server to give up", || self.log(), || process.try_wait().unwrap());
        assert_eq!(status.code(), Some(1), "{}", self.log());
        self.log()
    }

    fn spawn(&mut self) -> Child {
        self.starts += 1;
        let log = File::create(self.log_file()).unwrap();
        let mut command = match &self.file_system {
            None => self.command(),
            // A namespace has a /sys of its own.
            Some(path) => {
                let mut command = without_settings(self.server.command("sh"));
                command.args(["-c", "mount --bind \"$0\" /sys/fs/bpf && exec \"$@\""]).arg(path);
                self.configured(command.arg(binary()));
                command
            }
        };
        command.arg("run").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    /// Ends the server with a signal, by its number, and gives how it ended.
    pub(crate) fn stop(&mut self, signal: i32) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        send(signal, process.id());
        wait_for("the server to end", || self.log(), || process.try_wait().unwrap())
    }

    /// Ends the server without a warning.
    pub(crate) fn kill(&mut self) {
        assert_eq!(self.stop(9).signal(), Some(9), "the server ended before it was killed:\n{}", self.log());
    }

    /// Ends the server as an init system does.
    pub(crate) fn terminate(&mut self) {
        assert_eq!(self.stop(15).code(), Some(0), "{}", self.log());
    }

    /// Has the server reload by a signal.
    pub(crate) fn hang_up(&self) {
        send(1, self.pid());
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Whether it says that it is ready.
    pub(crate) fn ready(&self) -> bool {
        self.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// What its admin API answers without a token, head and body; `None` while there is no answer.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        get(&self.server, path)
    }

    /// What the server of this start has said.
    pub(crate) fn log(&self) -> String {
        read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join(format!("server-{}.log", self.starts))
    }

    /// The token that the first start printed.
    pub(crate) fn token(&self) -> String {
        let text = read_to_string(self.dir.path().join("server-1.log")).unwrap();
        let mut lines = text.lines().skip_while(|line| !line.starts_with("Admin token"));
        lines.find(|line| line.starts_with("  ")).unwrap_or_else(|| panic!("no token:\n{text}")).trim().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = without_settings(self.server.command(&binary()));
        self.configured(&mut command);
        command
    }

    fn configured(&self, command: &mut Command) {
        command.arg("--config").arg(self.config()).current_dir(self.dir.path());
    }

    /// Gives the server a BPF file system in the usual place, from its next start on.
    pub(crate) fn mount(&mut self, file_system: &Path) {
        self.file_system = Some(file_system.to_owned());
    }

    /// Runs `outwork` beside the server, without a token.
    pub(crate) fn outwork(&self, words: &[&str]) -> Output {
        self.command().args(words).output().unwrap()
    }

    /// Runs `outwork` with the admin's token; it must succeed.
    pub(crate) fn admin(&self, words: &[&str]) -> String {
        let output = self.outwork(&[words, &["--token", &self.token()]].concat());
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "outwork {}\n{stdout}{stderr}\n{}", words.join(" "), self.log());
        stdout
    }

    /// The admin's `outwork --json`.
    pub(crate) fn json(&self, words: &[&str]) -> Json {
        serde_json::from_str(&self.admin(&[words, &["--json"]].concat())).unwrap()
    }

    /// The lease of an address, as the API shows it.
    pub(crate) fn lease(&self, address: &str) -> Option<Json> {
        let found = self.json(&["leases", "list", "--all", "--q", address]);
        found["items"].as_array().unwrap().iter().find(|lease| lease["address"] == address).cloned()
    }

    /// The state of an address's lease: `active`, `released` and so on; `none` where there is none.
    pub(crate) fn lease_state(&self, address: &str) -> String {
        self.lease(address).map_or("none".to_owned(), |lease| lease["state"].as_str().unwrap().to_owned())
    }

    /// A path in the site's own directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What the admin API in a namespace answers without a token, head and body; `None` while there is no answer.
pub(crate) fn get(namespace: &Namespace, path: &str) -> Option<String> {
    namespace.run(|| {
        let mut stream = TcpStream::connect("127.0.0.1:8067").ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// The binary under test: the one that was built with the tests, or the one that `OUTWORK_BINARY` names.
pub(crate) fn binary() -> String {
    std::env::var("OUTWORK_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_outwork").to_owned())
}

/// A command without the settings of who runs the tests.
pub(crate) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OUTWORK_")) {
        command.env_remove(name);
    }
    command
}

/// Sends a signal, by its number, to a process.
pub(crate) fn send(signal: i32, pid: u32) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(status.success(), "process {pid} is gone");
}

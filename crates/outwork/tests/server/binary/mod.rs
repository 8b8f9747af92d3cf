//! The real binary: single commands, and a server on loopback addresses that no other test uses.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub)]

mod clients;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

pub use clients::{Client, curl, field, get, said, until, until_some};
use serde_json::Value as Json;

/// A run in this directory, without what the caller's environment sets.
pub fn outwork(dir: &Path, line: &[&str]) -> Output {
    command(dir, line).output().expect("the binary runs")
}

/// The command of [`outwork`].
pub fn command(dir: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outwork"));
    std::env::vars().filter(|(name, _)| name.starts_with("OUTWORK")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.current_dir(dir).args(line).stdin(Stdio::null());
    command
}

/// Puts a program in its place, to be run. Another process writes it: a file that was open here for writing would be open in every process that
/// another test starts meanwhile, until that runs a program of its own, and what is open for writing cannot be run (ETXTBSY).
pub fn install(from: &Path, to: &Path) {
    let installed = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(installed.expect("coreutils").success(), "{}", to.display());
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// A directory with a configuration in it, and perhaps a server that runs there. It ends with this.
pub struct Place {
    process: Option<(Child, BufReader<ChildStdout>)>,
    /// A process that has taken the place of that.
    successor: Option<u32>,
    /// What is run, if not the program as it was built.
    program: Option<PathBuf>,
    host: String,
    dir: tempfile::TempDir,
}

impl Place {
    /// One whose server is not running yet. It listens on an address of its own: all of 127/8 is loopback.
    pub fn new() -> Self {
        static PLACES: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let host = format!("127.{high}.{low}.{}", PLACES.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("a directory");
        let settings = format!(
            "[admin]\nlisten = ['{host}:8067']\n[dhcp]\nlisten = ['{host}:6767']\n[[dhcp.subnet]]\nid = 1\n\
             prefix = '192.0.2.0/24'\nrelay = ['127.0.0.1']\npools = [{{ range = '192.0.2.10-192.0.2.249' }}]\n"
        );
        std::fs::write(dir.path().join("outwork.toml"), settings).expect("a file");
        Self { process: None, successor: None, program: None, host, dir }
    }

    /// One with these lines behind its configuration, where `HOST` stands for its address.
    pub fn with(lines: &str) -> Self {
        let place = Self::new();
        let lines = lines.replace("HOST", place.host());
        place.change(|before| before + &lines);
        place
    }

    /// One whose server is running.
    pub fn running() -> Self {
        let mut place = Self::new();
        place.start();
        place
    }

    /// The address that it listens on.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Changes the configuration.
    pub fn change(&self, change: impl FnOnce(String) -> String) {
        let file = self.path().join("outwork.toml");
        let before = std::fs::read_to_string(&file).expect("the file");
        std::fs::write(file, change(before)).expect("the file");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The server's process number.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a server").0.id()
    }

    /// curl, run here, which finds every name at this address.
    pub fn curl(&self) -> Command {
        let mut curl = curl();
        curl.current_dir(self.path()).args(["--connect-to", &format!("::{}:", self.host)]);
        curl
    }

    /// Runs a command here.
    pub fn outwork(&self, line: &[&str]) -> Output {
        outwork(self.path(), line)
    }

    /// Runs one that must succeed, and gives what it wrote.
    pub fn must(&self, line: &[&str]) -> String {
        let output = self.outwork(line);
        assert!(output.status.success(), "outwork {}: {output:?}", line.join(" "));
        text(&output.stdout)
    }

    /// Starts the server and waits until it has said where to look: from then on it answers.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same, with more in its environment.
    pub fn start_with(&mut self, environment: &[(&str, PathBuf)]) {
        let log = std::fs::File::create(self.path().join("log")).expect("a file");
        let mut run = match &self.program {
            None => command(self.path(), &["run"]),
            Some(program) => {
                let mut run = Command::new(program);
                run.current_dir(self.path()).arg("run").stdin(Stdio::null());
                run
            }
        };
        let run = run.envs(environment.iter().cloned()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut process = run.expect("the binary runs");
        let mut said = BufReader::new(process.stdout.take().expect("its output"));
        let mut line = String::new();
        while !line.starts_with("  data ") {
            line.clear();
            if said.read_line(&mut line).expect("its output") == 0 {
                let log = std::fs::read_to_string(self.path().join("log"));
                panic!("the server ended: {:?}, {log:?}", process.wait());
            }
        }
        self.process = Some((process, said));
    }

    /// Has the server run from a program of its own, which can be replaced. Returns where it lies.
    pub fn own_program(&mut self) -> PathBuf {
        let program = self.path().join("outwork");
        install(Path::new(env!("CARGO_BIN_EXE_outwork")), &program);
        self.program = Some(program.clone());
        program
    }

    /// Another process has taken this one's place, and ends with it. Returns the one before, which ends by itself.
    pub fn succeed(&mut self, process: &Json) -> Predecessor {
        self.successor = process.as_u64().and_then(|process| u32::try_from(process).ok());
        assert!(self.successor.is_some(), "{process}");
        Predecessor(self.process.take())
    }

    /// Has the server reload.
    pub fn hang_up(&self) {
        let kill = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// Ends the server with a signal, by its number.
    pub fn stop(&mut self, signal: i32) -> ExitStatus {
        let (mut process, _said) = self.process.take().expect("a server");
        let kill = Command::new("kill").args([format!("-{signal}"), process.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        process.wait().expect("it ends")
    }
}

/// A process whose place was taken.
pub struct Predecessor(Option<(Child, BufReader<ChildStdout>)>);

impl Predecessor {
    pub fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let (process, _) = self.0.as_mut().expect("a process of ours");
        process.wait()
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if let Some((mut process, _)) = self.0.take() {
            // Nothing to do about one that has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(process) = self.successor {
            // It may have ended by itself, too.
            let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
        }
        if let Some((mut process, _said)) = self.process.take() {
            // Nothing to do about one that has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

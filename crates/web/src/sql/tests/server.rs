//! A PostgreSQL server of a test's own, on a socket in a directory of its own. It ends with this.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub, dead_code, reason = "each user takes its part of it")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The server.
pub struct Server {
    process: Option<Child>,
    options: Vec<String>,
    dir: tempfile::TempDir,
}

/// Where the programs are: Debian has them beside the path, by version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
    found.unwrap_or_else(|| name.into())
}

/// PostgreSQL does not run as root: then, the command is the user's that the package makes.
fn command(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = ids() {
        command.uid(user).gid(group);
    }
    command
}

fn id(flag: &str, user: &[&str]) -> u32 {
    let output = Command::new("id").arg(flag).args(user).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the package postgresql is installed")
}

fn ids() -> Option<(u32, u32)> {
    (id("-u", &[]) == 0).then(|| (id("-u", &["postgres"]), id("-g", &["postgres"])))
}

impl Server {
    /// One that runs, with these settings.
    pub fn new(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
        if let Some((user, group)) = ids() {
            std::os::unix::fs::chown(dir.path(), Some(user), Some(group)).expect("its owner");
        }
        let mut made = command("initdb", dir.path());
        made.args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-N"]);
        assert!(made.status().expect("the package postgresql is installed").success(), "initdb");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { process: None, options, dir };
        server.start();
        server
    }

    /// Its directory, where its socket is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its address for a user and a database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@/postgres?host={}", self.dir.path().display())
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) {
        let mut command = command("postgres", self.dir.path());
        command.args(["-D", "data", "-k"]).arg(self.dir.path());
        command.args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40"]);
        if !self.options.iter().any(|option| option.starts_with("listen_addresses")) {
            command.args(["-c", "listen_addresses="]);
        }
        for option in &self.options {
            command.args(["-c", option]);
        }
        self.process = Some(command.spawn().expect("the server starts"));
        while self.psql("select 1").as_deref() != Some("1") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Starts it with other settings.
    pub fn start_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.start();
    }

    /// Ends it, and every connection with it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let killed = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
            assert!(killed.is_ok_and(|killed| killed.success()), "the server is told to end");
            process.wait().expect("it ends");
        }
    }

    /// The port, which is part of the socket's name, too.
    fn port(&self) -> &str {
        self.options.iter().find_map(|option| option.strip_prefix("port=")).unwrap_or("5432")
    }

    /// What a statement gives, or nothing where it fails.
    pub fn psql(&self, sql: &str) -> Option<String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", sql]);
        psql.arg("-h").arg(self.dir.path()).args(["-p", self.port()]).stderr(Stdio::null());
        let output = psql.output().expect("psql runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs statements that must succeed.
    pub fn must(&self, sql: &str) -> String {
        self.psql(sql).unwrap_or_else(|| panic!("{sql}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Nothing to do about one that has ended by itself.
            let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }
}

//! A Redis of a test's own, in a directory of its own. It ends with this.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, reason = "each user takes its part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// The server.
pub struct Redis {
    pub port: u16,
    pub dir: TempDir,
    extra: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts one on a free port, with more settings.
    pub fn start(extra: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let extra = extra.iter().map(|word| (*word).to_owned()).collect();
        let mut redis = Self { port, dir: tempfile::tempdir().unwrap(), extra, process: None };
        redis.restart();
        redis
    }

    /// Starts it again where it was. It reads what it has saved.
    pub fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.current_dir(self.dir.path()).args(["--bind", "127.0.0.1", "--save", "", "--dir", "."]);
        if !self.extra.iter().any(|word| word == "--port") {
            command.args(["--port", &self.port.to_string()]);
        }
        self.process = Some(command.args(&self.extra).stdout(Stdio::null()).spawn().unwrap());
        for _ in 0..1000 {
            if self.answers().is_ok_and(|answers| answers) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not answer");
    }

    /// Whether it does. That its port is open tells less: its socket and its other ports come after that. With TLS there, the answer is the end.
    fn answers(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 4];
        match stream.read_exact(&mut answer) {
            // Where nobody listens yet, a connection may have found itself.
            Ok(()) => Ok(answer != *b"PING"),
            Err(error) => Ok(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)),
        }
    }

    /// Settings for the next start.
    pub fn set(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// What `redis-cli` says to a command.
    pub fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

//! Who asks a server, and waits for what it does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use outwork_net::testing;

use super::text;

/// curl, which tells what goes wrong, and ends.
pub fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--path-as-is", "--max-time", "60"]);
    curl
}

/// What curl gets: the head and the body.
pub fn get(url: &str, options: &[&str]) -> String {
    said(curl().arg("-i").args(options).arg(url))
}

/// What a command writes, which must succeed.
pub fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// A field of the head of an answer.
pub fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}

/// One connection, asked again and again.
pub struct Client(TcpStream);

impl Client {
    pub fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Self(stream)
    }

    /// The answer to a request of a host, whose length has to be known.
    pub fn ask(&mut self, line: &str, host: &str) -> String {
        self.ask_with(line, &format!("Host: {host}\r\n"))
    }

    /// The same, with these fields.
    pub fn ask_with(&mut self, line: &str, fields: &str) -> String {
        self.0.write_all(format!("{line} HTTP/1.1\r\n{fields}\r\n").as_bytes()).expect("it is heard");
        let mut answer = Vec::new();
        loop {
            let mut some = [0; 4096];
            let read = self.0.read(&mut some).expect("an answer");
            answer.extend_from_slice(&some[..read]);
            let so_far = text(&answer);
            let whole = so_far.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                body.len() >= field(head, "content-length").map_or(0, |length| length.parse().expect("a number"))
            });
            if whole || read == 0 {
                return so_far;
            }
        }
    }
}

/// Waits until something is so, which nobody tells.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    until_some(what, || so().then_some(()));
}

/// Waits until there is something.
pub fn until_some<T>(what: &str, some: impl FnMut() -> Option<T>) -> T {
    testing::wait_for((Duration::from_secs(60), Duration::from_millis(10)), what, String::new, some)
}

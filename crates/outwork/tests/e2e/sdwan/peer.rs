//! Other implementations of WireGuard, as somebody else's machine has them.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use outwork_net::testing::Namespace;

use super::super::wait_for;
use super::{INNER, INNER_V6};

/// A key and what others know of it, in base64.
pub(super) struct Keys {
    pub(super) private: String,
    pub(super) public: String,
}

/// What a program says to what it is given.
fn say(program: &str, words: &[&str], given: &str) -> String {
    let mut child = Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {words:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Keys {
    pub(super) fn new() -> Keys {
        let private = say("wg", &["genkey"], "");
        let public = say("wg", &["pubkey"], &private);
        Keys { private, public }
    }
}

/// A program that speaks WireGuard and is settled by `wg`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    name: &'static str,
    words: &'static [&'static str],
    /// What it is called on crates.io, if it comes from there.
    of_crates_io: Option<&'static str>,
}

pub(super) const WIREGUARD_GO: Program = Program { name: "wireguard-go", words: &["-f"], of_crates_io: None };
pub(super) const BORINGTUN: Program = Program {
    name: "boringtun-cli",
    words: &["--foreground", "--disable-drop-privileges"],
    of_crates_io: Some("boringtun-cli"),
};
pub(super) const GOTATUN: Program = Program {
    name: "gotatun",
    words: &["--foreground", "--disable-drop-privileges"],
    of_crates_io: Some("gotatun-cli"),
};

/// Has tests fail where programs are missing that take minutes to build, and those run that take minutes themselves.
const ALL: &str = "OUTWORK_PEERS";

/// Says what is not tested: past what catches the output of tests that pass.
fn is_not_tested(what: &str) {
    std::io::stderr().write_all(format!("NOT TESTED: {what}\n").as_bytes()).unwrap();
}

impl Program {
    /// Whether it is there, and what takes minutes was asked for.
    pub(super) fn has_time(&self) -> bool {
        let has_time = std::env::var_os(ALL).is_some();
        if !has_time {
            is_not_tested(&format!(
                "keys that take over while {} is spoken to, which takes minutes; `make interop` does",
                self.name
            ));
        }
        has_time && self.is_there()
    }

    /// Whether it is there. Those of crates.io are built where somebody asks for them, and where they are not it is said: past what catches the output of tests that pass.
    pub(super) fn is_there(&self) -> bool {
        let Some(package) = self.of_crates_io else { return true };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|dir| dir.join(self.name).is_file());
        if !found {
            let missing =
                format!("a tunnel to {package}, which is not installed; `make interop` installs and tests it");
            assert!(std::env::var_os(ALL).is_none(), "{missing}");
            is_not_tested(&missing);
        }
        found
    }
}

/// One of them, running.
pub(super) struct Other {
    child: Child,
    /// Its interface. Its socket goes by that name for all namespaces, so no two have the same.
    pub(super) device: String,
}

impl Other {
    /// Starts it with the second of the addresses within the tunnel, joined to who has `theirs`. Without an endpoint it waits for these.
    pub(super) fn start(
        program: Program,
        room: &Namespace,
        own: &Keys,
        theirs: &Keys,
        psk: &str,
        endpoint: &str,
    ) -> Other {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let device = format!("wg{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let child = room
            .command(program.name)
            .args(program.words)
            .arg(&device)
            .env("WG_PROCESS_FOREGROUND", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let other = Other { child, device };
        let device = &other.device;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wg.conf");
        let psk = if psk.is_empty() { String::new() } else { format!("PresharedKey = {psk}\n") };
        let begins = match endpoint {
            "" => String::new(),
            endpoint => format!("Endpoint = {endpoint}\nPersistentKeepalive = 1\n"),
        };
        let text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51820\n[Peer]\nPublicKey = {}\n{psk}{begins}AllowedIPs = 10.99.0.0/24, fd99::/64\n",
            own.private, theirs.public
        );
        std::fs::write(&file, text).unwrap();
        wait_for(&format!("{} to take its configuration", program.name), String::new, || {
            let status = room.command("wg").args(["setconf", device]).arg(&file).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success()).then_some(())
        });
        room.ip(&format!("addr add {}/24 dev {device}", INNER[1]));
        room.ip(&format!("addr add {}/64 dev {device} nodad", INNER_V6[1]));
        room.ip(&format!("link set {device} up mtu 1420"));
        other
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Nothing to do about one that has ended by itself, and has taken its socket with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.device));
    }
}

//! wireguard-go, as somebody else's machine has it.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

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

/// It, running.
pub(super) struct Other {
    process: Child,
    /// Its interface. All have a socket of that name in one folder, whatever their namespace.
    pub(super) name: String,
}

/// Counts them.
static STARTED: AtomicU32 = AtomicU32::new(0);

impl Other {
    /// Starts it with the second of the addresses within the tunnel, joined to who has `theirs`.
    pub(super) fn start(room: &Namespace, own: &Keys, theirs: &Keys, psk: &str, endpoint: &str) -> Other {
        let name = format!("wg{}-{}", std::process::id() % 1_000_000, STARTED.fetch_add(1, Relaxed));
        let mut command = room.command("wireguard-go");
        let process = command.args(["-f", &name]).env("WG_PROCESS_FOREGROUND", "1").spawn().unwrap();
        let other = Other { process, name };
        let name = &other.name;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conf");
        let psk = if psk.is_empty() { String::new() } else { format!("PresharedKey = {psk}\n") };
        let text = format!(
            "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\n{psk}Endpoint = {endpoint}\nAllowedIPs = 10.99.0.0/24, fd99::/64\nPersistentKeepalive = 1\n",
            own.private, theirs.public
        );
        std::fs::write(&file, text).unwrap();
        wait_for("wireguard-go to take its configuration", String::new, || {
            let status = room.command("wg").args(["setconf", name]).arg(&file).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success()).then_some(())
        });
        room.ip(&format!("addr add {}/24 dev {name}", INNER[1]));
        room.ip(&format!("addr add {}/64 dev {name} nodad", INNER_V6[1]));
        room.ip(&format!("link set {name} up mtu 1420"));
        other
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Nothing to do about one that has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

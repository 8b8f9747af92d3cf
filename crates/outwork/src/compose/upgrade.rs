//! Another program in the place of this one, without a connection refused.
//!
//! The program, as it lies on disk now, is started beside this process with the same arguments, and gets copies of the listening sockets. It reads the
//! configuration, binds what else it needs, and says that it is ready; until then nothing has changed, and whatever fails refuses the upgrade.
//! Then this process lets go of all that only one can have, the data directory first, while the front door goes on serving; the other
//! opens it, serves, and says so. From then on the door here accepts nobody, and ends with its last connection.
//!
//! Should the other fail after it had been ready, the program of this process is started in its place.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use outwork_front::door::{Handed, HandedQuic};
use outwork_net::handover::{Line, Message};
use outwork_net::privileges;
use outwork_proxy::config::Protocol;
use outwork_proxy::l4::{self, Layer4};
use outwork_sdwan::PublicKey;
use outwork_sdwan::service::Handed as Tunnels;
use parking_lot::Mutex;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::front::Front;

/// Set where standard input is the line to a process whose place is taken.
pub(crate) const VARIABLE: &str = "OUTWORK_SUCCEEDS";
/// How long the other may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long either may take to let go of the data directory, or to read it. A million leases take a second.
const SERVING: Duration = Duration::from_secs(600);

/// What is said over the line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// To the successor: the sockets of a listener.
    Listener { of: Of, address: std::net::SocketAddr, tcp: usize, quic: Option<QuicWord> },
    /// To the successor: the sockets of a listener of layer 4.
    Layer4 { is_udp: bool, address: std::net::SocketAddr },
    /// To the successor: those were all.
    Listeners,
    /// From it: there is nothing that hinders it.
    Ready,
    /// From it: there is.
    Refused(String),
    /// To it: the device of tunnels, with its queues.
    Device { name: String },
    /// To it: where others are at the other end of tunnels.
    Endpoints(Vec<EndpointWord>),
    /// To it: the data directory is free. With it come programs that give frames to ports of user space, which wait for new ones.
    Released,
    /// From it: it serves.
    Serving,
}

/// Whose a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Of {
    Front,
    Admin,
}

/// The name of an uplink, the key of who is joined to it, and where that is.
type EndpointWord = (String, String, std::net::SocketAddr);

/// Of these, so many are said at once: a message has a bound.
const ENDPOINTS: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
struct QuicWord {
    key: [u64; 2],
    generation: u8,
    udp: usize,
    back: usize,
}

fn say(line: &Line, word: &Word, files: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
    line.send(&serde_json::to_vec(word)?, files).context("the other process is gone")
}

fn hear(line: &Line, patience: Duration) -> anyhow::Result<(Word, Vec<OwnedFd>)> {
    let Message { text, files } = match line.receive(patience) {
        Ok(Some(message)) => message,
        Ok(None) => bail!("the other process has ended"),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            bail!("the other process has said nothing for {} s", patience.as_secs())
        }
        Err(error) => return Err(error.into()),
    };
    Ok((serde_json::from_slice(&text).context("the other process said what nobody understands")?, files))
}

/// The place of another process, which is to be taken.
pub(super) struct Takeover(Line);

/// Sockets that another process has had.
#[derive(Default)]
pub(super) struct Inherited {
    pub(super) front: Vec<Handed>,
    pub(super) admin: Vec<Handed>,
    pub(super) layer4: Vec<l4::Handed>,
}

impl Takeover {
    /// That of the process that has started this one for it.
    pub(super) fn from_environment() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let line = io::stdin().as_fd().try_clone_to_owned().context("the line to the process before this one")?;
        Ok(Some(Self(Line::from(line))))
    }

    /// The sockets that it had.
    pub(super) fn inherit(&self) -> anyhow::Result<Inherited> {
        let mut inherited = Inherited::default();
        loop {
            match hear(&self.0, READY)? {
                (Word::Listener { of, address, tcp, quic }, files) => {
                    let mut files = files.into_iter();
                    let mut take = |count: usize| files.by_ref().take(count).collect::<Vec<_>>();
                    let tcp = take(tcp);
                    let quic = quic.map(|QuicWord { key, generation, udp, back }| HandedQuic {
                        key,
                        generation,
                        udp: take(udp),
                        back: take(back),
                    });
                    let handed = Handed { address, tcp, quic };
                    match of {
                        Of::Front => inherited.front.push(handed),
                        Of::Admin => inherited.admin.push(handed),
                    }
                }
                (Word::Layer4 { is_udp, address }, sockets) => {
                    let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
                    inherited.layer4.push(l4::Handed { protocol, address, sockets });
                }
                (Word::Listeners, _) => return Ok(inherited),
                (word, _) => bail!("the process before this one said {word:?} in place of its listeners"),
            }
        }
    }

    /// Says that nothing hinders this process any longer, and waits until the data directory is free. Gives the programs on interfaces that
    /// are left to this process, and the tunnels.
    pub(super) fn ready(&self) -> anyhow::Result<(Vec<OwnedFd>, Option<Tunnels>)> {
        say(&self.0, &Word::Ready, &[])?;
        let mut tunnels: Option<Tunnels> = None;
        loop {
            match hear(&self.0, SERVING)? {
                (Word::Released, files) => return Ok((files, tunnels)),
                (Word::Device { name }, queues) => {
                    tunnels = Some(Tunnels { device: name, queues, endpoints: vec![] });
                }
                (Word::Endpoints(words), _) => {
                    let endpoints = words
                        .into_iter()
                        .filter_map(|(uplink, key, at)| Some((uplink, PublicKey::parse(&key).ok()?, at)));
                    if let Some(tunnels) = &mut tunnels {
                        tunnels.endpoints.extend(endpoints);
                    }
                }
                (word, _) => bail!("the process before this one said {word:?} in place of letting go"),
            }
        }
    }

    /// Says why this process does not come to serve.
    pub(super) fn refuse(&self, why: &str) {
        // Who started this one sees that it has ended in any case.
        let _ = say(&self.0, &Word::Refused(why.to_owned()), &[]);
    }

    /// Says that this process serves.
    pub(super) fn serving(&self) {
        if let Err(error) = say(&self.0, &Word::Serving, &[]) {
            tracing::warn!(%error, "the process before this one has not heard that its place is taken");
        }
    }
}

/// How a successor is started.
pub(super) struct Upgrade {
    /// This program, where it was when it started: another may lie there now.
    program: PathBuf,
    arguments: Vec<OsString>,
    front: Option<Arc<Front>>,
    layer4: Arc<Layer4>,
    /// Copies of the sockets of the admin API.
    admin: Mutex<Vec<Handed>>,
    heirs: Sender<Heir>,
    under_way: tokio::sync::Mutex<()>,
}

/// A process that is ready to take this one's place.
pub(super) struct Heir {
    line: Line,
    child: Child,
}

/// What a successor is started by: the name by which this process was, if that leads to its program. It may be a link that leads to another one by then.
fn started_as(named: Option<PathBuf>, program: PathBuf) -> PathBuf {
    // A name without a folder was looked for by whoever started this.
    let named = named.filter(|named| named.components().count() > 1).and_then(|named| std::path::absolute(named).ok());
    named.filter(|named| named.canonicalize().ok() == program.canonicalize().ok()).unwrap_or(program)
}

impl Upgrade {
    /// With where a ready successor is told.
    pub(super) fn new(
        front: Option<Arc<Front>>,
        layer4: Arc<Layer4>,
        admin: Vec<Handed>,
    ) -> io::Result<(Arc<Self>, Receiver<Heir>)> {
        let (heirs, ready) = channel(1);
        let upgrade = Self {
            program: started_as(std::env::args_os().next().map(PathBuf::from), std::env::current_exe()?),
            arguments: std::env::args_os().skip(1).collect(),
            front,
            layer4,
            admin: Mutex::new(admin),
            heirs,
            under_way: tokio::sync::Mutex::default(),
        };
        Ok((Arc::new(upgrade), ready))
    }

    /// Starts the program that lies there now, and waits until it is ready. Returns its process number.
    pub(super) async fn begin(self: Arc<Self>) -> anyhow::Result<u32> {
        let _alone = self.under_way.try_lock().map_err(|_| anyhow!("another upgrade is under way"))?;
        let upgrade = Arc::clone(&self);
        let heir = tokio::task::spawn_blocking(move || upgrade.start(upgrade.program.clone())).await??;
        let process = heir.child.id();
        self.heirs.try_send(heir).map_err(|_| anyhow!("another upgrade is under way"))?;
        Ok(process)
    }

    fn start(&self, program: PathBuf) -> anyhow::Result<Heir> {
        let (line, theirs) = Line::pair()?;
        let mut command = Command::new(&program);
        command
            .args(&self.arguments)
            .env(VARIABLE, std::process::id().to_string())
            .stdin(Stdio::from(theirs.into_file()));
        let child = privileges::pass_on(|| outwork_net::thread::everywhere(|| command.spawn()));
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        drop(command);
        let mut heir = Heir { line, child };
        match self.introduce(&heir) {
            Ok(()) => Ok(heir),
            Err(error) => {
                heir.end();
                Err(error)
            }
        }
    }

    /// Gives a successor the sockets, and waits until it is ready.
    fn introduce(&self, heir: &Heir) -> anyhow::Result<()> {
        let front = self.front.as_ref().map_or(Ok(Vec::new()), |front| front.hand_over())?;
        let admin = self.admin.lock();
        let all = front.iter().map(|one| (Of::Front, one)).chain(admin.iter().map(|one| (Of::Admin, one)));
        for (of, Handed { address, tcp, quic }) in all {
            let mut files: Vec<_> = tcp.iter().map(AsFd::as_fd).collect();
            let word = quic.as_ref().map(|HandedQuic { key, generation, udp, back }| {
                files.extend(udp.iter().chain(back).map(AsFd::as_fd));
                QuicWord { key: *key, generation: *generation, udp: udp.len(), back: back.len() }
            });
            let word = Word::Listener { of, address: *address, tcp: tcp.len(), quic: word };
            if let Err(error) = say(&heir.line, &word, &files) {
                // It may have said why before it ended.
                tracing::debug!(%error, "a listener was not handed over");
            }
        }
        for l4::Handed { protocol, address, sockets } in self.layer4.hand_over()? {
            let files: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            let word = Word::Layer4 { is_udp: protocol == Protocol::Udp, address };
            if let Err(error) = say(&heir.line, &word, &files) {
                tracing::debug!(%error, "a listener of layer 4 was not handed over");
            }
        }
        if let Err(error) = say(&heir.line, &Word::Listeners, &[]) {
            tracing::debug!(%error, "the listeners were not handed over");
        }
        match hear(&heir.line, READY)? {
            (Word::Ready, _) => Ok(()),
            (Word::Refused(why), _) => Err(anyhow!(why)),
            (word, _) => bail!("the other process said {word:?} in place of being ready"),
        }
    }

    /// Lets the successor have what this process had, all of which has to be free by now, and returns once it serves. `left` are programs on interfaces that are for it, and
    /// `tunnels` those.
    pub(super) fn succeed_by(&self, heir: Heir, left: &[OwnedFd], tunnels: Option<&Tunnels>) -> anyhow::Result<()> {
        let own = "/proc/self/exe";
        if let Err(error) = self.wait_for(heir, left, tunnels) {
            tracing::error!(
                error = format!("{error:#}"),
                "the upgrade has failed; the program before it is started again"
            );
            self.wait_for(self.start(own.into())?, left, tunnels)
                .context("nor does the program before it come to serve")?;
        }
        Ok(())
    }

    fn wait_for(&self, mut heir: Heir, left: &[OwnedFd], tunnels: Option<&Tunnels>) -> anyhow::Result<()> {
        if let Some(error) = tunnels.and_then(|tunnels| leave(&heir.line, tunnels).err()) {
            // It may have said why before it ended.
            tracing::debug!(%error, "tunnels were not handed over");
        }
        let files: Vec<_> = left.iter().map(AsFd::as_fd).collect();
        let serves = say(&heir.line, &Word::Released, &files).and_then(|()| match hear(&heir.line, SERVING)? {
            (Word::Serving, _) => Ok(()),
            (Word::Refused(why), _) => Err(anyhow!(why)),
            (word, _) => bail!("the other process said {word:?} in place of serving"),
        });
        match &serves {
            Ok(()) => {
                tracing::info!(process = heir.child.id(), "another process serves in the place of this one");
                tell(&[NotifyState::MainPid(heir.child.id())]);
            }
            Err(_) => heir.end(),
        }
        serves
    }
}

/// Leaves tunnels to a successor.
fn leave(line: &Line, tunnels: &Tunnels) -> anyhow::Result<()> {
    let queues: Vec<_> = tunnels.queues.iter().map(AsFd::as_fd).collect();
    say(line, &Word::Device { name: tunnels.device.clone() }, &queues)?;
    let word = |(uplink, key, at): &(String, PublicKey, std::net::SocketAddr)| (uplink.clone(), key.to_string(), *at);
    tunnels
        .endpoints
        .chunks(ENDPOINTS)
        .try_for_each(|some| say(line, &Word::Endpoints(some.iter().map(word).collect()), &[]))
}

impl Heir {
    /// Its process number.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// It comes to nothing.
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells who supervises this process, if anyone does.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor was not told");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_successor_is_what_a_link_leads_to_by_then_if_this_process_was_started_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new, link] = ["old", "new", "current"].map(|name| dir.path().join(name));
        [&old, &new].iter().for_each(|path| std::fs::write(path, "a program").unwrap());
        symlink(&old, &link).unwrap();
        assert_eq!(started_as(Some(link.clone()), old.clone()), link);
        assert_eq!(started_as(Some(new), old.clone()), old, "whoever starts a program may call it anything");
        assert_eq!(started_as(Some("outwork".into()), old.clone()), old);
        assert_eq!(started_as(Some(dir.path().join("gone")), old.clone()), old);
        assert_eq!(started_as(None, old.clone()), old);
    }
}

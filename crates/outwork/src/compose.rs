//! Wires the services together by hand: what `outwork run` does.
//!
//! Order of start: settings, log, privileges, the lock of the data directory, listeners, store, services, admin. Everything is bound before anything is served;
//! the admin API leaves last. A process that takes another's place binds first, and waits for the data directory.

mod alerts;
mod cache;
mod dhcp;
mod front;
mod memory;
pub(crate) mod ports;
mod profile;
mod proxy;
mod reload;
pub(crate) mod sdwan;
mod store;
mod upgrade;

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use futures_util::FutureExt;
use outwork_admin::{Admin, Live, LocalFile, StoreArchive, first_token};
use outwork_config::Affinity;
use outwork_front::api::{Access, Problem};
use outwork_front::door::Farewell;
use outwork_front::events::Hub;
use outwork_front::tls::{Certificates, Offer};
use outwork_front::{Binding, FrontMetrics, Server};
use outwork_net::interface::Interface;
use outwork_net::privileges::{self, Capability};
use outwork_net::{descriptors, thread};
use outwork_proxy::acceleration::make_functions;
use outwork_sdwan::service::Service as Tunnels;
use outwork_store::audit::{self, Entry};
use outwork_store::database::Database;
use outwork_store::lock::DirLock;
use outwork_telemetry::Registry;
use outwork_telemetry::alerts::Alerts;
use outwork_telemetry::history::History;
use outwork_telemetry::logs::Logs;
use outwork_telemetry::process::Process;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::certificates::told;
use crate::sample::SamplePool;
use crate::settings::{self, Read, Settings};
use crate::{environment, host, report, sample};
use dhcp::Dhcp;
use front::{BoundFront, Front};
use ports::Protocol;
use proxy::Proxy;
use reload::Current;
use sdwan::Following;
use tokio::sync::mpsc::Receiver;
pub(crate) use upgrade::VARIABLE as SUCCEEDS;
use upgrade::{Heir, Takeover, Upgrade};

/// The leases' log: a directory in the data directory.
pub(crate) const LEASES: &str = "dhcp";
/// Certificates of our own: a directory in the data directory.
const CERTIFICATES: &str = "tls";
/// How long a stop waits for requests under way, and for answers that the disk has yet to confirm.
const FAREWELL: Duration = Duration::from_secs(5);
/// Topics of live events.
const TOPICS: [&str; 3] = ["metrics", "system", "dhcp"];

/// Runs the services until a signal ends them.
pub(crate) fn run(global: &crate::cli::Global) -> anyhow::Result<()> {
    let takeover = Takeover::from_environment()?;
    let outcome = start(global, takeover.as_ref());
    if let (Err(error), Some(takeover)) = (&outcome, &takeover) {
        takeover.refuse(&report::text(error));
    }
    outcome
}

fn start(global: &crate::cli::Global, takeover: Option<&Takeover>) -> anyhow::Result<()> {
    let mut loaded = settings::load(global)?;
    let logs = Logs::start(loaded.value.log.format, loaded.value.log.levels())?;
    if let Err(error) = sdwan::overlay(&mut loaded) {
        tracing::error!(
            error,
            "what the controller has said counts as it is, and each reload is refused until the file is other"
        );
    }
    let settings = loaded.value.clone();
    if loaded.file.is_none() {
        tracing::info!(
            "no configuration file: serving a practice subnet, a sample site and a sample pool on loopback; `outwork config init` writes a file to begin with"
        );
    }
    for warning in environment::strays() {
        tracing::warn!(advice = warning.advice().unwrap_or_default(), "{}", warning.found());
    }
    if let Some(warning) = settings.admin.unprotected() {
        let advice = warning.advice().unwrap_or_default();
        tracing::warn!(setting = "admin.listen", advice, "{}", warning.found());
    }
    prepare_data_dir(&settings)?;
    if let Err(error) = descriptors::raise() {
        tracing::warn!(%error, "cannot raise the number of files that may be open");
    }
    let short = host::short(&settings);
    if !short.is_empty() {
        tracing::info!(
            settings = short.join(", "),
            "these ask for more than this machine gives: `outwork host` says what"
        );
    }
    // While this process may.
    make_functions(&settings.proxy).map_err(|error| anyhow!(error))?;
    if let Some(user) = &settings.process.user {
        let mut keep = vec![Capability::NetRaw, Capability::NetBindService, Capability::NetAdmin];
        if !settings.proxy.acceleration.tiers.is_empty() {
            keep.extend([Capability::Bpf, Capability::Perfmon, Capability::IpcLock]);
        }
        // Without it tunnels work, and are told of in the log.
        if settings.sdwan.is_on() && privileges::may(Capability::SysNice) {
            keep.push(Capability::SysNice);
        }
        privileges::drop_to(user, &keep).with_context(|| format!("process.user = {user:?}"))?;
    }
    // Another process has it until this one is ready.
    let lock = takeover.is_none().then(|| lock(&loaded)).transpose()?;
    // Services run on threads of their own; this runtime is for the admin API.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(admin_threads(&settings))
        .thread_name("admin")
        .on_thread_start(stay(&settings.admin.affinity))
        .enable_all()
        .build()
        .context("cannot start the runtime of the admin API")?;
    let outcome = runtime.block_on(serve(global.clone(), loaded, logs, takeover, lock));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Threads of the admin API, which those of a controller's sites are as well.
const ADMIN_THREADS: u16 = 2;

/// So many threads serve the admin API, and the sites of a controller.
fn admin_threads(settings: &Settings) -> usize {
    let controls = settings.controller.is_on();
    settings.admin.threads(if controls { settings.controller.size.preset().threads } else { ADMIN_THREADS })
}

/// Keeps threads of the admin API where they are to be. They come and go, and are no workers with a processor's work each: those that are named
/// are everybody's.
fn stay(affinity: &Affinity) -> impl Fn() + Send + Sync + 'static {
    let (affinity, begun) = (affinity.clone(), AtomicUsize::new(0));
    move || {
        let kept = match &affinity {
            Affinity::Anywhere => return,
            Affinity::On(named) => thread::keep_on(named.numbers()),
            Affinity::Each => {
                let usable = thread::all_processors().unwrap_or_default();
                let processor = affinity.of_thread(begun.fetch_add(1, Ordering::Relaxed), &usable);
                processor.map_or(Ok(()), thread::pin)
            }
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "a thread of the admin API runs on any processor");
        }
    }
}

/// The data directory, for nobody else's eyes: it holds who is on the network, and the hashes of tokens.
pub(crate) fn prepare_data_dir(settings: &Settings) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, chown};
    let dir: &Path = &settings.store.data_dir;
    let fresh = !dir.exists();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("store.data_dir: cannot create {}", dir.display()))?;
    if let Some(user) = settings.process.user.as_deref().filter(|_| fresh) {
        let (uid, gid) = privileges::ids(user).with_context(|| format!("process.user = {user:?}"))?;
        chown(dir, Some(uid), Some(gid)).with_context(|| format!("cannot give {} to {user}", dir.display()))?;
    }
    Ok(())
}

/// Takes the data directory for this process, and what it lacks into it.
fn lock(loaded: &Read) -> anyhow::Result<DirLock> {
    let data_dir = &loaded.value.store.data_dir;
    let lock = DirLock::take(data_dir).context("store.data_dir")?;
    if loaded.file.is_none() {
        sample::write(data_dir)?;
    }
    Ok(lock)
}

async fn serve(
    global: crate::cli::Global,
    loaded: Read,
    logs: Logs,
    takeover: Option<&Takeover>,
    lock: Option<DirLock>,
) -> anyhow::Result<()> {
    // Before anything is served: who sees it serving may send one.
    let mut signals = Signals::hook().context("cannot hook the signals")?;
    let settings = loaded.value.clone();
    let registry = Arc::new(Registry::default());
    let process = Arc::new(Process::new(env!("CARGO_PKG_VERSION")));
    let front = Arc::new(FrontMetrics::default());
    registry.register(Arc::clone(&process) as _)?;
    registry.register(Arc::clone(&front) as _)?;
    let hub = Hub::new(&TOPICS, Arc::clone(&front));

    let inherited = takeover.map(Takeover::inherit).transpose()?.unwrap_or_default();
    let certificates = Certificates::new(&settings.store.data_dir.join(CERTIFICATES), settings.acme());
    registry.register(Arc::clone(&certificates.metrics) as _)?;
    let door = BoundFront::bind(&settings, &certificates, inherited.front)?;
    let proxy = Proxy::new(&settings, &registry, &certificates)?;
    let layer4 = proxy.begin(&settings, inherited.layer4)?;
    let offer: Vec<_> = settings.admin.tls_files().map(Offer::from).into_iter().collect();
    let opened = certificates.open(&offer);
    let tls = opened.map_err(|error| anyhow!("admin.tls: {}", told(&error.source, &settings)))?.pop();
    let bind = |address: &SocketAddr| Binding { address: *address, tls: tls.clone() };
    let bindings = settings.admin.listen.iter().map(bind).collect();
    let server = Server::take_over(bindings, settings.admin.limits(), Arc::clone(&front), inherited.admin).await;
    let server = server.map_err(|error| ports::explained(error.into(), Protocol::Tcp, ports::ANOTHER))?;
    let (lock, handed) = match (lock, takeover) {
        (Some(lock), _) => (lock, None),
        (None, takeover) => {
            let (programs, tunnels) = takeover.map(Takeover::ready).transpose()?.unwrap_or_default();
            proxy.inherit(programs);
            (self::lock(&loaded)?, tunnels)
        }
    };
    let practises = loaded.file.is_none();
    let current = Current::new(loaded);

    let database = Arc::new(Database::open(&settings.store.database(), &[])?);
    registry.register(Arc::clone(database.metrics()) as _)?;
    let first = first_token(&database, &settings.admin)?;
    let archive = StoreArchive::open(Arc::clone(&database))?;
    let history = Arc::new(History::new(Some(Arc::clone(&archive) as _)));
    registry.register(history.metrics())?;
    let alerts = Arc::new(Alerts::new(&crate::alerts::IDS));
    registry.register(Arc::clone(&alerts) as _)?;

    let dhcp = match settings.dhcp.is_enabled() {
        true => Some(Dhcp::start(&settings, &registry, &hub)?),
        false => None,
    };
    let tunnels = sdwan::start(&settings, &registry, handed)?;
    let controller = sdwan::start_controller(&settings, &registry).await?;
    let door = match door {
        Some(door) => Some(door.start(&settings, &registry, &certificates, &proxy, layer4)?),
        None => {
            proxy.commit(layer4, front::NAMES);
            None
        }
    };
    let sample = door.as_ref().filter(|_| practises).and_then(|door| sample_pool(&settings, door));
    let (upgrade, mut heirs) = Upgrade::new(door.clone(), Arc::clone(&proxy.layer4), server.hand_over()?)?;
    let addresses = server.addresses();
    let (local_token, local) = LocalFile::token(&settings.store.data_dir)?;
    let local_urls = LocalFile::urls(&settings.store.data_dir, &addresses)?;
    // Where nobody reads that, it still serves; the token of this machine makes others.
    if let Err(error) =
        greet(&addresses, first.as_ref(), (dhcp.as_ref(), door.as_deref(), &proxy, tunnels.as_deref()), &settings)
    {
        tracing::warn!(%error, "where to look could not be said on standard output");
    }

    let reload = reload::Reload {
        global,
        current: Arc::clone(&current),
        logs: logs.clone(),
        dhcp: dhcp.as_ref().map(|dhcp| Arc::clone(&dhcp.service)),
        front: door.clone(),
        proxy: Arc::clone(&proxy),
        tunnels: tunnels.clone(),
        certificates: Arc::clone(&certificates),
        tls,
        hub: Arc::clone(&hub),
    };
    let reload = Arc::new(reload);
    let following = Following::start(&settings, tunnels.as_ref(), &reload, &registry)?;
    let tending = tunnels.as_ref().map(|tunnels| tokio::spawn(outwork_sdwan::service::tend(Arc::clone(tunnels))));
    let admin = Admin {
        version: env!("CARGO_PKG_VERSION"),
        host: host_name(),
        config_file: current.file(),
        started: SystemTime::now(),
        process,
        registry: Arc::clone(&registry),
        history: Arc::clone(&history),
        alerts: Arc::clone(&alerts),
        logs,
        hub: Arc::clone(&hub),
        database: Arc::clone(&database),
        access: Access::with_local(Arc::clone(&database), front, &local),
        metrics_public: settings.admin.metrics_are_public(),
        metrics: settings.admin.metrics,
        store: dhcp::store_status(dhcp.as_ref(), &settings),
        listeners: dhcp::listeners(dhcp.as_ref(), door.clone(), Arc::clone(&proxy.layer4), addresses),
        config: {
            let current = Arc::clone(&current);
            Box::new(move || current.effective())
        },
        reload: {
            let reload = Arc::clone(&reload);
            Box::new(move || Arc::clone(&reload).as_problem())
        },
        upgrade: {
            let upgrade = Arc::clone(&upgrade);
            Box::new(move || {
                let begun = Arc::clone(&upgrade).begin();
                begun.map(|begun| begun.map_err(|error| Problem::conflict(None, report::text(&error)))).boxed()
            })
        },
        memory: memory::report(
            dhcp.as_ref().map(|dhcp| Arc::clone(&dhcp.service)),
            Arc::clone(&history),
            Arc::clone(&hub),
            door.clone(),
            tunnels.clone(),
            following.as_ref().map(Following::follower),
        ),
        machine: {
            let current = Arc::clone(&current);
            Box::new(move || host::report(&current.settings()))
        },
        profiler: Box::new(profile::Profiles::new(&settings.store.data_dir)),
    };
    let services = dhcp.as_ref().map(Dhcp::api).into_iter().chain([front::api(door.as_ref(), &certificates)]);
    let services = services.chain(door.as_ref().map(|door| cache::api(&door.caching)));
    let services = services.chain(door.as_ref().map(|door| front::web_api(door)));
    let services = services.chain(sdwan::api(tunnels.as_ref(), following.as_ref(), controller.as_ref()));
    let services = services.chain(controller.as_ref().map(sdwan::controller_api));
    let services = services.chain([proxy::api(&proxy, &settings.store.data_dir)]).collect();
    let router = outwork_admin::router(admin, services, outwork_admin::assets());

    let live = Live {
        registry,
        history,
        archive,
        hub: Arc::clone(&hub),
        retention: {
            let current = Arc::clone(&current);
            Arc::new(move || {
                let settings = current.settings();
                (settings.history.retention, settings.admin.audit_retention)
            })
        },
    };
    let live = tokio::spawn(live.run());
    let sources = alerts::Sources {
        current: Arc::clone(&current),
        database: Arc::clone(&database),
        dhcp: dhcp.as_ref().map(|dhcp| (Arc::clone(&dhcp.service), Arc::clone(&dhcp.commits))),
        pools: Arc::clone(&proxy.pools),
        tunnels: tunnels.clone(),
        follower: following.as_ref().map(Following::follower),
        controller: controller.clone(),
    };
    let told = alerts::Told { alerts, hub: Arc::clone(&hub) };
    let watching = tokio::spawn(alerts::run(Arc::new(sources), told));
    let ordering = tokio::spawn(outwork_front::acme::run(Arc::clone(&certificates)));
    let keeping = tokio::spawn(certificates.keep());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let admin_server = tokio::spawn(server.run(router, async move {
        // Dropped or told, both mean the end.
        let _ = stopped.await;
    }));
    if let Some(takeover) = takeover {
        takeover.serving();
    }
    upgrade::tell(&[NotifyState::Ready]);
    let heir = signals.until_told_to_end(&reload, &database, &upgrade, &mut heirs).await;
    match &heir {
        Some(heir) => tracing::info!(process = heir.process(), "another process takes the place of this one"),
        None => {
            tracing::info!("stopping");
            upgrade::tell(&[NotifyState::Stopping]);
        }
    }
    tokio::task::spawn_blocking(move || drop(sample)).await?;
    // Before another process reads what is kept.
    let benchmarks = Arc::clone(&proxy.benchmarks);
    tokio::task::spawn_blocking(move || benchmarks.stop()).await?;
    let stopping = (door.clone(), Arc::clone(&proxy));
    let farewell = heir.is_none().then_some((Farewell::Brief, FAREWELL));
    let left = tokio::task::spawn_blocking(move || part(&stopping.0, &stopping.1, farewell)).await?;
    if let Some(dhcp) = dhcp {
        tokio::task::spawn_blocking(move || dhcp.stop(FAREWELL)).await??;
    }
    if let Some(following) = following {
        following.stop();
    }
    if let Some(tending) = tending {
        tending.abort();
    }
    if let Some(controller) = controller {
        tokio::task::spawn_blocking(move || controller.stop()).await?;
    }
    // The last of all: until another process has them, nothing goes through.
    let (released, ended) = if heir.is_some() { (tunnels, None) } else { (None, tunnels) };
    hub.close();
    live.abort();
    watching.abort();
    keeping.abort();
    ordering.abort();
    drop(stop);
    admin_server.await?;
    // Another process finds this host as this one has left it, and goes on with that.
    if let Some(tunnels) = ended {
        tokio::task::spawn_blocking(move || tunnels.end()).await?;
    }
    drop((local_token, local_urls));
    database.close();
    drop(lock);
    if let Some(heir) = heir {
        let drain = current.settings().front.limits.drain;
        let leaving = tokio::task::spawn_blocking(move || {
            let released = released.map(|tunnels| tunnels.release());
            let succeeded = upgrade.succeed_by(heir, &left, released.as_ref());
            drop((left, released));
            proxy.pools.follow_orders();
            let patience = if succeeded.is_ok() { drain } else { FAREWELL };
            part(&door, &proxy, Some((Farewell::Long, patience)));
            succeeded
        });
        tokio::select! {
            left = leaving => left??,
            () = signals.ended() => tracing::info!("told to stop: connections that are still open are closed"),
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// The servers of the sample pool. Without them everything else is as it is, and their pool has none that is healthy.
fn sample_pool(settings: &Settings, door: &Front) -> Option<SamplePool> {
    let started = SamplePool::start(&settings.proxy, &door.addresses());
    started.inspect_err(|error| tracing::warn!(error = report::text(error), "the sample pool is not served")).ok()
}

/// Accepts no more, and lets what is open end; without a farewell, only lets go of what another process is to have, and gives what is
/// held for it meanwhile.
fn part(door: &Option<Arc<Front>>, proxy: &Arc<Proxy>, farewell: Option<(Farewell, Duration)>) -> Vec<OwnedFd> {
    let Some((farewell, patience)) = farewell else {
        let left = proxy.release();
        door.iter().for_each(|door| door.release());
        return left;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| proxy.stop(patience));
        door.iter().for_each(|door| door.stop(farewell, patience));
    });
    proxy.end();
    Vec::new()
}

/// The signals that steer the process. Until they are hooked, each of them ends it.
struct Signals {
    hangup: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn hook() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Serves them: SIGHUP reloads, SIGUSR2 upgrades, SIGTERM and SIGINT end. Returns who takes this process's place, if anyone does.
    async fn until_told_to_end(
        &mut self,
        reload: &Arc<reload::Reload>,
        database: &Arc<Database>,
        upgrade: &Arc<Upgrade>,
        heirs: &mut Receiver<Heir>,
    ) -> Option<Heir> {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => hung_up(reload, database).await,
                _ = self.upgrade.recv() => {
                    // Beside the loop: who is ready is heard of below.
                    tokio::spawn(signalled(Arc::clone(upgrade), Arc::clone(database)));
                }
                heir = heirs.recv() => if heir.is_some() { return heir },
                () = Self::either(&mut self.terminate, &mut self.interrupt) => return None,
            }
        }
    }

    /// Waits for one that ends the process.
    async fn ended(&mut self) {
        Self::either(&mut self.terminate, &mut self.interrupt).await;
    }

    async fn either(one: &mut Signal, other: &mut Signal) {
        tokio::select! {
            _ = one.recv() => {}
            _ = other.recv() => {}
        }
    }
}

/// Upgrades, and leaves a row in the audit log like that of an upgrade through the API.
async fn signalled(upgrade: Arc<Upgrade>, database: Arc<Database>) {
    let outcome = upgrade.begin().await.map_err(|error| report::text(&error));
    if let Err(refusal) = &outcome {
        tracing::warn!("no upgrade; this process goes on\n{refusal}");
    }
    let detail = outcome.clone().map_or_else(|refusal| refusal, |process| format!("process {process}"));
    record(
        &database,
        Signalled { name: "SIGUSR2", action: "process.upgrade", target: String::new() },
        outcome.is_ok(),
        detail,
    )
    .await;
}

/// Reloads, and leaves a row in the audit log like that of a reload through the API.
async fn hung_up(reload: &Arc<reload::Reload>, database: &Database) {
    let outcome = Arc::clone(reload).run().await;
    match &outcome {
        Ok(reloaded) => tracing::info!(changed = reloaded.changed.join(" "), "configuration reloaded"),
        Err(refusal) => tracing::warn!("configuration not reloaded; the one before stays in force\n{refusal}"),
    }
    let target = outcome.as_ref().err().and_then(reload::Refusal::key).unwrap_or_default().to_owned();
    let what = Signalled { name: "SIGHUP", action: "config.reload", target };
    let succeeded = outcome.is_ok();
    record(
        database,
        what,
        succeeded,
        outcome.map_or_else(|refusal| refusal.to_string(), |reloaded| reloaded.changed.join(", ")),
    )
    .await;
}

/// What a signal has led to.
struct Signalled {
    name: &'static str,
    action: &'static str,
    target: String,
}

/// Writes a row of the audit log.
async fn record(database: &Database, what: Signalled, succeeded: bool, detail: String) {
    let Signalled { name, action, target } = what;
    let entry = Entry {
        at: SystemTime::now(),
        actor: "signal".to_owned(),
        origin: name.to_owned(),
        action: action.to_owned(),
        target,
        succeeded,
        detail,
    };
    if let Err(error) = database.call(move |database| audit::append(database, &entry)).await {
        tracing::error!(%error, action, "this has no row in the audit log");
    }
}

/// Says where to look; the first token is shown here and never again.
fn greet(
    addresses: &[(SocketAddr, bool)],
    first: Option<&outwork_admin::FirstToken>,
    (dhcp, door, proxy, tunnels): (Option<&Dhcp>, Option<&Front>, &Proxy, Option<&Tunnels>),
    settings: &Settings,
) -> std::io::Result<()> {
    // Where they cannot be listed, the name of the host has to do.
    let interfaces = outwork_net::interface::interfaces().unwrap_or_default();
    let mut out = anstream::stdout().lock();
    writeln!(out, "Outwork {}", env!("CARGO_PKG_VERSION"))?;
    for (address, tls) in addresses {
        let scheme = if *tls { "https" } else { "http" };
        writeln!(out, "  dashboard  {scheme}://{}/", usable(*address, &interfaces, &host_name()))?;
    }
    for (address, tls) in door.map(Front::addresses).unwrap_or_default() {
        let scheme = if tls { "https" } else { "http" };
        writeln!(out, "  web        {scheme}://{}/", usable(address, &interfaces, &host_name()))?;
    }
    for listening in proxy.layer4.listening() {
        let (listener, address) = (&listening.settings, listening.address);
        writeln!(out, "  proxy      {address} ({}, {})", listener.protocol, listener.label())?;
    }
    if let Some(dhcp) = dhcp {
        for address in dhcp.listening() {
            writeln!(out, "  dhcp       {address} (udp)")?;
        }
        for interface in &settings.dhcp.interfaces {
            writeln!(out, "  dhcp       {interface} (clients on the link)")?;
        }
    }
    for uplink in tunnels.into_iter().flat_map(Tunnels::uplinks) {
        for address in &uplink.listens {
            writeln!(out, "  sdwan      {address} (udp, {}, {})", uplink.name, uplink.public_key)?;
        }
    }
    for address in &settings.controller.listen {
        writeln!(out, "  controller {address} (tcp, sites)")?;
    }
    writeln!(out, "  data       {}", settings.store.data_dir.display())?;
    if let Some(first) = first {
        writeln!(out, "\nAdmin token, shown this once:\n\n  {}\n", first.secret.expose())?;
        writeln!(out, "Sign in to the dashboard with it. `outwork token create NAME` makes more.")?;
    }
    out.flush()?;
    Ok(())
}

/// Where a browser finds a listener: one on every address is found at one that other machines can reach, or by the name.
fn usable(address: SocketAddr, interfaces: &[Interface], host: &str) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let mut reached = interfaces.iter().filter(|interface| interface.up && !interface.loopback);
    let own = reached.find_map(|interface| interface.addresses.first()).map(|own| own.address.to_string());
    format!("{}:{}", own.as_deref().unwrap_or(host), address.port())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("localhost").to_owned()
}

/// The error of a service that could not start, with what it is about.
fn cannot(what: &str, error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{what}: {error}")
}

#[cfg(test)]
mod tests {
    use outwork_net::interface::Address;

    use super::*;

    #[test]
    fn a_controller_has_threads_for_its_sites_unless_their_number_is_said() {
        let threads = |text: &str| {
            let file = Some(("outwork.toml".into(), text.to_owned()));
            let sources = outwork_config::Sources { file, ..outwork_config::Sources::default() };
            let loaded = outwork_config::load::<Settings>(sources).map_err(|faults| faults.render(false)).unwrap();
            admin_threads(&loaded.value)
        };
        let controller = "[controller]\nlisten = ['127.0.0.1:8068']\nsize = '500-2000'\n";
        assert_eq!((threads(""), threads(controller)), (2, 8));
        assert_eq!(threads(&format!("[admin]\nworkers = 3\n{controller}")), 3);
    }

    #[test]
    fn a_listener_on_every_address_is_shown_at_one_that_a_browser_can_use() {
        let interface = |name: &str, loopback, address: [u8; 4]| Interface {
            name: name.to_owned(),
            index: 1,
            mac: None,
            mtu: 1500,
            up: true,
            running: true,
            loopback,
            addresses: vec![Address { address: address.into(), prefix_length: 24 }],
        };
        let (lo, lan) = (interface("lo", true, [127, 0, 0, 1]), interface("lan0", false, [192, 0, 2, 7]));
        let shown = |address: &str, interfaces: &[Interface]| usable(address.parse().unwrap(), interfaces, "edge");
        let both = [lo.clone(), lan];
        assert_eq!(shown("0.0.0.0:8067", &both), "192.0.2.7:8067");
        assert_eq!(shown("[::]:8067", &both), "192.0.2.7:8067");
        assert_eq!(shown("0.0.0.0:8067", &[lo]), "edge:8067");
        assert_eq!(shown("127.0.0.1:8067", &both), "127.0.0.1:8067");
    }
}

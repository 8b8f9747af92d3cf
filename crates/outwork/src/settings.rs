//! The whole configuration: a section of each crate, and where its text comes from.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use outwork_admin::AdminSettings;
use outwork_config::{At, Effective, Fault, Loaded, Origin, Sources, salvage, section};
use outwork_dhcp::config::Dhcp;
use outwork_front::acme;
use outwork_host::config::Host;
use outwork_proxy::config::Proxy;
use outwork_sdwan::config::Sdwan;
use outwork_sdwan::controller::config::ControllerSettings;
use outwork_store::config::Store;
use outwork_telemetry::history::HistorySettings;
use outwork_telemetry::logs::LogSettings;
use outwork_web::sql::config::Web;

use crate::alerts::AlertSettings;
use crate::caching::CacheSettings;
use crate::cli::Global;
use crate::routes::{FrontSettings, check_pools, check_queries};
use crate::{remarks, report, sample};

section! {
    /// Configuration of Outwork.
    pub(crate) struct Settings {
        /// The process.
        pub(crate) process: Process,
        /// Where Outwork keeps what must outlive it.
        pub(crate) store: Store,
        /// The log.
        pub(crate) log: LogSettings,
        /// The history of the metrics.
        pub(crate) history: HistorySettings,
        /// Alerts.
        pub(crate) alerts: AlertSettings,
        /// The admin API and the dashboard.
        pub(crate) admin: AdminSettings,
        /// The DHCPv4 server.
        pub(crate) dhcp: Dhcp,
        /// The cache of answers and query results.
        pub(crate) cache: CacheSettings,
        /// The front door.
        pub(crate) front: FrontSettings,
        /// Databases that routes query.
        pub(crate) web: Web,
        /// Backends, and listeners of layer 4.
        pub(crate) proxy: Proxy,
        /// Tunnels to other sites, and to whoever speaks WireGuard.
        pub(crate) sdwan: Sdwan,
        /// The controller of a network of sites.
        pub(crate) controller: ControllerSettings,
        /// What is wanted of the machine.
        pub(crate) host: Host,
    }
    check worth_a_look;
}

/// What the warnings miss, or take for granted. They would be false where it is there and could not be read.
const NEEDED: [&str; 8] = [
    "dhcp.enabled",
    "dhcp.listen",
    "dhcp.interfaces",
    "dhcp.subnet",
    "front.listener",
    "proxy.listener",
    "sdwan.uplink",
    "controller.listen",
];

fn worth_a_look(settings: &Settings, at: &mut At<'_>) {
    check_queries(&settings.front, &settings.web, at);
    check_pools(&settings.front, &settings.proxy, at);
    remarks::admin_is_apart(settings, at);
    remarks::layer4::is_apart(settings, at);
    remarks::processors::may_be_used(settings, at);
    remarks::loops::are_none(settings, at);
    remarks::acceleration::has_effect(settings, at);
    remarks::layer4::acme_can_work(settings, at);
    remarks::buffers::are_to_be_had(settings, at);
    let unread = |key: &str| NEEDED.iter().any(|needed| is_below(key, needed) || is_below(needed, key));
    if at.left_out().any(unread) {
        return;
    }
    let listens = !settings.front.listener.is_empty()
        || !settings.proxy.listener.is_empty()
        || settings.sdwan.is_on()
        || settings.controller.is_on();
    if !settings.dhcp.is_enabled() && !listens && settings.dhcp.enabled.is_none() {
        let help = "add a [[dhcp.subnet]], or a [[front.listener]] with a [[front.route]], or a [[proxy.listener]], or a [[sdwan.uplink]]; `outwork config init` writes examples";
        at.warn(
            "",
            Fault::new("no service is configured: neither [dhcp], nor a [[front.listener]], a [[proxy.listener]] or a [[sdwan.uplink]]")
                .help(help),
        );
    }
    for (path, warning) in outwork_dhcp::policy::compile::warnings(&settings.dhcp) {
        at.warn(&format!("dhcp.{path}"), warning);
    }
}

section! {
    /// The process.
    pub(crate) struct Process {
        /// User to become after the start; the network capabilities that services need are kept. Unset, the user that started it.
        pub(crate) user: Option<String> [restart],
    }
}

impl Settings {
    /// Where certificates by ACME come from; `None` where no listener has any.
    pub(crate) fn acme(&self) -> Option<acme::Settings> {
        let of_front = self.front.listener.iter().filter_map(|listener| listener.tls.as_ref());
        let of_proxy = self.proxy.listener.iter().filter_map(|listener| listener.tls.as_ref());
        of_front.chain(of_proxy).any(|tls| !tls.acme.is_empty()).then(|| self.front.acme.settings())
    }
}

/// What is served where there is no configuration file: a subnet, a site and a pool to practise on, reachable from this machine alone. `SITE` stands for
/// the folder of the site, `DATABASE` for the address of its database.
const PRACTICE: &str = include_str!("practice.toml");
/// What that is called where settings say where they come from.
pub(crate) const PRACTICE_NAME: &str = "the built-in practice configuration";

/// A configuration that was read and has no faults.
#[derive(Clone)]
pub(crate) struct Read {
    /// Its values.
    pub(crate) value: Settings,
    /// Its values with their origins, secrets masked.
    pub(crate) effective: Vec<Effective>,
    /// The file, where there is one.
    pub(crate) file: Option<PathBuf>,
    /// What should be looked at, and is no fault.
    pub(crate) warnings: Vec<Fault>,
}

impl Read {
    /// Where the value of a key stands, or of the first key below it.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let found = self.effective.iter().find(|entry| is_below(&entry.key, key));
        found.map_or(Origin::Default, |entry| entry.origin.clone())
    }
}

/// Whether a key is another one, or lies in it.
pub(crate) fn is_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Reads the configuration as this run sees it.
pub(crate) fn load(global: &Global) -> anyhow::Result<Read> {
    let sources = sources(global)?;
    let file = sources.file.as_ref().map(|(path, _)| path.clone()).filter(|path| path != Path::new(PRACTICE_NAME));
    let loaded = outwork_config::load::<Settings>(sources)?;
    Ok(Read { effective: loaded.effective(), warnings: loaded.warnings().to_vec(), value: loaded.value, file })
}

/// The folder of the file.
fn folder(sources: &Sources) -> PathBuf {
    sources.file.as_ref().and_then(|(file, _)| file.parent()).map(Path::to_owned).unwrap_or_default()
}

/// Who tells of the faults of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The command itself.
    Here,
    /// The server, which is asked to read it.
    There,
}

/// What a command needs to find the server on this machine.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    /// Where it listens.
    pub(crate) admin: AdminSettings,
    /// Where it leaves the secret of this machine.
    pub(crate) data_dir: PathBuf,
}

/// Finds that, though the configuration may have faults: whoever mends it must be able to ask the server. A file that was
/// named must be there.
pub(crate) fn whereabouts(global: &Global, faults: Told) -> anyhow::Result<Whereabouts> {
    let (sources, fault) = match sources(global) {
        Ok(sources) => match outwork_config::load::<Settings>(sources.clone()) {
            Ok(Loaded { value, .. }) => {
                return Ok(Whereabouts { admin: value.admin, data_dir: value.store.data_dir });
            }
            Err(faults) => {
                let place = |fault: &Fault| format!("{}: {}: {}", fault.origin(), fault.key(), fault.found());
                (sources, faults.iter().next().map(place).unwrap_or_default())
            }
        },
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) =>
        {
            return Err(error);
        }
        Err(error) => (layers(global, None), report::text(&error)),
    };
    if faults == Told::Here {
        report::warn(&format!("{fault}; `outwork check` says more; the server is asked all the same"))?;
    }
    let mut found =
        Whereabouts { admin: AdminSettings::default(), data_dir: folder(&sources).join(Store::default().data_dir) };
    if let Some((listen, _)) = salvage(sources.clone(), "admin.listen") {
        found.admin.listen = listen;
    }
    if let Some((tls, _)) = salvage(sources.clone(), "admin.tls") {
        found.admin.tls = tls;
    }
    if let Some((path, _)) = salvage(sources, "store.data_dir") {
        found.data_dir = path;
    }
    Ok(found)
}

/// Files that are read where none is named, first come first served.
pub(crate) const USUAL: [&str; 2] = ["outwork.toml", "/etc/outwork/outwork.toml"];

/// Every layer of the configuration, read as this run sees it. A file that was named must be there; where no usual one is
/// either, there is the practice configuration.
pub(crate) fn sources(global: &Global) -> anyhow::Result<Sources> {
    let file = match &global.config {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some((path.clone(), text.with_context(|| format!("cannot read the configuration {}", path.display()))?))
        }
        None => Some(usual_file()?.unwrap_or_else(|| practice(global))),
    };
    Ok(layers(global, file))
}

/// The practice configuration, with the site and its database below the data directory.
fn practice(global: &Global) -> (PathBuf, String) {
    let data_dir = salvage(layers(global, None), "store.data_dir").map(|(path, _): (PathBuf, _)| path);
    let data_dir = data_dir.unwrap_or_else(|| Store::default().data_dir);
    // A JSON string is a TOML string, too.
    let toml = |text: String| serde_json::Value::from(text).to_string();
    let site = toml(sample::site(&data_dir).to_string_lossy().into_owned());
    let database = toml(format!("sqlite:{}", sample::database(&data_dir).display()));
    (PRACTICE_NAME.into(), PRACTICE.replace("\"SITE\"", &site).replace("\"DATABASE\"", &database))
}

/// A file's text under the environment and the flags.
fn layers(global: &Global, file: Option<(PathBuf, String)>) -> Sources {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
    Sources { file, env, set: global.set.clone() }
}

fn usual_file() -> anyhow::Result<Option<(PathBuf, String)>> {
    for path in USUAL.map(Path::new) {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(Some((path.to_owned(), text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the configuration {}", path.display()));
            }
        }
    }
    Ok(None)
}

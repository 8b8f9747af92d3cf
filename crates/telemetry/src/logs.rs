//! Logs to standard error: text or JSON, a level for each service, changeable while running.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

use outwork_config::{At, Fault, Setting, choice, section};
use parking_lot::Mutex;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{SetGlobalDefaultError, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry, reload};

/// What can have a level of its own: the crates, by the names they go by in the configuration.
pub const SERVICES: [&str; 10] =
    ["admin", "cache", "dhcp", "front", "net", "proxy", "sdwan", "store", "telemetry", "web"];

/// Parts of services that can have one, too: the name, whose part it is, and the module that it is. One that is not named has that of its service.
const PARTS: [(&str, &str, &str); 2] =
    [("controller", "sdwan", "outwork_sdwan::controller"), ("follower", "sdwan", "outwork_sdwan::follower")];

/// All that can have a level of its own.
pub fn names() -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().chain(PARTS.into_iter().map(|(name, ..)| name))
}

/// They, for whoever has named another.
fn known() -> String {
    names().collect::<Vec<_>>().join(", ")
}

choice! {
    /// The least severe events that are logged.
    pub enum Level {
        /// Nothing.
        Off = "off",
        /// What failed.
        Error = "error",
        /// What someone should look at.
        Warn = "warn",
        /// What an operator wants to know of a normal day.
        Info = "info",
        /// What helps to follow one request.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How a line looks.
    pub enum Format {
        /// For people; coloured on a terminal.
        Text = "text",
        /// One object a line, for collectors.
        Json = "json",
    }
}

section! {
    /// The log on standard error.
    pub struct LogSettings {
        /// How a line looks.
        pub format: Format [restart] = Format::Text,
        /// The least severe events that are logged.
        pub level: Level = Level::Info,
        /// Levels of services that differ: `dhcp = "debug"`. Of `sdwan`, `controller` and `follower` may have others: what sites are told here, and what this site is told.
        pub services: BTreeMap<String, Level>,
    }
    check known_services;
}

fn known_services(settings: &LogSettings, at: &mut At<'_>) {
    for service in settings.services.keys().filter(|service| names().all(|name| name != service.as_str())) {
        let fault = Fault::new("there is no such service").expected(format!("one of {}", known()));
        at.fault(&format!("services.{service}"), fault);
    }
}

impl LogSettings {
    /// The levels as [`Logs`] takes them.
    pub fn levels(&self) -> Levels {
        Levels { default: self.level, services: self.services.clone() }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse()
            .map_err(|_| D::Error::custom(format!("`{word}` is not a log level; expected {}", Self::expected())))
    }
}

/// The level of everything, and of the services that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// For every service that is not named.
    pub default: Level,
    /// By service: see [`names`].
    #[serde(default)]
    pub services: BTreeMap<String, Level>,
}

impl Levels {
    /// That of a service, or of a part of one.
    pub fn of(&self, name: &str) -> Level {
        let whole = PARTS.iter().find(|(part, ..)| *part == name).and_then(|(_, whole, _)| self.services.get(*whole));
        self.services.get(name).or(whole).copied().unwrap_or(self.default)
    }
}

/// Why logging is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such service.
    #[error("there is no service `{0}` to log; expected one of {names}", names = known())]
    UnknownService(String),
    /// Another part of the process already logs.
    #[error("logging was already started: {0}")]
    Started(#[from] SetGlobalDefaultError),
    /// The subscriber is gone.
    #[error("the log level cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Changes levels while running. Clones share them.
#[derive(Clone)]
pub struct Logs {
    levels: Arc<Mutex<Levels>>,
    filter: reload::Handle<Targets, Registry>,
}

impl Logs {
    /// Starts logging to standard error for the whole process.
    ///
    /// # Errors
    /// When a level names no service, or logging was started before.
    pub fn start(format: Format, levels: Levels) -> Result<Self, LogError> {
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (subscriber, logs) = Self::subscriber(format, colour, levels, std::io::stderr)?;
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(logs)
    }

    fn subscriber<W>(
        format: Format,
        colour: bool,
        levels: Levels,
        writer: W,
    ) -> Result<(impl Subscriber + Send + Sync, Self), LogError>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(targets(&levels)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
        let lines = match format {
            Format::Text => lines.boxed(),
            Format::Json => lines.json().flatten_event(true).boxed(),
        };
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        Ok((subscriber, Self { levels: Arc::new(Mutex::new(levels)), filter: handle }))
    }

    /// The levels now.
    pub fn levels(&self) -> Levels {
        self.levels.lock().clone()
    }

    /// Replaces every level at once.
    ///
    /// # Errors
    /// When a level names no service; then nothing changes.
    pub fn set(&self, levels: Levels) -> Result<(), LogError> {
        let mut current = self.levels.lock();
        self.filter.reload(targets(&levels)?)?;
        *current = levels;
        Ok(())
    }
}

/// Our crates log at their level; the libraries below them only warn.
fn targets(levels: &Levels) -> Result<Targets, LogError> {
    let mut targets = Targets::new()
        .with_default(LevelFilter::from(levels.default).min(LevelFilter::WARN))
        .with_target("outwork", LevelFilter::from(levels.default));
    for (service, level) in &levels.services {
        let target = match PARTS.iter().find(|(part, ..)| part == service) {
            Some((.., module)) => (*module).to_owned(),
            None if SERVICES.contains(&service.as_str()) => format!("outwork_{service}"),
            None => return Err(LogError::UnknownService(service.clone())),
        };
        targets = targets.with_target(target, LevelFilter::from(*level));
    }
    Ok(targets)
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::OFF,
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock())).unwrap()
        }
    }

    fn start(format: Format, levels: Levels) -> (impl Subscriber + Send + Sync, Logs, Buffer) {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, logs) = Logs::subscriber(format, false, levels, move || writer.clone()).unwrap();
        (subscriber, logs, buffer)
    }

    fn levels(default: Level, service: &str, level: Level) -> Levels {
        Levels { default, services: [(service.to_owned(), level)].into() }
    }

    #[test]
    fn a_service_logs_at_its_own_level_and_libraries_only_warn() {
        let (subscriber, _, buffer) = start(Format::Text, levels(Level::Info, "dhcp", Level::Debug));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "outwork_dhcp::engine", "dhcp debug");
            tracing::debug!(target: "outwork_store", "store debug");
            tracing::info!(target: "outwork_store", "store info");
            tracing::info!(target: "hyper", "hyper info");
            tracing::warn!(target: "hyper", "hyper warn");
        });
        let text = buffer.take();
        for (line, logged) in [
            ("dhcp debug", true),
            ("store debug", false),
            ("store info", true),
            ("hyper info", false),
            ("hyper warn", true),
        ] {
            assert_eq!(text.contains(line), logged, "{line} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "colours without a terminal");
    }

    #[test]
    fn web_and_cache_have_levels_of_their_own() {
        for (service, target) in [("web", "outwork_web::sql"), ("cache", "outwork_cache")] {
            let (_subscriber, logs, _) = start(Format::Text, levels(Level::Warn, service, Level::Debug));
            assert!(targets(&logs.levels()).unwrap().would_enable(target, &tracing::Level::DEBUG), "{service}");
        }
    }

    #[test]
    fn a_part_of_a_service_has_the_level_of_that_or_its_own() {
        use tracing::Level as Of;
        let both = Levels {
            default: Level::Info,
            services: [("sdwan".to_owned(), Level::Warn), ("controller".to_owned(), Level::Debug)].into(),
        };
        let filter = targets(&both).unwrap();
        assert!(filter.would_enable("outwork_sdwan::controller::session", &Of::DEBUG));
        assert!(!filter.would_enable("outwork_sdwan::follower", &Of::INFO), "as all of it");
        assert!(!filter.would_enable("outwork_sdwan::control", &Of::INFO), "a name that begins like that is another");
        let told = ["controller", "follower", "sdwan", "dhcp"].map(|name| both.of(name));
        assert_eq!(told, [Level::Debug, Level::Warn, Level::Warn, Level::Info]);
        assert!(names().any(|name| name == "controller"));
    }

    #[test]
    fn levels_change_while_running() {
        let (subscriber, logs, buffer) = start(Format::Text, LogSettings::default().levels());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "outwork_dhcp", "before");
            logs.set(levels(Level::Warn, "dhcp", Level::Trace)).unwrap();
            tracing::debug!(target: "outwork_dhcp", "after");
            tracing::info!(target: "outwork_admin", "quiet");
        });
        let text = buffer.take();
        assert!(!text.contains("before") && text.contains("after") && !text.contains("quiet"), "{text}");
        assert_eq!(logs.levels(), levels(Level::Warn, "dhcp", Level::Trace));
    }

    #[test]
    fn a_level_for_a_service_that_does_not_exist_is_refused_and_changes_nothing() {
        let (_subscriber, logs, _) = start(Format::Text, LogSettings::default().levels());
        let refused = logs.set(levels(Level::Trace, "dhpc", Level::Debug)).unwrap_err();
        assert!(refused.to_string().contains("dhpc") && refused.to_string().contains("dhcp, front"), "{refused}");
        assert_eq!(logs.levels(), LogSettings::default().levels());
    }

    #[test]
    fn the_file_is_told_which_service_it_misspelt() {
        let set = vec!["services.dhpc=debug".into(), "level=loud".into()];
        let sources = outwork_config::Sources { set, ..Default::default() };
        let faults = outwork_config::load::<LogSettings>(sources).unwrap_err();
        let keys: Vec<_> = faults.iter().map(Fault::key).collect();
        assert!(keys.contains(&"level"), "{keys:?}");
        let set = vec!["services.dhpc=debug".into()];
        let sources = outwork_config::Sources { set, ..Default::default() };
        let faults = outwork_config::load::<LogSettings>(sources).unwrap_err();
        assert!(faults.render(false).contains("dhcp, front"), "{}", faults.render(false));
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_of_the_event() {
        let (subscriber, _, buffer) = start(Format::Json, LogSettings::default().levels());
        tracing::subscriber::with_default(subscriber, || tracing::info!(target: "outwork_dhcp", subnet = 7, "full"));
        let line: serde_json::Value = serde_json::from_str(buffer.take().trim()).unwrap();
        assert_eq!((&line["subnet"], &line["message"], &line["level"]), (&7.into(), &"full".into(), &"INFO".into()));
    }
}

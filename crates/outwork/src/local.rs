//! Commands that need the configuration alone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use clap::CommandFactory;
use outwork_config::{Effective, Fault, Faults, Origin, toml_text};
use outwork_dhcp::import::kea::{Note, NoteKind};
use serde_json::{Value as Json, json};

use crate::certificates::{self, Judgement};
use crate::cli::{Cli, Global};
use crate::environment;
use crate::remarks;
use crate::settings::{self, PRACTICE_NAME, Settings, USUAL, is_below};
use crate::starting;
use crate::table::{Table, printable};

/// `outwork check`.
pub(crate) fn check(global: &Global, strict: bool) -> anyhow::Result<ExitCode> {
    let sources = settings::sources(global)?;
    let name = sources.file.as_ref().map_or_else(|| "the defaults".into(), |(path, _)| path.display().to_string());
    let is_practice = sources.file.as_ref().is_some_and(|(path, _)| path == Path::new(PRACTICE_NAME));
    let loaded = outwork_config::load::<Settings>(sources).and_then(|mut loaded| {
        let judgement = certificates::judge(&loaded.value, SystemTime::now());
        // What belongs to the practice configuration is made at the first start.
        let remarks = if is_practice { Vec::new() } else { remarks::of_things(&loaded.value) };
        let start = if is_practice { Judgement::default() } else { starting::judge(&loaded.value) };
        let warnings = judgement.warnings.into_iter().chain(start.warnings).chain(remarks);
        let missing = is_practice.then(|| (String::new(), no_configuration()));
        let warnings = warnings.chain(missing);
        let strays = environment::strays().into_iter().map(|remark| (String::new(), remark));
        warnings.chain(strays).for_each(|(key, warning)| loaded.warn(&key, warning));
        let mut faults = loaded.faults();
        judgement.faults.into_iter().chain(start.faults).for_each(|(key, fault)| faults.at(&key, fault));
        faults.or(loaded)
    });
    let is_refused = match &loaded {
        Ok(loaded) => strict && !loaded.warnings().is_empty(),
        Err(_) => true,
    };
    match loaded {
        Ok(loaded) if global.json => print_json(&loaded.warnings().iter().map(Fault::to_json).collect())?,
        Ok(loaded) => {
            for warning in loaded.warnings() {
                writeln!(anstream::stderr(), "{}", warning.render(true))?;
            }
            let count = match loaded.warnings().len() {
                0 => String::new(),
                1 => ", 1 warning".to_owned(),
                count => format!(", {count} warnings"),
            };
            writeln!(anstream::stdout(), "{name}: no faults{count}")?;
        }
        Err(faults) => {
            if global.json {
                print_json(&faults.to_json())?;
            } else {
                write!(anstream::stderr(), "{}", faults.render(true))?;
                writeln!(anstream::stderr(), "{}", places(&faults))?;
            }
        }
    }
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is said where there is no file to check.
fn no_configuration() -> Fault {
    let looked = USUAL.join(" or ");
    Fault::new(format!(
        "there is no configuration: no {looked}; what was checked is the built-in one, to practise with"
    ))
    .expected("a configuration file")
    .help("`outwork config init` writes one; --config names another place")
}

/// Where faults lie, and how many: `outwork.toml: 2 faults, --set dhcp.workers: 1 fault`.
pub(crate) fn places(faults: &Faults) -> String {
    let mut places: Vec<(String, usize)> = Vec::new();
    for fault in faults {
        let place = match fault.origin() {
            Origin::File(place) => place.file.display().to_string(),
            Origin::Default => "what nobody set".to_owned(),
            origin => origin.to_string(),
        };
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, count)) => *count += 1,
            None => places.push((place, 1)),
        }
    }
    let shown: usize = places.iter().map(|(_, count)| count).sum();
    let left_out = faults.len() - shown;
    let text =
        |(place, count): (String, usize)| format!("{place}: {count} {}", if count == 1 { "fault" } else { "faults" });
    let mut texts: Vec<_> = places.into_iter().map(text).collect();
    if left_out > 0 {
        texts.push(format!("and {left_out} more"));
    }
    texts.join(", ")
}

/// `outwork schema`.
pub(crate) fn schema() -> anyhow::Result<()> {
    print_json(&outwork_config::schema::<Settings>())
}

/// `outwork config show`.
pub(crate) fn show(global: &Global, below: Option<&str>, changed: bool) -> anyhow::Result<()> {
    let loaded = outwork_config::load::<Settings>(settings::sources(global)?)?;
    let mut entries = loaded.effective();
    entries.retain(|entry| below.is_none_or(|below| is_below(&entry.key, below)));
    if let Some(below) = below.filter(|_| entries.is_empty()) {
        anyhow::bail!("there is no key {below}; `outwork config show` shows them all");
    }
    entries.retain(|entry| !changed || entry.origin != Origin::Default);
    if global.json {
        let item =
            |entry: &Effective| json!({"key": entry.key, "value": entry.value, "origin": entry.origin.to_string()});
        return print_json(&entries.iter().map(item).collect());
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for entry in &entries {
        table.row([entry.key.clone(), toml_text(&entry.value), entry.origin.to_string()]);
    }
    table.write(&mut anstream::stdout(), "every key has its default")?;
    Ok(())
}

/// What the starter file shows before all keys.
const EXAMPLE: &str = include_str!("example.toml");

/// `outwork config init`.
pub(crate) fn init(global: &Global, file: &Path, force: bool) -> anyhow::Result<()> {
    let text = outwork_config::starter::<Settings>(EXAMPLE);
    if file == Path::new("-") {
        if global.json {
            return print_json(&json!({ "toml": text }));
        }
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let opened = options.open(file);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        anyhow::bail!("{} is there already; --force replaces it", file.display());
    }
    let written = opened.and_then(|mut to| to.write_all(text.as_bytes()).and_then(|()| to.sync_all()));
    written.with_context(|| format!("cannot write {}", file.display()))?;
    if global.json {
        return print_json(&json!({ "file": file }));
    }
    writeln!(anstream::stderr(), "wrote {}; `outwork check --config {}` checks it", file.display(), file.display())?;
    Ok(())
}

/// `outwork completions`.
pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "outwork", &mut text);
    io::stdout().write_all(&text)?;
    Ok(())
}

/// `outwork man`.
pub(crate) fn man(dir: Option<&Path>) -> anyhow::Result<()> {
    let command = Cli::command();
    match dir {
        Some(dir) => std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .with_context(|| format!("cannot write manual pages into {}", dir.display())),
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            io::stdout().write_all(&text)?;
            Ok(())
        }
    }
}

/// Prints data for a machine.
pub(crate) fn print_json(value: &Json) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    io::stdout().write_all(&text)?;
    Ok(())
}

/// `outwork import kea`. What could not be carried over goes to standard error, so that the file can go to standard output.
pub(crate) fn import_kea(global: &Global, file: &Path, output: Option<&Path>, force: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let conversion = outwork_dhcp::import::kea::convert(&text).with_context(|| format!("in {}", file.display()))?;
    let output = output.filter(|path| *path != Path::new("-"));
    match output {
        Some(path) if force => {
            std::fs::write(path, &conversion.toml).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Some(path) => write_new(path, &conversion.toml)?,
        None if !global.json => anstream::stdout().write_all(conversion.toml.as_bytes())?,
        None => {}
    }
    if global.json {
        let note = |note: &Note| json!({"path": note.path, "kind": note.kind.word(), "reason": note.reason});
        let notes: Vec<_> = conversion.notes.iter().map(note).collect();
        let toml = output.is_none().then_some(&conversion.toml);
        return print_json(&json!({"notes": notes, "toml": toml}));
    }
    let mut err = anstream::stderr();
    for note in &conversion.notes {
        writeln!(err, "{:<7}  {}: {}", note.kind.word(), printable(&note.path), printable(&note.reason))?;
    }
    let count = |kind| conversion.notes.iter().filter(|note| note.kind == kind).count();
    let (lost, changed) = (count(NoteKind::Lost), count(NoteKind::Changed));
    writeln!(err, "{}: {lost} lost, {changed} changed", file.display())?;
    Ok(())
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        anyhow::bail!("{} is there already; --force replaces it, `-` is standard output", path.display());
    }
    let written = opened.and_then(|mut to| to.write_all(text.as_bytes()).and_then(|()| to.sync_all()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// `outwork token create --offline`.
pub(crate) fn create_token(
    global: &Global,
    name: &str,
    role: crate::cli::Role,
    expires: Option<std::time::Duration>,
) -> anyhow::Result<()> {
    use outwork_store::{audit, tokens};
    let settings = settings::load(global)?.value;
    crate::compose::prepare_data_dir(&settings)?;
    let store = settings.store;
    let database = outwork_store::database::Database::open(&store.database(), &[])?;
    let role: tokens::Role = role.word().parse()?;
    let (name, now) = (name.to_owned(), SystemTime::now());
    let expires = expires.map(|expires| now + expires);
    let entry = audit::Entry {
        at: now,
        actor: "offline".to_owned(),
        origin: "cli".to_owned(),
        action: "token.create".to_owned(),
        target: name.clone(),
        succeeded: true,
        detail: format!("role {}", role.word()),
    };
    // The token and its row, or neither.
    let created = database.call(move |db| {
        let transaction = db.transaction()?;
        let created = tokens::create(&transaction, &name, role, expires, now);
        if created.is_ok() {
            audit::append(&transaction, &entry)?;
            transaction.commit()?;
        }
        Ok(created)
    });
    let (token, secret) = created.wait()??;
    database.close();
    if global.json {
        let answer = json!({"token": secret.expose(), "id": token.id, "name": token.name, "role": token.role.word()});
        return print_json(&answer);
    }
    writeln!(anstream::stderr(), "token {} of role {}; it is shown this once:", token.name, token.role.word())?;
    writeln!(anstream::stdout(), "{}", secret.expose())?;
    Ok(())
}

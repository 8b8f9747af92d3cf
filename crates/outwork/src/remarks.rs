//! What is said of the front door and of what it serves that can be used, and may not do what was meant.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault};
use outwork_front::config::Listener;
use outwork_front::route::hidden;
use outwork_web::sql::address::Address;

use crate::routes::FrontSettings;
use crate::settings::Settings;

/// Remarks on listeners and routes, which see each other.
pub(crate) fn of_front(front: &FrontSettings, at: &mut At<'_>) {
    // Of what could not be read nobody knows what it would be beside the others.
    if at.left_out().any(|key| key.starts_with("listener") || key.starts_with("route")) {
        return;
    }
    routes_are_there(front, at);
    listeners_are_apart(&front.listener, at);
    routes_answer(front, at);
}

fn routes_are_there(front: &FrontSettings, at: &mut At<'_>) {
    let asks = |listener: &Listener| listener.redirect_https.0.is_none();
    if let Some(index) = front.listener.iter().position(asks).filter(|_| front.route.is_empty()) {
        let warning = Fault::new("every request is answered 404: there is no route").expected("a [[front.route]]");
        let help = "add a [[front.route]] with path = \"/*\" and what answers; `outwork config init` writes an example";
        at.warn(&format!("listener[{index}]"), warning.help(help));
    }
}

fn listeners_are_apart(listeners: &[Listener], at: &mut At<'_>) {
    for (index, listener) in listeners.iter().enumerate() {
        let key = format!("listener[{index}].address");
        let before = || listeners.iter().take(index).enumerate();
        if let Some((other, one)) = before().find(|(_, one)| is_same(one.address, listener.address)) {
            let found = format!("front.listener[{other}] has this address, too: connections go to either");
            let fault = Fault::new(found).expected("an address and port of its own");
            // The kernel shares connections out between them, and clients would not know what they get.
            let alike =
                (&one.tls, &one.hsts, &one.redirect_https) == (&listener.tls, &listener.hsts, &listener.redirect_https);
            match alike {
                true => at.warn(&key, fault.help("take one of them out")),
                false => at.fault(&key, fault.help("take one of them out, or give it another port")),
            }
        } else if let Some((other, one)) = before().find(|(_, one)| is_within(one.address, listener.address)) {
            let (narrow, wide, at_wide) = match listener.address.ip().is_unspecified() {
                true => (one.address, "this one", listener.address),
                false => (listener.address, "the other", one.address),
            };
            let found = format!(
                "front.listener[{other}] listens at {}: connections to {narrow} go past {wide}, {at_wide}",
                one.address
            );
            at.warn(&key, Fault::new(found).help("take one of them out, unless that is what they are for"));
        }
    }
}

/// Whether two listeners have one address. Port 0 is another one each time.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one == other && one.port() != 0
}

/// Whether one of them listens on every address of its family, and the other on one of these. IPv6 does not bring IPv4 along.
fn is_within(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && one.ip().is_unspecified() != other.ip().is_unspecified()
}

fn routes_answer(front: &FrontSettings, at: &mut At<'_>) {
    let conditions: Vec<_> = front.route.iter().map(|route| route.conditions()).collect();
    for (index, by) in hidden(&conditions) {
        let Some(other) = front.route.get(by) else { continue };
        let found =
            format!("this route never answers: front.route[{by}], {}, answers all of its requests", other.name());
        let warning = Fault::new(found).expected("hosts, a path, methods or header fields that no route before it has");
        at.warn(
            &format!("route[{index}].path"),
            warning.help("take one of them out; names in braces tell no paths apart"),
        );
    }
}

/// Remarks on the folders and files of databases that are served, by key. They are looked at.
pub(crate) fn of_files(settings: &Settings) -> Vec<(String, Fault)> {
    const NO_FOLDER: &str = "make it, or name another one: the server does not start without it";
    const NO_FILE: &str =
        "make it, with sqlite3 say: the server makes none, and answers its queries with an error until it is there";
    let mut remarks = Vec::new();
    for (index, route) in settings.front.route.iter().enumerate() {
        if let Some(files) = &route.files {
            let remark = missing(&files.root, true, NO_FOLDER);
            remarks
                .extend(remark.map(|remark| (format!("front.route[{index}].files.root"), remark.expected("a folder"))));
        }
    }
    for (name, database) in &settings.web.database {
        if let Address::Sqlite(path) = &database.url {
            let key = format!("{}.url", join_key("web.database", name));
            let remark = missing(path, false, NO_FILE);
            remarks.extend(remark.map(|remark| (key, remark.expected("a file of SQLite's"))));
        }
    }
    remarks
}

/// Why there is no such folder or file; `not_there` says what to do where nothing is.
fn missing(path: &Path, folder: bool, not_there: &str) -> Option<Fault> {
    let shown = path.display();
    let (found, help) = match path.metadata() {
        Ok(found) if found.is_dir() == folder => return None,
        Ok(found) => {
            let kind = if found.is_dir() { "a folder" } else { "no folder" };
            (format!("{shown} is {kind}"), "name another one")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (format!("{shown} is not there"), not_there),
        Err(error) => {
            (format!("{shown} cannot be looked at: {error}"), "check as the user that the server runs as, or as root")
        }
    };
    Some(Fault::new(found).help(help))
}

//! What is said of the front door and of what it serves that can be used, and may not do what was meant.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault};
use outwork_front::config::{Listener, RedirectHttps};
use outwork_front::route::hidden;
use outwork_web::config::Files;
use outwork_web::sql::address::Address;
use outwork_web::sql::examine::{Finding, Of, examine};

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
    certificates_are_asked_for(front, at);
}

fn certificates_are_asked_for(front: &FrontSettings, at: &mut At<'_>) {
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
    if front.listener.iter().any(asks) {
        return;
    }
    let general = [("client_certificate".to_owned(), front.shared())];
    let routes = front.route.iter().enumerate();
    let routes = routes.map(|(index, route)| (format!("route[{index}].client_certificate"), route.shared()));
    for (key, shared) in general.into_iter().chain(routes) {
        if shared.client_certificate.is_some_and(|certified| certified.enabled) {
            let found = "every request is answered 403: no listener asks clients for certificates";
            let warning = Fault::new(found).expected("a listener with tls.client_auth");
            at.warn(
                &key,
                warning.help("add client_auth = { ca = \"FILE\", mode = \"optional\" } to the tls of a listener"),
            );
        }
    }
}

fn routes_are_there(front: &FrontSettings, at: &mut At<'_>) {
    let asks = |listener: &Listener| listener.redirect_https == RedirectHttps::Off;
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

/// Remarks on what lies on disks and in databases, by key. It is looked at.
pub(crate) fn of_things(settings: &Settings) -> Vec<(String, Fault)> {
    let mut remarks = of_files(settings);
    remarks.extend(of_queries(settings));
    remarks
}

/// Remarks on the folders that are served, on the files of databases, and on where the access log is to be.
fn of_files(settings: &Settings) -> Vec<(String, Fault)> {
    const NO_FOLDER: &str = "make it, or name another one: the server does not start without it";
    const NO_FILE: &str =
        "make it, with sqlite3 say: the server makes none, and answers its queries with an error until it is there";
    let mut remarks = Vec::new();
    for (index, route) in settings.front.route.iter().enumerate() {
        let Some(files) = &route.files else { continue };
        let key = format!("front.route[{index}].files");
        match missing(&files.root, true, NO_FOLDER) {
            Some(remark) => remarks.push((format!("{key}.root"), remark.expected("a folder"))),
            None => remarks.extend(of_error_pages(&key, files)),
        }
    }
    for (name, database) in &settings.web.database {
        if let Address::Sqlite(path) = &database.url {
            let key = format!("{}.url", join_key("web.database", name));
            let remark = missing(path, false, NO_FILE);
            remarks.extend(remark.map(|remark| (key, remark.expected("a file of SQLite's"))));
        }
    }
    if let Some(file) = settings.front.access_log.as_ref().and_then(|log| log.file.as_ref()) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let remark = folder.and_then(|folder| missing(folder, true, NO_FOLDER));
        let remark = remark.map(|remark| remark.expected("a file in a folder that is there"));
        remarks.extend(remark.map(|remark| ("front.access_log.file".to_owned(), remark)));
    }
    remarks
}

/// Remarks on the pages of errors, which may be made of other files.
fn of_error_pages(key: &str, files: &Files) -> Vec<(String, Fault)> {
    let is_made = |page: &str| {
        let bundles = files.assets.iter().flat_map(|assets| &assets.concatenation.patterns);
        bundles.into_iter().any(|bundle| bundle.path == page)
    };
    let pages = files.error_pages.iter().filter(|(_, page)| !is_made(page));
    let remark = |(statuses, page): (&String, &String)| {
        let help = "make it, or name another one: until it is there, the error has no page of its own";
        let remark = missing(&files.root.join(page.trim_start_matches('/')), false, help)?;
        Some((join_key(&format!("{key}.error_pages"), statuses), remark.expected("a file below the folder")))
    };
    pages.filter_map(remark).collect()
}

/// Remarks on queries, which their databases are asked to prepare.
fn of_queries(settings: &Settings) -> Vec<(String, Fault)> {
    let routes = settings.front.route.iter().enumerate();
    let prepared = routes.filter_map(|(index, route)| Some((index, route.prepared(&settings.web)?)));
    let (indexes, queries): (Vec<usize>, Vec<_>) = prepared.unzip();
    let remark = |Finding { of, why }: Finding| match of {
        Of::Query(place) => {
            let index = indexes.get(place).copied().unwrap_or_default();
            let remark =
                Fault::new(format!("its database does not take this: {why}")).expected("SQL that it can prepare");
            let help = "correct the SQL, or make what it names: until then the route answers with an error";
            (format!("front.route[{index}].query.sql"), remark.help(help))
        }
        Of::Database(name) => {
            let remark = Fault::new(format!("its queries were not looked at: {why}"));
            let help = "check where it can be reached: until then its queries are answered with an error";
            (format!("{}.url", join_key("web.database", &name)), remark.help(help))
        }
    };
    examine(&settings.web, &queries).into_iter().map(remark).collect()
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

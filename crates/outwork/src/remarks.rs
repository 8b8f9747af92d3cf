//! What is said of the front door and of what it serves that can be used, and may not do what was meant.

pub(crate) mod acceleration;
pub(crate) mod buffers;
pub(crate) mod layer4;
pub(crate) mod loops;
pub(crate) mod processors;
mod routes;
mod tokens;
mod tunnels;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault};
use outwork_front::config::{Listener, RedirectHttps};
use outwork_front::route::hidden;
use outwork_net::descriptors;
use outwork_web::config::{Candidate, Files};
use outwork_web::sql::address::Address;
use outwork_web::sql::examine::{Finding, Of, examine};

use crate::routes::FrontSettings;
use crate::settings::Settings;
use crate::starting::AS_WHOM;

/// Remarks on listeners and routes, which see each other.
pub(crate) fn of_front(front: &FrontSettings, at: &mut At<'_>) {
    // Of what could not be read nobody knows what it would be beside the others.
    if at.left_out().any(|key| key.starts_with("listener") || key.starts_with("route")) {
        return;
    }
    routes_are_there(front, at);
    connections_have_room(front, at);
    listeners_are_apart(&front.listener, at);
    routes_answer(front, at);
    certificates_are_asked_for(front, at);
    tokens::can_be_sent(front, at);
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

fn connections_have_room(front: &FrontSettings, at: &mut At<'_>) {
    let (wanted, room) = (front.limits.max_connections as usize, descriptors::room_for_connections());
    // The default is only what there may be at most.
    if at.is_set("limits.max_connections") && wanted > room {
        let found = format!(
            "{wanted} connections may be open, and this process may open files for {room}: there will be no more than that"
        );
        let help = "raise the hard limit (LimitNOFILE= in a systemd unit, `ulimit -Hn` in a shell), or ask for fewer connections";
        at.warn("limits.max_connections", Fault::new(found).help(help));
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

/// Refuses listeners that the admin API leaves no place for: it has its addresses for itself.
pub(crate) fn admin_is_apart(settings: &Settings, at: &mut At<'_>) {
    if at.left_out().any(|key| key.starts_with("admin.listen") || key.starts_with("front.listener")) {
        return;
    }
    for (index, listener) in settings.front.listener.iter().enumerate() {
        let own = settings.admin.listen.iter().position(|admin| takes(*admin, listener.address));
        if let Some(own) = own {
            let fault = Fault::new(format!("the admin API listens there (admin.listen[{own}])"));
            let help = "give one of them another port; what is unset listens at 127.0.0.1:8067";
            let fault = fault.expected("an address and port of its own").help(help);
            at.fault(&format!("front.listener[{index}].address"), fault);
        }
    }
}

/// Whether a socket at `one` keeps another process, or another kind of socket, from having one at `other`.
fn takes(one: SocketAddr, other: SocketAddr) -> bool {
    // Here IPv6 brings IPv4 along.
    let every = |address: SocketAddr| address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    is_same(one, other) || is_within(one, other) || every(one) && one.port() == other.port() && one.port() != 0
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
    routes::guards_are_asked(front, &conditions, at);
    routes::caches_see_changes(front, at);
    routes::pools_have_what_lies_below(front, at);
}

/// Remarks on what lies on disks and in databases, and on the kernel, by key. It is looked at.
pub(crate) fn of_things(settings: &Settings) -> Vec<(String, Fault)> {
    let mut remarks = of_files(settings);
    remarks.extend(routes::of_prefixes(settings));
    remarks.extend(tokens::of_secrets(settings));
    remarks.extend(of_queries(settings));
    remarks.extend(acceleration::of_kernel(settings));
    remarks.extend(tunnels::of_routes(settings));
    remarks.extend(tunnels::of_families(settings));
    remarks.extend(tunnels::of_answers(settings));
    remarks
}

/// What to do where a folder is missing.
pub(crate) const NO_FOLDER: &str = "make it, or name another one: the server does not start without it";

/// Remarks on what may be missing in folders that are served, and on the files of databases.
fn of_files(settings: &Settings) -> Vec<(String, Fault)> {
    const NO_FILE: &str =
        "make it, with sqlite3 say: the server makes none, and answers its queries with an error until it is there";
    let mut remarks = Vec::new();
    for (index, route) in settings.front.route.iter().enumerate() {
        let Some(files) = &route.files else { continue };
        let key = format!("front.route[{index}].files");
        if files.root.is_dir() {
            remarks.extend(of_fixed_files(&key, files));
        }
    }
    for (name, database) in &settings.web.database {
        if let Address::Sqlite(path) = &database.url {
            let key = format!("{}.url", join_key("web.database", name));
            let remark = missing(path, false, NO_FILE);
            remarks.extend(remark.map(|missing| (key, missing.fault.expected("a file of SQLite's"))));
        }
    }
    remarks
}

/// Remarks on files that settings name: the pages of errors, and what paths are taken for that are nothing else. They may be made of other files.
fn of_fixed_files(key: &str, files: &Files) -> Vec<(String, Fault)> {
    const NO_PAGE: &str = "make it, or name another one: until it is there, the error has no page of its own";
    const NO_FALLBACK: &str = "make it, or name another one: until it is there, what would get it is answered 404";
    let is_made = |page: &str| {
        let bundles = files.assets.iter().flat_map(|assets| &assets.concatenation.patterns);
        bundles.into_iter().any(|bundle| bundle.path == page)
    };
    let pages = files.error_pages.iter();
    let pages = pages.map(|(statuses, page)| (join_key(&format!("{key}.error_pages"), statuses), page, NO_PAGE));
    let tried = files.r#try.iter().enumerate().filter_map(|(index, candidate)| match candidate {
        Candidate::Fixed(path) => Some((format!("{key}.try[{index}]"), path, NO_FALLBACK)),
        Candidate::File(_) | Candidate::Folder => None,
    });
    let remark = |(key, path, help): (String, &String, &str)| {
        let missing = missing(&files.root.join(path.trim_start_matches('/')), false, help)?;
        Some((key, missing.fault.expected("a file below the folder")))
    };
    pages.chain(tried).filter(|(_, path, _)| !is_made(path)).filter_map(remark).collect()
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

/// A folder or file that is not there.
pub(crate) struct Missing {
    pub(crate) fault: Fault,
    /// Whether this user may not look, so that it may be there.
    pub(crate) is_denial: bool,
}

/// Why there is no such folder or file; `not_there` says what to do where nothing is.
pub(crate) fn missing(path: &Path, folder: bool, not_there: &str) -> Option<Missing> {
    let (shown, mut is_denial) = (path.display(), false);
    let (found, help) = match path.metadata() {
        Ok(found) if found.is_dir() == folder => return None,
        Ok(found) => {
            let kind = if found.is_dir() { "a folder" } else { "no folder" };
            (format!("{shown} is {kind}"), "name another one")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (format!("{shown} is not there"), not_there),
        Err(error) => {
            is_denial = error.kind() == io::ErrorKind::PermissionDenied;
            (format!("{shown} cannot be looked at: {error}"), AS_WHOM)
        }
    };
    Some(Missing { fault: Fault::new(found).help(help), is_denial })
}

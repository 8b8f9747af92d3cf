//! What is said of routes beside other routes: guards that are passed by, caches that do not see what is written, and pools that get one path alone.

use std::collections::BTreeMap;

use outwork_config::{At, Fault};
use outwork_front::filter::config::Shared;
use outwork_front::route::{Conditions, Passed, Probes};
use outwork_web::config::Candidate;

use crate::routes::{FrontSettings, Route};
use crate::settings::Settings;

/// Remarks on routes that guard something, and are not asked for all of it.
pub(super) fn guards_are_asked(front: &FrontSettings, conditions: &[Conditions], at: &mut At<'_>) {
    let probes = Probes::new(conditions);
    for (index, route) in front.route.iter().enumerate() {
        for (key, has) in guards(&route.shared()) {
            let is_open = |passed: &Passed| {
                let other = front.route.get(passed.by)?;
                // Who says something of its own means it.
                let guarded = guards(&other.shared().over(front.shared())).contains(&(key, true));
                (!guarded && (other.files.is_some() || other.query.is_some())).then_some(other)
            };
            let past = if has { probes.past(index) } else { Vec::new() };
            let open = past.iter().find_map(|passed| Some((passed, is_open(passed)?)));
            if let Some((passed, other)) = open {
                at.warn(&format!("route[{index}].{key}"), passed_by(passed, other, route));
            }
        }
    }
}

/// What guards a route, and whether it has that.
fn guards(shared: &Shared<'_>) -> [(&'static str, bool); 4] {
    let guards = ["basic_auth", "jwt", "forward_auth", "addresses"];
    guards.map(|guard| (guard, shared.named().contains(&(guard, true))))
}

fn passed_by(Passed { by, host, path }: &Passed, other: &Route, route: &Route) -> Fault {
    let found =
        format!("requests such as {host}{path} go past this: front.route[{by}], {}, answers them", other.name());
    let is_below = path.starts_with(&format!("{}-", route.path)) && route.path.to_string().ends_with('/');
    let help = match is_below {
        true => format!("write path = \"{}*\" if what lies below is meant, too", route.path),
        false => format!("give this route the host of that one, too (host = [\"{host}\"]): a host comes before a path"),
    };
    Fault::new(found).expected("a guard before everything that its path fits").help(help)
}

/// Remarks on answers of queries that are kept by URL while other routes change what they are made of.
pub(super) fn caches_see_changes(front: &FrontSettings, at: &mut At<'_>) {
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, route) in front.route.iter().enumerate() {
        if let Some(query) = route.query.as_ref().filter(|query| query.write) {
            written.entry(&query.database).or_insert(index);
        }
    }
    for (index, route) in front.route.iter().enumerate() {
        let Some(query) = route.query.as_ref().filter(|query| !query.write) else { continue };
        let is_cached = route.cache.as_ref().is_some_and(|cache| cache.enabled);
        if let Some(writer) = written.get(query.database.as_str()).filter(|_| is_cached) {
            let found = format!(
                "what front.route[{writer}] writes is not seen here until the time of what is kept is over: answers are kept by their URL"
            );
            let help = "write query = { ..., cache = { ttl = \"1m\" } } in place of cache: results are forgotten with the tables \
                        that they are made of";
            at.warn(&format!("route[{index}].cache"), Fault::new(found).help(help));
        }
    }
}

/// Remarks on pools that get one path and nothing that lies below it, which nobody else gets either.
pub(super) fn pools_have_what_lies_below(front: &FrontSettings, at: &mut At<'_>) {
    for (index, route) in front.route.iter().enumerate() {
        let passes_on = route.proxy.as_ref().is_some_and(|forward| !forward.connect);
        // Who says more of the requests than their path means that one thing, as who names a file does.
        let is_one_thing = !route.methods.is_empty()
            || !route.headers.is_empty()
            || route.path.to_string().rsplit('/').next().is_some_and(|last| last.contains('.'));
        let Some(below) = route.path.below().filter(|_| passes_on && !is_one_thing) else { continue };
        let has_host = |other: &Route| other.host.is_empty() || other.host.iter().any(|host| route.host.contains(host));
        let has_some =
            |(number, other): (usize, &Route)| number != index && has_host(other) && other.path.meets(&below);
        if front.route.iter().enumerate().any(has_some) {
            continue;
        }
        let such = below.to_string().replace('*', "-");
        let found = format!("this is one path alone: what lies below it, such as {such}, is answered 404");
        let help = format!(
            "add a route with path = \"{below}\" if what lies below is meant, too; if it is not, say which methods this one has"
        );
        at.warn(&format!("route[{index}].path"), Fault::new(found).expected("a path that ends with /*").help(help));
    }
}

/// Remarks on folders that have nothing at the path of their route: a file is looked for by the whole path.
pub(super) fn of_prefixes(settings: &Settings) -> Vec<(String, Fault)> {
    let mut remarks = Vec::new();
    for (index, route) in settings.front.route.iter().enumerate() {
        let (Some(files), Some(folder), None) = (&route.files, route.path.folder(), &route.rewrite) else { continue };
        let is_made = || {
            let patterns = files.assets.iter().flat_map(|assets| &assets.concatenation.patterns);
            patterns.into_iter().any(|bundle| bundle.path.starts_with(&format!("/{folder}/")))
        };
        let falls_back = files.r#try.iter().any(|one| matches!(one, Candidate::Fixed(_)));
        if files.root.is_dir() && !files.root.join(&folder).exists() && !falls_back && !is_made() {
            let root = files.root.display();
            let found = format!(
                "there is no {folder} in {root}, where files are looked for by the whole path: all are answered 404"
            );
            let fault = Fault::new(found).expected("a folder that has the path of the route in it");
            let help =
                format!("write rewrite = {{ strip_prefix = \"/{folder}\" }} beside files, or name the folder above it");
            remarks.push((format!("front.route[{index}].files.root"), fault.help(help)));
        }
    }
    remarks
}

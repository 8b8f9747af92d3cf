//! Licences and duplicates, judged by `deny.toml` as cargo-deny would, without needing it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{list, metadata, root, text};

fn policy() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

fn strings(policy: &toml::Table, section: &str, key: &str) -> Vec<String> {
    policy[section][key].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// What is built here: resolved packages that are not ours.
fn foreign(metadata: &Json) -> Vec<&Json> {
    let used: BTreeSet<_> = list(&metadata["resolve"], "nodes").iter().map(|node| text(node, "id")).collect();
    let packages = list(metadata, "packages").iter();
    packages.filter(|package| used.contains(text(package, "id")) && package["source"].is_string()).collect()
}

/// Whether an SPDX expression can be met with `allowed` licences alone. `/` is the old way to write OR.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced =
        expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{a0}WITH\u{a0}");
    let mut words = spaced.split(' ').filter(|word| !word.is_empty()).peekable();
    any(&mut words, allowed)
}

fn any<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, allowed: &[String]) -> bool {
    let mut good = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        good |= all(words, allowed);
    }
    good
}

fn all<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, allowed: &[String]) -> bool {
    let mut good = true;
    loop {
        good &= match words.next().unwrap() {
            "(" => {
                let inner = any(words, allowed);
                assert_eq!(words.next(), Some(")"));
                inner
            }
            licence => allowed.contains(&licence.replace('\u{a0}', " ")),
        };
        if words.next_if_eq(&"AND").is_none() {
            return good;
        }
    }
}

#[test]
fn every_dependency_is_under_an_allowed_licence() {
    let (metadata, allowed) = (metadata(), strings(&policy(), "licenses", "allow"));
    let refused: Vec<_> = foreign(&metadata)
        .into_iter()
        .filter(|package| !package["license"].as_str().is_some_and(|licence| satisfied(licence, &allowed)))
        .map(|package| format!("{} {}: {}", text(package, "name"), text(package, "version"), package["license"]))
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml:\n{}", refused.join("\n"));
}

#[test]
fn an_expression_of_licences_is_read_as_spdx_means_it() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "GPL-3.0 AND MIT", "MIT AND (GPL-3.0 OR Zlib)", "Apache-2.0", "GPL-3.0 OR ISC AND Zlib"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}

#[test]
fn no_dependency_is_built_twice_unless_deny_toml_says_why() {
    let metadata = metadata();
    let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for package in foreign(&metadata) {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    let skipped = strings(&policy(), "bans", "skip");
    let covers = |skip: &str, name: &str, version: &str| {
        skip.split_once('@').is_some_and(|(skipped, prefix)| {
            skipped == name && version.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    for (name, versions) in &versions {
        let left: Vec<_> =
            versions.iter().filter(|version| !skipped.iter().any(|skip| covers(skip, name, version))).collect();
        assert!(left.len() < 2, "{name} is built in {left:?}: bring them together, or skip one in deny.toml");
    }
    for skip in &skipped {
        let needed = versions
            .iter()
            .any(|(name, versions)| versions.len() > 1 && versions.iter().any(|version| covers(skip, name, version)));
        assert!(needed, "deny.toml skips {skip}, which nothing duplicates any more");
    }
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let metadata = metadata();
    for package in foreign(&metadata) {
        let source = text(package, "source");
        assert!(source.starts_with("registry+"), "{} comes from {source}", text(package, "name"));
    }
}

#[test]
fn every_dependency_that_is_declared_is_used() {
    let table = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let names = |table: Option<&toml::Value>| -> BTreeSet<String> {
        table.and_then(toml::Value::as_table).into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let mut used = BTreeSet::new();
    for krate in std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()) {
        let manifest = table(krate.join("Cargo.toml"));
        let mut sources = String::new();
        read_sources(&krate, &mut sources);
        let words: BTreeSet<_> = sources.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in names(manifest.get(kind)) {
                assert!(words.contains(name.replace('-', "_").as_str()), "{} does not use {name}", krate.display());
                used.insert(name);
            }
        }
    }
    let declared = names(table(root().join("Cargo.toml"))["workspace"].get("dependencies"));
    // Crates of our own are declared for whoever may lean on them.
    let unused: Vec<_> = declared.difference(&used).filter(|name| !name.starts_with("outwork-")).collect();
    assert!(unused.is_empty(), "no crate depends on {unused:?}");
}

fn read_sources(dir: &std::path::Path, text: &mut String) {
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            read_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

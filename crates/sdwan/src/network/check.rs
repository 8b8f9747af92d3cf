//! What is wrong with documents, by document and field, and what they say together.

use std::path::PathBuf;

use outwork_config::expansion::join_key;
use outwork_config::{Fault, Sources, load, toml_text};
use serde_json::{Value as Json, json};

use super::{Documents, Kind};
use crate::config::network::NetworkSettings;

/// Something that is wrong with a document.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentFault {
    /// Which document; none where it is none of them alone.
    pub of: Option<(Kind, String)>,
    /// The field; empty where it is the whole document.
    pub field: String,
    /// What is wrong.
    pub found: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl DocumentFault {
    /// For a machine.
    pub fn to_json(&self) -> Json {
        let (kind, id) = self.of.as_ref().map(|(kind, id)| (kind.word(), id.as_str())).unzip();
        json!({
            "kind": kind, "id": id, "key": self.field, "found": self.found, "expected": self.expected,
            "help": self.help, "severity": "error",
        })
    }

    /// Whether it is about this document.
    pub fn is_of(&self, kind: Kind, id: &str) -> bool {
        self.of.as_ref().is_some_and(|(other, of)| *other == kind && of == id)
    }
}

impl std::fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((kind, id)) = &self.of {
            write!(f, "{kind} {id}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.found)?;
        self.expected.as_ref().map_or(Ok(()), |expected| write!(f, "; expected {expected}"))
    }
}

/// What documents say together.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(documents: &Documents) -> Result<NetworkSettings, Vec<DocumentFault>> {
    let mut faults: Vec<DocumentFault> =
        documents.iter().filter_map(|(kind, id, body)| misplaced(documents, kind, id, body)).collect();
    let Composed { text, places } = Composed::of(documents);
    let sources = Sources { file: Some((PathBuf::from("network"), text)), ..Sources::default() };
    match load::<NetworkSettings>(sources) {
        Ok(loaded) if faults.is_empty() => Ok(loaded.value),
        Ok(_) => Err(faults),
        Err(found) => {
            faults.extend(found.iter().map(|fault| placed(fault, &places)));
            Err(faults)
        }
    }
}

/// What of the section `sdwan` can be said for all sites.
const FIELDS: [&str; 3] = ["health", "default_class", "qos"];

/// What of an uplink is said to the controller alone: whether it stays though its site names it no longer.
pub const PINNED: &str = "pinned";

/// What a document is wrong about that the settings do not show: who it is, and whose.
fn misplaced(documents: &Documents, kind: Kind, id: &str, body: &Json) -> Option<DocumentFault> {
    let fault = |field: &str, found: String, expected: &str| {
        let (field, expected) = (field.to_owned(), Some(expected.to_owned()));
        Some(DocumentFault { of: Some((kind, id.to_owned())), field, found, expected, help: None })
    };
    if !body.is_object() {
        return fault("", format!("a {kind} is written as an object"), "an object");
    }
    match kind.id_of(body) {
        None => return fault("name", "it has no name".to_owned(), "a text"),
        Some(own) if own != id => return fault("name", format!("{own:?} is not {id:?}"), "the name that it has"),
        Some(_) => {}
    }
    if kind == Kind::Settings {
        let stray = body.as_object()?.keys().find(|field| !FIELDS.contains(&field.as_str()))?;
        let expected = FIELDS.join(", ");
        return fault(stray, "this is said by each site's own file alone".to_owned(), &format!("one of {expected}"));
    }
    if let Some(pinned) = body.get(PINNED).filter(|pinned| kind == Kind::Uplink && !pinned.is_boolean()) {
        return fault(PINNED, format!("found {pinned}"), "true or false");
    }
    let site = body.get("site").and_then(Json::as_str).unwrap_or_default();
    if kind == Kind::Uplink && documents.get(Kind::Site, site).is_none() {
        return fault("site", format!("no site is called {site:?}"), "the name of a site");
    }
    None
}

/// The text of a configuration, and where in it each document lies.
struct Composed {
    text: String,
    places: Vec<(String, Kind, String)>,
}

/// The fields of a document but some.
fn without(body: &Json, left_out: &[&str]) -> Json {
    let fields = body.as_object().into_iter().flatten();
    let stays = |name: &str| !left_out.contains(&name);
    Json::Object(fields.filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// A list of tables, each on a line of its own.
fn list(key: &str, tables: &[Json]) -> String {
    let tables: String = tables.iter().map(|table| format!("{},\n", toml_text(table))).collect();
    format!("{key} = [\n{tables}]\n")
}

impl Composed {
    fn of(documents: &Documents) -> Composed {
        let (mut places, mut sites, mut stated) = (vec![], vec![], vec![]);
        for (id, body) in documents.of(Kind::Site, "") {
            let at = format!("site[{}]", sites.len());
            let mut uplinks = vec![];
            let beginning = format!("{id}/");
            for (uplink, body) in documents.of(Kind::Uplink, &beginning) {
                places.push((format!("{at}.uplink[{}]", uplinks.len()), Kind::Uplink, uplink.to_owned()));
                uplinks.push(without(body, &["site", PINNED]));
            }
            let mut site = without(body, &["uplink"]);
            if body.get("subnets").is_some_and(|subnets| !subnets.is_null()) {
                stated.push(id);
            }
            site["uplink"] = Json::from(uplinks);
            places.push((at, Kind::Site, id.to_owned()));
            sites.push(site);
        }
        // Each document on a line of its own: where in the text a value lies is counted from the beginning of its line.
        let mut text = list("site", &sites);
        text.push_str(&format!("stated = {}\n", toml_text(&json!(stated))));
        for kind in [Kind::Class, Kind::Application] {
            for (id, body) in documents.of(kind, "") {
                let place = join_key(kind.word(), id);
                text.push_str(&format!("{place} = {}\n", toml_text(&without(body, &["name"]))));
                places.push((place, kind, id.to_owned()));
            }
        }
        let mut policies = vec![];
        for (id, body) in documents.of(Kind::Policy, "") {
            places.push((format!("policy[{}]", policies.len()), Kind::Policy, id.to_owned()));
            policies.push(body.clone());
        }
        text.push_str(&list("policy", &policies));
        for (id, body) in documents.of(Kind::Settings, "") {
            for (field, value) in FIELDS.into_iter().filter_map(|field| Some((field, body.get(field)?))) {
                if !value.is_null() {
                    text.push_str(&format!("{field} = {}\n", toml_text(value)));
                    places.push((field.to_owned(), Kind::Settings, id.to_owned()));
                }
            }
        }
        Composed { text, places }
    }
}

/// A fault of the settings as one of the document that it lies in.
fn placed(fault: &Fault, places: &[(String, Kind, String)]) -> DocumentFault {
    let below = |place: &str| {
        let rest = fault.key().strip_prefix(place)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then(|| rest.trim_start_matches('.').to_owned())
    };
    // The longest, for uplinks lie in sites.
    let found = places.iter().filter_map(|(place, kind, id)| {
        let below = below(place)?;
        // Of settings there is one document, and it has the words of the section.
        let field = if *kind == Kind::Settings { fault.key().to_owned() } else { below };
        Some((place.len(), field, (*kind, id.clone())))
    });
    let told = fault.to_json();
    let text = |field: &str| told[field].as_str().map(str::to_owned);
    let (field, of) = match found.max_by_key(|(length, ..)| *length) {
        Some((_, field, of)) => (field, Some(of)),
        None => (fault.key().to_owned(), None),
    };
    DocumentFault { of, field, found: fault.found().to_owned(), expected: text("expected"), help: text("help") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] =
        ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="];

    fn network(more: &[(Kind, Json)]) -> Documents {
        let mut documents = Documents::default();
        let uplink = |site: &str, key: &str| json!({ "site": site, "name": "fibre", "public_key": key });
        let given = [
            (Kind::Site, json!({ "name": "north", "subnets": ["10.1.0.0/16"] })),
            (Kind::Site, json!({ "name": "south", "subnets": ["10.2.0.0/16"] })),
            (Kind::Uplink, uplink("north", KEYS[0])),
            (Kind::Uplink, uplink("south", KEYS[1])),
            (Kind::Class, json!({ "name": "gold", "latency": "20ms" })),
            (Kind::Application, json!({ "name": "mail", "names": ["mail.test"] })),
        ];
        for (kind, body) in given.iter().chain(more) {
            documents.insert(*kind, kind.id_of(body).unwrap(), body.clone());
        }
        documents
    }

    fn faults(more: &[(Kind, Json)]) -> Vec<(String, String)> {
        let faults = check(&network(more)).unwrap_err();
        let of =
            |fault: DocumentFault| (fault.of.map(|(kind, id)| format!("{kind} {id}")).unwrap_or_default(), fault.field);
        faults.into_iter().map(of).collect()
    }

    fn at(of: &str, field: &str) -> (String, String) {
        (of.to_owned(), field.to_owned())
    }

    #[test]
    fn documents_say_together_what_the_sections_of_a_file_say() {
        let policy = json!({ "name": "mail", "applications": ["mail"], "class": "gold", "strategy": "ordered", "uplinks": ["fibre"] });
        let settings = check(&network(&[(Kind::Policy, policy)])).unwrap();
        let names: Vec<_> = settings.site.iter().map(|site| (site.name.as_str(), site.uplink.len())).collect();
        assert_eq!(names, [("north", 1), ("south", 1)]);
        assert_eq!(settings.class["gold"].latency, Some(std::time::Duration::from_millis(20)));
        assert_eq!((settings.policy[0].priority, settings.application["mail"].names.len()), (100, 1));
    }

    #[test]
    fn a_site_without_uplinks_is_no_fault_for_it_has_yet_to_come() {
        check(&network(&[(Kind::Site, json!({ "name": "east" }))])).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_by_document_and_field() {
        let policy =
            |name: &str, class: &str| (Kind::Policy, json!({ "name": name, "class": class, "ports": ["443"] }));
        assert_eq!(faults(&[policy("a", "gold"), policy("b", "silver")]), [at("policy b", "class")]);
        let odd = (Kind::Policy, json!({ "name": "c", "ports": ["0"], "colour": "red" }));
        let mut found = faults(&[odd]);
        found.sort();
        assert_eq!(found, [at("policy c", "colour"), at("policy c", "ports[0]")]);
        let twice = (Kind::Uplink, json!({ "site": "south", "name": "lte", "public_key": KEYS[0] }));
        assert_eq!(faults(&[twice]), [at("uplink south/lte", "public_key")]);
        let overlap = (Kind::Site, json!({ "name": "west", "subnets": ["10.1.0.0/16"] }));
        assert_eq!(faults(&[overlap]), [at("site west", "subnets[0]")]);
        let stray = (Kind::Uplink, json!({ "site": "nowhere", "name": "lte", "public_key": KEYS[0] }));
        assert_eq!(faults(&[stray]), [at("uplink nowhere/lte", "site")]);
        let slow = (Kind::Class, json!({ "name": "slow.one", "latency": "2h" }));
        assert_eq!(faults(&[slow]), [at("class slow.one", "latency")]);
    }

    #[test]
    fn settings_for_all_sites_are_looked_at_like_those_of_a_file() {
        let of = |body: Json| faults(&[(Kind::Settings, body)]);
        let good = json!({ "health": { "misses": 5 }, "default_class": "gold", "qos": { "class": { "gold": { "share": 0.1 } } } });
        let settings = check(&network(&[(Kind::Settings, good)])).unwrap();
        assert_eq!((settings.default_class.as_deref(), settings.qos.class.len()), (Some("gold"), 1));
        assert_eq!(of(json!({ "health": { "misses": 99 } })), [at("settings network", "health.misses")]);
        assert_eq!(of(json!({ "default_class": "silver" })), [at("settings network", "default_class")]);
        let shares = |share: f64| json!({ "qos": { "class": { "bulk": { "share": share } } } });
        assert_eq!(of(shares(0.5)), [at("settings network", "qos.class")]);
        check(&network(&[(Kind::Settings, shares(0.25))])).unwrap();
        assert_eq!(of(json!({ "qos": { "class": { "silver": {} } } })), [at("settings network", "qos.class.silver")]);
        for own in [json!({ "tunnel": { "mtu": 1400 } }), json!({ "site": [] })] {
            let (of, _) = &of(own)[0];
            assert_eq!(of, "settings network", "what is each site's own");
        }
        assert_eq!(of(json!({ "qos": { "enabled": true } })), [at("settings network", "qos.enabled")]);
    }

    #[test]
    fn whether_an_uplink_stays_is_a_matter_of_the_controller_alone() {
        let uplink = |pinned: Json| {
            let body = json!({ "site": "north", "name": "lte", "pinned": pinned,
                "public_key": outwork_wireguard::PublicKey([7; 32]).to_string() });
            [(Kind::Uplink, body)]
        };
        check(&network(&uplink(json!(true)))).unwrap();
        assert_eq!(faults(&uplink(json!("yes"))), [at("uplink north/lte", "pinned")]);
    }

    #[test]
    fn a_document_is_what_its_name_says() {
        let mut documents = network(&[]);
        documents.insert(Kind::Policy, "a", json!({ "name": "b" }));
        let faults = check(&documents).unwrap_err();
        assert!(faults.iter().all(|fault| fault.is_of(Kind::Policy, "a") && fault.field == "name"), "{faults:?}");
        documents.insert(Kind::Policy, "a", json!(["a"]));
        assert!(check(&documents).is_err());
    }
}

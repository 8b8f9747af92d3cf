//! What a controller says of its network: documents, which sites and the controller understand alike.
//!
//! - [`check`]: what is wrong with them, by document and by field; what they say together, as settings.
//! - [`delta`]: from one version to a later one, and what a site holds.
//! - [`signed`]: who has said it.
//!
//! A document is written as the section of the configuration file that it stands for: there is one reader of policies. Absent: where documents are kept.

pub mod check;
pub mod delta;
pub mod signed;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A site: its name, and the networks behind it.
    Site,
    /// An uplink of a site.
    Uplink,
    /// A class of traffic.
    Class,
    /// An application.
    Application,
    /// A policy.
    Policy,
    /// What holds at all sites whose own files say nothing else. There is one of it.
    Settings,
}

/// What the document of settings is known by.
pub const SHARED: &str = "network";

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [Kind::Site, Kind::Uplink, Kind::Class, Kind::Application, Kind::Policy, Kind::Settings];

    /// What one is called.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Site => "site",
            Kind::Uplink => "uplink",
            Kind::Class => "class",
            Kind::Application => "application",
            Kind::Policy => "policy",
            Kind::Settings => "settings",
        }
    }

    /// What many are called.
    pub const fn plural(self) -> &'static str {
        match self {
            Kind::Site => "sites",
            Kind::Uplink => "uplinks",
            Kind::Class => "classes",
            Kind::Application => "applications",
            Kind::Policy => "policies",
            Kind::Settings => "settings",
        }
    }

    /// What a document with this body is known by: its name, and that of an uplink behind the name of its site. Settings have no name.
    pub fn id_of(self, body: &Json) -> Option<String> {
        if self == Kind::Settings {
            return Some(SHARED.to_owned());
        }
        let name = body.get("name")?.as_str()?;
        match self {
            Kind::Uplink => Some(format!("{}/{name}", body.get("site")?.as_str()?)),
            _ => Some(name.to_owned()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The documents of a network: what each says, by its kind and what it is known by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Documents(BTreeMap<(Kind, String), Json>);

impl Documents {
    /// What a document says.
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Json> {
        self.0.get(&(kind, id.to_owned()))
    }

    /// Puts a document in, or in the place of what was there.
    pub fn insert(&mut self, kind: Kind, id: impl Into<String>, body: Json) {
        self.0.insert((kind, id.into()), body);
    }

    /// Takes a document out.
    pub fn remove(&mut self, kind: Kind, id: &str) -> Option<Json> {
        self.0.remove(&(kind, id.to_owned()))
    }

    /// All of them, by kind and id.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &str, &Json)> {
        self.0.iter().map(|((kind, id), body)| (*kind, id.as_str(), body))
    }

    /// Those of one kind whose ids begin so, by id.
    pub fn of<'a>(&'a self, kind: Kind, beginning: &'a str) -> impl Iterator<Item = (&'a str, &'a Json)> {
        let from = self.0.range((kind, beginning.to_owned())..);
        let within = from.take_while(move |((other, id), _)| *other == kind && id.starts_with(beginning));
        within.map(|((_, id), body)| (id.as_str(), body))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_uplink_is_known_by_its_site_and_its_name_and_everything_else_by_its_name() {
        let body = json!({ "site": "north", "name": "fibre" });
        assert_eq!(Kind::Uplink.id_of(&body).as_deref(), Some("north/fibre"));
        assert_eq!(Kind::Site.id_of(&body).as_deref(), Some("fibre"));
        assert_eq!(Kind::Policy.id_of(&json!({ "name": 7 })), None);
        assert_eq!(Kind::Settings.id_of(&json!({})).as_deref(), Some(SHARED));
        assert_eq!(Kind::Uplink.id_of(&json!({ "name": "fibre" })), None);
    }

    #[test]
    fn the_uplinks_of_a_site_are_found_by_the_beginning_of_their_ids() {
        let mut documents = Documents::default();
        for id in ["a/one", "a/two", "ab/one", "b/one"] {
            documents.insert(Kind::Uplink, id, json!({}));
        }
        documents.insert(Kind::Site, "a/", json!({}));
        let of: Vec<_> = documents.of(Kind::Uplink, "a/").map(|(id, _)| id).collect();
        assert_eq!(of, ["a/one", "a/two"]);
        assert_eq!(documents.of(Kind::Uplink, "").count(), 4);
    }
}

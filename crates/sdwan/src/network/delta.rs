//! From one version of a network to a later one, and what a site holds.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Documents, Kind};

/// A document that has come, has changed or is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What it is about.
    pub kind: Kind,
    /// What it is known by.
    pub id: String,
    /// What it says; none where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
}

/// What leads from one version to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// Whose network: the fingerprint of the controller's authority.
    pub network: String,
    /// The version that it is for; none where it is everything, whatever was there before.
    pub from: Option<u64>,
    /// The version that it leads to.
    pub to: u64,
    /// What is other there, by kind and id.
    pub changes: Vec<Change>,
}

/// Why a site does not take a delta up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is of somebody else's network.
    #[error("it is of the network {found}, and this site is of {expected}")]
    Foreign {
        /// Whose it is.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It leads back, or nowhere.
    #[error("it leads to version {offered}, and this site has {held} already")]
    Old {
        /// Where it leads.
        offered: u64,
        /// What is held.
        held: u64,
    },
    /// It is for who has another version.
    #[error("it is for who has version {from}, and this site has {held}")]
    Gap {
        /// For which version it is.
        from: u64,
        /// What is held.
        held: u64,
    },
}

/// What a site holds of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Whose network.
    pub network: String,
    /// Which version; 0 where nothing has come yet.
    pub version: u64,
    /// What it says.
    pub documents: Documents,
}

impl Held {
    /// Nothing yet of a network.
    pub fn nothing(network: impl Into<String>) -> Held {
        Held { network: network.into(), version: 0, documents: Documents::default() }
    }

    /// What is held once `delta` is taken up.
    ///
    /// # Errors
    /// When it is of another network, leads back, or is for another version.
    pub fn with(&self, delta: Delta) -> Result<Held, Refusal> {
        let Delta { network, from, to, changes } = delta;
        if network != self.network {
            return Err(Refusal::Foreign { found: network, expected: self.network.clone() });
        }
        if to <= self.version {
            return Err(Refusal::Old { offered: to, held: self.version });
        }
        let mut documents = match from {
            None => Documents::default(),
            Some(from) if from != self.version => return Err(Refusal::Gap { from, held: self.version }),
            Some(_) => self.documents.clone(),
        };
        for Change { kind, id, body } in changes {
            match body {
                Some(body) => documents.insert(kind, id, body),
                None => drop(documents.remove(kind, &id)),
            }
        }
        Ok(Held { network, version: to, documents })
    }

    /// All of it, as what leads there from nothing.
    pub fn whole(&self) -> Delta {
        let change =
            |(kind, id, body): (Kind, &str, &Json)| Change { kind, id: id.to_owned(), body: Some(body.clone()) };
        let changes = self.documents.iter().map(change).collect();
        Delta { network: self.network.clone(), from: None, to: self.version, changes }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(id: &str, body: Option<Json>) -> Change {
        Change { kind: Kind::Policy, id: id.to_owned(), body }
    }

    fn delta(from: Option<u64>, to: u64, changes: Vec<Change>) -> Delta {
        Delta { network: "net".to_owned(), from, to, changes }
    }

    fn held() -> Held {
        let changes = vec![change("a", Some(json!({ "name": "a" }))), change("b", Some(json!({ "name": "b" })))];
        Held::nothing("net").with(delta(None, 5, changes)).unwrap()
    }

    #[test]
    fn a_delta_changes_what_it_names_and_leaves_the_rest() {
        let changed = json!({ "name": "b", "priority": 1 });
        let next = held().with(delta(Some(5), 8, vec![change("a", None), change("b", Some(changed.clone()))])).unwrap();
        assert_eq!((next.version, next.documents.len()), (8, 1));
        assert_eq!(next.documents.get(Kind::Policy, "b"), Some(&changed));
    }

    #[test]
    fn everything_takes_the_place_of_whatever_was_there() {
        let next = held().with(delta(None, 9, vec![change("c", Some(json!({ "name": "c" })))])).unwrap();
        assert_eq!(next.documents.iter().map(|(_, id, _)| id).collect::<Vec<_>>(), ["c"]);
        let again = Held::nothing("net").with(next.whole()).unwrap();
        assert_eq!(again, next);
    }

    #[test]
    fn nothing_leads_back_to_an_earlier_version_nor_comes_twice() {
        let held = held();
        for from in [None, Some(5), Some(3)] {
            for to in [0, 4, 5] {
                assert_eq!(held.with(delta(from, to, vec![])), Err(Refusal::Old { offered: to, held: 5 }));
            }
        }
    }

    #[test]
    fn a_delta_for_another_version_or_of_another_network_is_refused() {
        let held = held();
        for from in [4, 6] {
            assert_eq!(held.with(delta(Some(from), 9, vec![])), Err(Refusal::Gap { from, held: 5 }));
        }
        let foreign = Delta { network: "other".to_owned(), ..delta(None, 9, vec![]) };
        let refused = Refusal::Foreign { found: "other".to_owned(), expected: "net".to_owned() };
        assert_eq!(held.with(foreign), Err(refused));
    }
}

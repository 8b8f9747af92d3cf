//! What is said of a section, and nothing of what is not: for settings that somebody else may say the rest of.

use std::marker::PhantomData;
use std::path::PathBuf;

use outwork_config::expansion::{Json, Map, join_key};
use outwork_config::{Absent, Faults, Node, Section, Setting, Sources, load, toml_text};

/// The keys of a section that are said, with what they say. Read as the section itself is, faults and all.
#[derive(Debug, Clone)]
pub struct Partial<T> {
    said: Map<String, Json>,
    of: PhantomData<fn() -> T>,
}

impl<T> Default for Partial<T> {
    fn default() -> Self {
        Self { said: Map::new(), of: PhantomData }
    }
}

impl<T> PartialEq for Partial<T> {
    fn eq(&self, other: &Self) -> bool {
        self.said == other.said
    }
}

impl<T> Absent for Partial<T> {
    fn absent() -> Self {
        Self::default()
    }
}

impl<T: Section> Setting for Partial<T> {
    const SECTION: bool = true;
    const PINNED: bool = T::PINNED;

    fn expected() -> String {
        T::expected()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Json::Object(mut said) = T::read(node, faults)?.write() else { return faults.wrong(node) };
        said.retain(|key, _| node.get(key).is_some());
        Some(Self { said, of: PhantomData })
    }

    fn write(&self) -> Json {
        Json::Object(self.said.clone())
    }

    fn schema() -> Json {
        T::schema()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl<T: Section + Clone> Partial<T> {
    /// `own` with what is said here in its place, but for keys that `stays` names.
    ///
    /// # Errors
    /// When the two make no sense together.
    pub fn over(&self, own: &T, stays: impl Fn(&str) -> bool) -> Result<T, Faults> {
        let said: Vec<_> = self.said.iter().filter(|(key, _)| !stays(key)).collect();
        if said.is_empty() {
            return Ok(own.clone());
        }
        let Json::Object(mut table) = own.write() else { return Ok(own.clone()) };
        for (key, value) in said {
            table.insert(key.clone(), value.clone());
        }
        let lines = table.iter().filter(|(_, value)| !value.is_null());
        let text: String =
            lines.map(|(key, value)| format!("{} = {}\n", join_key("", key), toml_text(value))).collect();
        load(Sources { file: Some((PathBuf::from("network"), text)), ..Sources::default() }).map(|loaded| loaded.value)
    }
}

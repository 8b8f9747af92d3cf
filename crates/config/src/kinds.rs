//! The standard library's types as settings.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::fault::{Fault, Faults};
use crate::node::{Node, Value};
use crate::origin::Origin;
use crate::path::{join_index, join_key};
use crate::setting::{Absent, Change, Effective, Limits, Ranged, Setting};
use crate::text::OPTIONAL;

impl Setting for bool {
    fn expected() -> String {
        "true or false".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Bool(value) => Some(*value),
            _ => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        (*self).into()
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

macro_rules! integers {
    ($($ty:ty),+) => {$(
        impl Setting for $ty {
            fn expected() -> String {
                format!("a whole number from {} to {}", <$ty>::MIN, <$ty>::MAX)
            }

            fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
                let value = match node.value() {
                    Value::Int(value) => <$ty>::try_from(*value).ok(),
                    _ => None,
                };
                value.or_else(|| faults.wrong(node))
            }

            fn write(&self) -> Json {
                (*self).into()
            }

            fn schema() -> Json {
                json!({"type": "integer", "minimum": <$ty>::MIN, "maximum": <$ty>::MAX})
            }
        }

        impl Ranged for $ty {
            type Bound = $ty;

            fn within(&self, limits: &Limits<$ty>) -> bool {
                limits.contain(self)
            }
        }
    )+};
}

integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl Setting for f64 {
    fn expected() -> String {
        "a number".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Float(value) if value.is_finite() => Some(*value),
            Value::Int(value) => Some(*value as f64),
            _ => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        (*self).into()
    }

    fn schema() -> Json {
        json!({"type": "number"})
    }
}

impl Ranged for f64 {
    type Bound = f64;

    fn within(&self, limits: &Limits<f64>) -> bool {
        limits.contain(self)
    }
}

impl Setting for String {
    fn expected() -> String {
        "a string".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.text() {
            Some(text) => Some(text.to_owned()),
            None => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        self.as_str().into()
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.text() {
            Some(text) if !text.is_empty() && !text.contains('\0') => Some(text.into()),
            _ => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        self.to_string_lossy().into()
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1, "examples": ["path/to/file"]})
    }

    fn place(&mut self, node: Option<&Node>, folder: &Path) {
        if let Origin::File(_) | Origin::Default = node.map_or(&Origin::Default, Node::origin) {
            *self = folder.join(&*self);
        }
    }
}

crate::text_setting!(Ipv4Addr, "an IPv4 address such as", "192.0.2.1");
crate::text_setting!(SocketAddrV4, "an IPv4 address and port such as", "192.0.2.1:67");
crate::text_setting!(Ipv6Addr, "an IPv6 address such as", "2001:db8::1");
crate::text_setting!(IpAddr, "an IP address such as", "192.0.2.1");

impl Setting for SocketAddr {
    fn expected() -> String {
        r#"an address and a port such as "127.0.0.1:8067""#.into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Some(address) = node.text().and_then(|text| text.parse().ok()) {
            return Some(address);
        }
        let text = node.text().unwrap_or_default();
        let fault = Fault::new(format!("found {}", node.describe())).expected(Self::expected());
        let colon = text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
        faults.on(
            node,
            match (colon, text.parse::<IpAddr>()) {
                (Some(port), _) => fault.help(format!("for every address write \"0.0.0.0:{port}\" or \"[::]:{port}\"")),
                (None, Ok(IpAddr::V6(address))) => fault.help(format!("add a port: \"[{address}]:PORT\"")),
                (None, Ok(address)) => fault.help(format!("add a port: \"{address}:PORT\"")),
                (None, Err(_)) if text.starts_with("localhost") => fault.help("write the address: 127.0.0.1 or [::1]"),
                _ => fault.help(crate::fault::remedy::<Self>(node)),
            },
        );
        None
    }

    fn write(&self) -> Json {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({"type": "string", "examples": ["127.0.0.1:8067", "[::1]:8067"]})
    }
}

impl<T: Setting> Setting for Option<T> {
    const SECTION: bool = T::SECTION;
    const PINNED: bool = T::PINNED;

    fn expected() -> String {
        T::expected()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        T::read(node, faults).map(Some)
    }

    fn write(&self) -> Json {
        self.as_ref().map_or(Json::Null, Setting::write)
    }

    fn schema() -> Json {
        let mut schema = T::schema();
        // A table that is there means something, though it is empty.
        if T::SECTION {
            schema[OPTIONAL] = true.into();
        }
        schema
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn place(&mut self, node: Option<&Node>, folder: &Path) {
        self.iter_mut().for_each(|value| value.place(node, folder));
    }

    fn list(&self, path: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
        match self {
            Some(value) => value.list(path, node, out),
            None => out.push(leaf(path, Json::Null, node)),
        }
    }

    fn changes(&self, new: &Self, path: &str, live: bool, out: &mut Vec<Change>) {
        match (self, new) {
            (Some(old), Some(new)) => old.changes(new, path, live, out),
            (None, None) => {}
            _ => out.push(whole_change(self, new, path, live)),
        }
    }
}

impl<T> Absent for Option<T> {
    fn absent() -> Self {
        None
    }
}

impl<T: Setting> Setting for Vec<T> {
    const SECTION: bool = T::SECTION;
    const PINNED: bool = T::PINNED;

    fn expected() -> String {
        format!("an array, each element {}", T::expected())
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Some(items) = node.items() else {
            return faults.wrong(node);
        };
        // Every element is read, so that the faults of all are found.
        let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, faults)).collect();
        read.into_iter().collect()
    }

    fn write(&self) -> Json {
        self.iter().map(Setting::write).collect()
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn place(&mut self, node: Option<&Node>, folder: &Path) {
        let nodes = node.and_then(Node::items);
        for (index, value) in self.iter_mut().enumerate() {
            value.place(nodes.and_then(|nodes| nodes.get(index)), folder);
        }
    }

    fn list(&self, path: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
        if !T::SECTION || self.is_empty() {
            return out.push(leaf(path, self.write(), node));
        }
        for (index, item) in self.iter().enumerate() {
            let node = node.and_then(Node::items).and_then(|items| items.get(index));
            item.list(&join_index(path, index), node, out);
        }
    }

    fn changes(&self, new: &Self, path: &str, live: bool, out: &mut Vec<Change>) {
        if !T::SECTION || self.len() != new.len() {
            if self != new {
                out.push(whole_change(self, new, path, live));
            }
            return;
        }
        for (index, (old, new)) in self.iter().zip(new).enumerate() {
            old.changes(new, &join_index(path, index), live, out);
        }
    }
}

impl<T> Absent for Vec<T> {
    fn absent() -> Self {
        Vec::new()
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    const SECTION: bool = true;
    const PINNED: bool = T::PINNED;

    fn expected() -> String {
        format!("a table, each value {}", T::expected())
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Some(table) = node.table() else {
            return faults.wrong(node);
        };
        let read: Vec<_> = table.iter().map(|(key, node)| Some((key.clone(), T::read(node, faults)?))).collect();
        read.into_iter().collect()
    }

    fn write(&self) -> Json {
        Json::Object(self.iter().map(|(key, value)| (key.clone(), value.write())).collect::<Map<_, _>>())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": T::schema()})
    }

    fn absent() -> Option<Self> {
        Some(BTreeMap::new())
    }

    fn place(&mut self, node: Option<&Node>, folder: &Path) {
        for (key, value) in self {
            value.place(node.and_then(|node| node.get(key)), folder);
        }
    }

    fn list(&self, path: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
        if self.is_empty() {
            return out.push(leaf(path, self.write(), node));
        }
        for (key, value) in self {
            value.list(&join_key(path, key), node.and_then(|node| node.get(key)), out);
        }
    }

    fn changes(&self, new: &Self, path: &str, live: bool, out: &mut Vec<Change>) {
        let live_key = live && !Self::PINNED;
        let change = |key: &str, old, new| Change { key: join_key(path, key), old, new, live: live_key };
        for (key, old) in self {
            match new.get(key) {
                Some(new) => old.changes(new, &join_key(path, key), live, out),
                None => out.push(change(key, old.write(), Json::Null)),
            }
        }
        for (key, new) in new.iter().filter(|(key, _)| !self.contains_key(*key)) {
            out.push(change(key, Json::Null, new.write()));
        }
    }
}

impl<T> Absent for BTreeMap<String, T> {
    fn absent() -> Self {
        BTreeMap::new()
    }
}

fn leaf(path: &str, value: Json, node: Option<&Node>) -> Effective {
    let origin = node.map_or(Origin::Default, |node| node.origin.clone());
    Effective { key: path.to_owned(), value, origin }
}

fn whole_change<T: Setting>(old: &T, new: &T, path: &str, live: bool) -> Change {
    Change { key: path.to_owned(), old: old.write(), new: new.write(), live: live && !T::PINNED }
}

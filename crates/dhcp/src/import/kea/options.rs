//! `option-def` and `option-data`: Kea's data strings to octets as Kea would send them, and those to our values.
use crate::import::json::{Notes, Object};
use crate::options::{
    Definitions, Kind, OptionSpec, OptionTable, Scalar, Value, decode_names, encode_value, parse_hex, server_owned,
    split_csv, to_hex,
};
use std::collections::BTreeMap;

const DHCP4: &str = "dhcp4";

/// An option as Kea knows it: its type decides how `data` is read.
#[derive(Debug, Clone)]
pub(super) struct Known {
    space: String,
    code: u8,
    name: String,
    kind: Kind,
}

/// What the file defines, for Kea and for us.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The definitions that come along.
    pub(super) specs: Vec<OptionSpec>,
    /// Standard options and `specs`.
    pub(super) definitions: Definitions,
    standard: Definitions,
    known: Vec<Known>,
}

/// The types that Kea 2.2 gives standard options where ours say more.
fn standard_kind(space: &str, code: u8, ours: &Kind) -> Kind {
    match (space, code) {
        (DHCP4, 119) => Kind::Array(Scalar::Fqdn),
        (DHCP4, 124) => Kind::record(&[Scalar::U32, Scalar::Binary]),
        (DHCP4, 125) => Kind::One(Scalar::U32),
        _ => ours.clone(),
    }
}

fn space_name(space: &str) -> &str {
    match space {
        "vendor-encapsulated-options-space" => "vendor-encapsulated-options",
        other => other,
    }
}

impl Book {
    /// Takes in the definitions of a list. Those of a class are for that class alone in Kea (option 43 and the private
    /// codes); here they hold everywhere unless they contradict another: then only that class's data is read by them.
    pub(super) fn define(&mut self, definitions: Vec<Object<'_>>, of_class: bool, notes: &mut Notes) -> Vec<Known> {
        definitions.into_iter().filter_map(|object| self.define_one(object, of_class, notes)).collect()
    }

    fn define_one(&mut self, mut object: Object<'_>, of_class: bool, notes: &mut Notes) -> Option<Known> {
        let spec = spec(&mut object, notes)?;
        let resolved = spec.resolve().map_err(|fault| notes.lost(&object.path, fault.to_string())).ok()?;
        let space = spec.space.clone().unwrap_or_else(|| DHCP4.to_owned());
        let known = Known { space, code: spec.code, name: spec.name.clone(), kind: resolved.kind().clone() };
        let carrier = known.space == DHCP4 && known.code == 43 && spec.encapsulate.is_some();
        let standard = self.standard.in_space(&known.space, known.code);
        let same = standard.is_some_and(|standard| standard.name() == known.name && *standard.kind() == known.kind);
        // Spaces without another carrier go into option 43 anyway, and one class does not change a standard option for all.
        let local = of_class && standard.is_some();
        match spec.encapsulate.as_deref().filter(|_| carrier) {
            Some(space) => notes.changed(
                &object.path,
                format!("option 43 carries the sub-options of `{space}` by itself: it needs no definition"),
            ),
            None if same => {
                notes.changed(&object.path, format!("`{}` is a standard option: it needs no definition", spec.name));
            }
            None if local => {
                let reason = "it is standard for others: the class's data is read by its definition, and written as the standard has it";
                notes.changed(&object.path, format!("option {} of `{}`: {reason}", spec.code, known.space));
            }
            None => self.adopt(spec, &object.path, of_class, notes),
        }
        if !of_class {
            self.known.push(known.clone());
        }
        Some(known)
    }

    fn adopt(&mut self, mut spec: OptionSpec, path: &str, of_class: bool, notes: &mut Notes) {
        if self.specs.contains(&spec) {
            return;
        }
        let space = spec.space.as_deref().unwrap_or(DHCP4);
        let standard = self.standard.named_in(space, &spec.name);
        if standard.is_some_and(|standard| standard.code() != spec.code) {
            let name = format!("{}-{}", spec.name, spec.code);
            notes.changed(path, format!("`{}` is a standard option's name here: it is called `{name}`", spec.name));
            spec.name = name;
        }
        self.specs.push(spec);
        match Definitions::new(&self.specs) {
            Ok(definitions) => self.definitions = definitions,
            Err(faults) => {
                self.specs.pop();
                let reasons: Vec<String> = faults.iter().map(ToString::to_string).collect();
                let reason = reasons.join("; ");
                match of_class {
                    true => notes.changed(path, format!("{reason}; the class gives the option as hex")),
                    false => notes.lost(path, reason),
                }
            }
        }
    }

    /// By code or name, the class's own definitions first.
    fn find(&self, own: &[Known], space: &str, code: Option<u8>, name: Option<&str>) -> Option<Known> {
        let matches = |known: &&Known| {
            space_name(&known.space) == space_name(space)
                && code.map_or(Some(known.name.as_str()) == name, |code| known.code == code)
        };
        own.iter().chain(&self.known).find(matches).cloned().or_else(|| {
            let standard = match (code, name) {
                (Some(code), _) => self.standard.in_space(space, code),
                (None, name) => self.standard.named_in(space, name?),
            }?;
            let kind = standard_kind(space, standard.code(), standard.kind());
            Some(Known { space: space.to_owned(), code: standard.code(), name: standard.name().to_owned(), kind })
        })
    }

    /// The options of one scope.
    pub(super) fn options(&self, data: Vec<Object<'_>>, own: &[Known], notes: &mut Notes) -> OptionTable {
        let (mut table, mut paths) = (OptionTable::new(), BTreeMap::new());
        for object in data {
            let path = object.path.clone();
            if let Some(key) = self.option(object, own, &mut table, notes) {
                paths.insert(key, path);
            }
        }
        self.drop_faulty(&mut table, &paths, notes);
        table
    }

    /// What we would refuse does not go into the file.
    fn drop_faulty(&self, table: &mut OptionTable, paths: &BTreeMap<String, String>, notes: &mut Notes) {
        while let Err(faults) = self.definitions.compile(table.iter().map(|(key, value)| (key.as_str(), value))) {
            for fault in faults {
                let top = fault.option().split('.').next().unwrap_or_default().to_owned();
                let path = paths.get(fault.option()).or_else(|| paths.get(&top));
                table.remove(&top);
                notes.lost(path.cloned().unwrap_or(top), fault.to_string());
            }
        }
    }

    /// Puts one option into the table; gives the key it has there.
    fn option(
        &self,
        mut object: Object<'_>,
        own: &[Known],
        table: &mut OptionTable,
        notes: &mut Notes,
    ) -> Option<String> {
        let space = space_name(object.filled("space", notes).unwrap_or(DHCP4));
        let name = object.filled("name", notes);
        let code = object.number("code", notes).and_then(|code| u8::try_from(code).ok());
        let csv = object.flag("csv-format", notes);
        let data = object.text("data", notes).unwrap_or_default();
        let always_send = object.flag("always-send", notes) == Some(true);
        let never_send = object.flag("never-send", notes) == Some(true);
        object.comments(notes);
        // Where nobody has read them yet, the scope cannot tell clients apart: better nobody gets it than everybody.
        if object.has("client-classes") && object.unread().iter().any(|(key, _)| *key == "client-classes") {
            let classes = object.texts("client-classes", notes).join("`, `");
            let instead = "give it in the class";
            notes
                .lost(&object.path, format!("the option is for members of `{classes}` alone, and left out: {instead}"));
            return None;
        }
        object.get("client-classes");
        for (key, _) in object.unread() {
            notes.lost(object.path_of(key), "the importer does not know this setting of an option");
        }
        let known = self.find(own, space, code, name);
        let Some(code) = code.or(known.as_ref().map(|known| known.code)) else {
            notes.lost(&object.path, format!("no option of space `{space}` is called `{}`", name.unwrap_or_default()));
            return None;
        };
        if space == DHCP4
            && let Some(instead) = server_owned(code)
        {
            notes.lost(&object.path, format!("option {code} is set by the server: {instead}"));
            return None;
        }
        let value = match (never_send, self.octets(known.as_ref(), csv, data, &object.path, notes)) {
            (true, _) => None,
            (false, Ok(None)) => None,
            (false, Ok(Some(octets))) => Some(self.value(space, code, &octets)),
            (false, Err(reason)) => {
                notes.lost(&object.path, reason);
                return None;
            }
        };
        self.place(table, space, code, Sent { value, always_send, never_send }, &object.path, notes)
    }

    /// The octets that Kea makes of `data`; `None` if the option only carries a space.
    fn octets(
        &self,
        known: Option<&Known>,
        csv: Option<bool>,
        data: &str,
        path: &str,
        notes: &mut Notes,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(known) = known.filter(|_| csv != Some(false)) else {
            let quoted = data.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            let octets = quoted.map(|text| text.as_bytes().to_vec()).or_else(|| hex(data));
            return octets.map(Some).ok_or_else(|| format!("expected hex digits, found `{data}`"));
        };
        let mut fields = split_csv(data);
        match &known.kind {
            Kind::Space(_) if data.trim().is_empty() => return Ok(None),
            // The enterprise number alone: its sub-options come in a space of their own.
            Kind::One(Scalar::U32) if known.code == 125 && known.space == DHCP4 => return Ok(None),
            Kind::One(_) if fields.len() > 1 => {
                fields.truncate(1);
                let rest = "Kea sends only what stands before the first comma; a comma in a value is written `\\,`";
                notes.changed(path, rest);
            }
            _ => {}
        }
        let value = match &known.kind {
            Kind::Empty => Value::Bool(true),
            _ => Value::List(fields.into_iter().map(Value::Text).collect()),
        };
        encode_value(&known.name, &known.kind, &value).map(Some).map_err(|fault| fault.to_string())
    }

    /// The octets as a value of our type.
    fn value(&self, space: &str, code: u8, octets: &[u8]) -> Value {
        // Names are compressed here and not in Kea: the same names, other octets.
        let ours = self.definitions.in_space(space, code);
        if ours.is_some_and(|option| *option.kind() == Kind::Domains)
            && let Some(names) = decode_names(octets)
        {
            return Value::List(names.into_iter().map(Value::Text).collect());
        }
        self.definitions.decode_in(space, code, octets)
    }

    fn place(
        &self,
        table: &mut OptionTable,
        space: &str,
        code: u8,
        sent: Sent,
        path: &str,
        notes: &mut Notes,
    ) -> Option<String> {
        let name =
            self.definitions.in_space(space, code).map_or_else(|| code.to_string(), |option| option.name().to_owned());
        if space == DHCP4 {
            let Some(value) = sent.into_value() else {
                let reason = "goes out with the sub-options of its space by itself: it needs no entry";
                notes.changed(path, format!("option `{name}` {reason}"));
                return None;
            };
            if let Some(Value::Table(sub_options)) = table.get_mut(&name)
                && let Value::Table(flags) = &value
                && flags.keys().all(|key| key == "always_send")
            {
                sub_options.extend(flags.clone());
                return Some(name);
            }
            if table.contains_key(&name) {
                notes.lost(path, format!("option `{name}` is given twice: the first counts"));
                return None;
            }
            table.insert(name.clone(), value);
            return Some(name);
        }
        if !self.definitions.has_space(space) {
            notes.lost(path, format!("space `{space}` has no definitions: give the option that carries it as hex"));
            return None;
        }
        let entry = table.entry(space.to_owned()).or_insert_with(|| Value::Table(BTreeMap::new()));
        let Value::Table(sub_options) = entry else {
            notes.lost(path, format!("option `{space}` has data of its own: add the sub-option there"));
            return None;
        };
        if sent.always_send {
            sub_options.insert("always_send".to_owned(), Value::Bool(true));
        }
        match sent.value {
            Some(value) if !sub_options.contains_key(&name) => _ = sub_options.insert(name.clone(), value),
            Some(_) => notes.lost(path, format!("option `{space}.{name}` is given twice: the first counts")),
            None => notes.lost(path, "a sub-option is held back with the option that carries it, not alone"),
        }
        Some(format!("{space}.{name}"))
    }
}

/// An option's value and when it goes out.
struct Sent {
    value: Option<Value>,
    always_send: bool,
    never_send: bool,
}

impl Sent {
    /// The value, wrapped if there is more to say; `None` if there is nothing to say.
    fn into_value(self) -> Option<Value> {
        let mut table = BTreeMap::new();
        if self.never_send {
            table.insert("never_send".to_owned(), Value::Bool(true));
            return Some(Value::Table(table));
        }
        if !self.always_send {
            return self.value;
        }
        table.insert("always_send".to_owned(), Value::Bool(true));
        match self.value {
            // Sub-options and the flag share a table.
            Some(Value::Table(sub_options)) => table.extend(sub_options),
            Some(value) => _ = table.insert("value".to_owned(), value),
            None => {}
        }
        Some(Value::Table(table))
    }
}

/// Kea's hex: an odd number of digits lacks a leading zero.
fn hex(data: &str) -> Option<Vec<u8>> {
    let digits = data.trim();
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits);
    if digits.contains([':', ' ', '-']) {
        let pairs = digits.split([':', ' ', '-']).filter(|pair| !pair.is_empty());
        return pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    }
    if digits.len() % 2 == 1 { parse_hex(&format!("0{digits}")) } else { parse_hex(digits) }
}

/// An identifier of a reservation: hex, or text in single quotes. Text stays text if it can.
pub(super) fn identifier(data: &str) -> Option<String> {
    match data.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(text) if !text.starts_with("hex:") && !text.chars().any(char::is_control) => Some(text.to_owned()),
        Some(text) => Some(to_hex(text.as_bytes())),
        None => hex(data).filter(|octets| !octets.is_empty()).map(|octets| to_hex(&octets)),
    }
}

/// A hardware address in the usual form.
pub(super) fn mac(data: &str) -> Option<String> {
    let octets = hex(data).filter(|octets| (1..=16).contains(&octets.len()))?;
    Some(octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":"))
}

fn spec(object: &mut Object<'_>, notes: &mut Notes) -> Option<OptionSpec> {
    let ours = |name: &str| Scalar::from_name(name).map_or_else(|| name.to_owned(), |scalar| scalar.name().to_owned());
    let name = object.filled("name", notes).unwrap_or_default().to_owned();
    let code = object.number("code", notes).and_then(|code| u8::try_from(code).ok());
    let kind = ours(object.filled("type", notes).unwrap_or_default());
    let array = object.flag("array", notes) == Some(true);
    let record = object.filled("record-types", notes).map(split_csv).unwrap_or_default();
    let space = object.filled("space", notes).filter(|space| *space != DHCP4).map(|space| space_name(space).to_owned());
    let encapsulate = object.filled("encapsulate", notes).map(|space| space_name(space).to_owned());
    object.comments(notes);
    for (key, _) in object.unread() {
        notes.lost(object.path_of(key), "the importer does not know this setting of a definition");
    }
    let Some(code) = code else {
        notes.lost(&object.path, format!("option definition `{name}` has no code from 1 to 254"));
        return None;
    };
    let record = record.iter().map(|field| ours(field)).collect();
    Some(OptionSpec { name, code, kind, space, array, record, encapsulate })
}

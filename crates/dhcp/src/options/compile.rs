//! A scope's configured options to its set, all faults at once.
use super::definition::{Definitions, OptionDef, enterprise, server_owned};
use super::kind::Kind;
use super::table::DHCP4;
use super::value::{Value, check_length, parse_hex};
use super::{MAX_OPTION_LEN, OptionError, OptionSet};
use std::collections::BTreeMap;

/// The options table of one scope as configured: key and value.
///
/// A key is an option's name (`routers`), its code (`"224"`), a space (`PXE`, `vendor-4491`: the value is then a table
/// of sub-options) or a sub-option (`"PXE.discovery-control"`, `"vendor-4491.2"`).
/// A value may be wrapped to say when it is sent: `{ value = 1, always_send = true }`, `{ never_send = true }`.
pub type OptionTable = BTreeMap<String, Value>;

/// One option taken apart: what it is and when it goes out.
struct OptionEntry {
    /// The data, absent if the entry only says when to send.
    value: Option<Value>,
    /// Goes out whether or not the client asked.
    always_send: bool,
    /// Is held back even if a more general scope has it.
    never_send: bool,
}

impl OptionEntry {
    /// Takes the sending flags off a value.
    fn new(option: &str, value: &Value) -> Result<Self, OptionError> {
        let mut entry = Self { value: None, always_send: false, never_send: false };
        let Value::Table(table) = value else {
            entry.value = Some(value.clone());
            return Ok(entry);
        };
        let mut rest = table.clone();
        entry.always_send = flag(option, "always_send", &mut rest)?;
        entry.never_send = flag(option, "never_send", &mut rest)?;
        let value = rest.remove("value");
        if value.is_some() && !rest.is_empty() {
            let keys: Vec<String> = rest.into_keys().collect();
            return Err(OptionError::Value {
                option: option.to_owned(),
                expected: "`value`, `always_send` and `never_send`".to_owned(),
                found: format!("`{}`", keys.join("`, `")),
                place: String::new(),
            });
        }
        entry.value = value.or_else(|| (!rest.is_empty()).then_some(Value::Table(rest)));
        if entry.never_send && (entry.always_send || entry.value.is_some()) {
            return Err(OptionError::Value {
                option: option.to_owned(),
                expected: "`never_send = true` alone".to_owned(),
                found: "a value or `always_send` beside it".to_owned(),
                place: String::new(),
            });
        }
        Ok(entry)
    }
}

fn flag(option: &str, key: &str, table: &mut BTreeMap<String, Value>) -> Result<bool, OptionError> {
    match table.remove(key) {
        None => Ok(false),
        Some(Value::Bool(set)) => Ok(set),
        Some(other) => Err(OptionError::Value {
            option: option.to_owned(),
            expected: format!("`{key}` to be true or false"),
            found: format!("`{other}`"),
            place: String::new(),
        }),
    }
}

/// Sub-options by code, each with the key that gave it.
type SubOptions = BTreeMap<u8, (String, Vec<u8>)>;

struct Compiler<'a> {
    definitions: &'a Definitions,
    set: OptionSet,
    /// Which key gave an option.
    given: BTreeMap<u8, String>,
    /// Sub-options by the option that carries them and, in 125, the enterprise.
    carried: BTreeMap<(u8, Option<u32>), SubOptions>,
}

impl Definitions {
    /// The set that a scope's options make, or every fault in them.
    pub fn compile<'v>(
        &self,
        options: impl IntoIterator<Item = (&'v str, &'v Value)>,
    ) -> Result<OptionSet, Vec<OptionError>> {
        let mut compiler =
            Compiler { definitions: self, set: OptionSet::default(), given: BTreeMap::new(), carried: BTreeMap::new() };
        let mut faults = Vec::new();
        for (key, value) in options {
            faults.extend(compiler.entry(key, value).err());
        }
        faults.extend(compiler.carriers());
        if faults.is_empty() { Ok(compiler.set) } else { Err(faults) }
    }
}

impl Compiler<'_> {
    fn entry(&mut self, key: &str, value: &Value) -> Result<(), OptionError> {
        let definitions = self.definitions;
        if let Some((space, option)) = key.split_once('.') {
            if !definitions.has_space(space) {
                return Err(self.unknown(key, space));
            }
            return self.sub_option(key, space, option, value);
        }
        let entry = OptionEntry::new(key, value)?;
        let (code, option) = match (key.parse::<u8>(), definitions.by_name(key)) {
            (_, Some(option)) => (option.code(), Some(option)),
            (Ok(code), None) => (code, None),
            (Err(_), None) if definitions.has_space(key) => {
                let code = definitions.carrier(key);
                self.flags(key, code, &entry)?;
                return match &entry.value {
                    Some(value) => self.space(key, key, value),
                    None => Ok(()),
                };
            }
            (Err(_), None) => return Err(self.unknown(key, key)),
        };
        self.flags(key, code, &entry)?;
        let Some(value) = &entry.value else { return Ok(()) };
        match (option.map(OptionDef::kind), value) {
            (Some(Kind::Space(space)), Value::Table(_)) => return self.space(key, &space.clone(), value),
            (Some(Kind::Vendors), Value::Table(vendors)) => {
                return vendors.iter().try_for_each(|(vendor, value)| {
                    let number = vendor.strip_prefix("vendor-").unwrap_or(vendor);
                    let key = format!("{key}.{vendor}");
                    match number.parse::<u32>() {
                        Ok(number) => self.space(&key, &format!("vendor-{number}"), value),
                        Err(_) => Err(mismatch(&key, "an enterprise number", vendor)),
                    }
                });
            }
            _ => {}
        }
        let data = match option {
            Some(option) => option.encode(key, value, MAX_OPTION_LEN)?,
            None => undefined(key, value, MAX_OPTION_LEN)?,
        };
        self.claim(key, code)?;
        self.set.insert(code, data);
        Ok(())
    }

    fn unknown(&self, option: &str, near: &str) -> OptionError {
        OptionError::Unknown { option: option.to_owned(), hint: self.definitions.hint(DHCP4, near) }
    }

    fn claim(&mut self, key: &str, code: u8) -> Result<(), OptionError> {
        match self.given.insert(code, key.to_owned()) {
            None => Ok(()),
            Some(other) => Err(OptionError::Twice { option: key.to_owned(), other: format!("`{other}`") }),
        }
    }

    fn flags(&mut self, key: &str, code: u8, entry: &OptionEntry) -> Result<(), OptionError> {
        if let Some(instead) = server_owned(code) {
            return Err(OptionError::ServerOwned { option: key.to_owned(), instead });
        }
        if entry.always_send {
            self.set.always_send(code);
        }
        if entry.never_send {
            self.claim(key, code)?;
            self.set.never_send(code);
        }
        Ok(())
    }

    fn space(&mut self, key: &str, space: &str, value: &Value) -> Result<(), OptionError> {
        let Value::Table(options) = value else {
            return Err(mismatch(key, "a table of sub-options", &value.to_string()));
        };
        options.iter().try_for_each(|(option, value)| self.sub_option(&format!("{key}.{option}"), space, option, value))
    }

    fn sub_option(&mut self, key: &str, space: &str, name: &str, value: &Value) -> Result<(), OptionError> {
        let carrier = self.definitions.carrier(space);
        if let Some(instead) = server_owned(carrier) {
            return Err(OptionError::ServerOwned { option: key.to_owned(), instead });
        }
        let (code, data) = match (self.definitions.named_in(space, name), name.parse::<u8>()) {
            (Some(option), _) => (option.code(), option.encode(key, value, 255)?),
            (None, Ok(code)) => (code, undefined(key, value, 255)?),
            (None, Err(_)) => {
                let hint = self.definitions.hint(space, name);
                return Err(OptionError::Unknown { option: key.to_owned(), hint });
            }
        };
        let enterprise = enterprise(space).filter(|_| carrier == 125);
        match self.carried.entry((carrier, enterprise)).or_default().insert(code, (key.to_owned(), data)) {
            None => Ok(()),
            Some((other, _)) => Err(OptionError::Twice { option: key.to_owned(), other: format!("`{other}`") }),
        }
    }

    /// Puts collected sub-options into the options that carry them.
    fn carriers(&mut self) -> Vec<OptionError> {
        let mut faults = Vec::new();
        let mut carriers: BTreeMap<u8, (String, Vec<u8>)> = BTreeMap::new();
        for ((carrier, enterprise), sub_options) in std::mem::take(&mut self.carried) {
            let key = sub_options.values().next().map(|(key, _)| key.clone()).unwrap_or_default();
            let mut block = Vec::new();
            for (code, (_, data)) in &sub_options {
                block.extend([*code, data.len() as u8]);
                block.extend_from_slice(data);
            }
            let (_, octets) = carriers.entry(carrier).or_insert_with(|| (key.clone(), Vec::new()));
            if let Some(enterprise) = enterprise {
                match check_length(&key, block, 255) {
                    Ok(block) => {
                        octets.extend(enterprise.to_be_bytes());
                        octets.push(block.len() as u8);
                        octets.extend(block);
                    }
                    Err(fault) => faults.push(fault),
                }
            } else {
                octets.extend(block);
            }
        }
        for (carrier, (key, octets)) in carriers {
            match check_length(&key, octets, MAX_OPTION_LEN)
                .and_then(|octets| self.claim(&key, carrier).map(|()| octets))
            {
                Ok(octets) => self.set.insert(carrier, octets),
                Err(fault) => faults.push(fault),
            }
        }
        faults
    }
}

fn mismatch(option: &str, expected: &str, found: &str) -> OptionError {
    OptionError::Value {
        option: option.to_owned(),
        expected: expected.to_owned(),
        found: format!("`{found}`"),
        place: String::new(),
    }
}

/// The octets for a code that has no definition: hex is all that can be meant.
fn undefined(option: &str, value: &Value, limit: usize) -> Result<Vec<u8>, OptionError> {
    let hex = match value {
        Value::Text(text) => text.strip_prefix("hex:").and_then(parse_hex),
        _ => None,
    };
    check_length(option, hex.ok_or_else(|| OptionError::Undefined { option: option.to_owned() })?, limit)
}

//! One option's definition, and the book of them all: standard, relay, vendor and user-defined.
use super::OptionError;
use super::display::decode;
use super::kind::{Kind, Scalar};
use super::table::{self, DHCP4, RELAY, VENDOR};
use super::value::{Value, check_length, encode};
use std::borrow::Cow;

/// What one option is called and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionDef {
    code: u8,
    name: Cow<'static, str>,
    kind: Kind,
    rfc: u16,
}

/// A user's definition as the configuration has it (`[[dhcp.option_definition]]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// What options tables will call it: lower case, digits and `-`.
    pub name: String,
    /// 1 to 254.
    pub code: u8,
    /// `bool`, `u8`, ..., `empty`, `record`, `domains`, `routes`: see `Scalar` and `Kind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The space of sub-options it belongs to; `dhcp4` (ordinary options) if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// It holds one or more of its type; of a record, the last field may repeat.
    #[serde(default)]
    pub array: bool,
    /// The field types of a record.
    #[serde(default)]
    pub record: Vec<String>,
    /// The space of sub-options it carries; its type is then `empty`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encapsulate: Option<String>,
}

impl OptionSpec {
    /// The definition it describes, whatever else is defined.
    pub fn resolve(&self) -> Result<OptionDef, OptionError> {
        OptionDef::user(self)
    }
}

impl OptionDef {
    pub(super) const fn standard(code: u8, name: &'static str, kind: Kind, rfc: u16) -> Self {
        Self { code, name: Cow::Borrowed(name), kind, rfc }
    }

    fn user(spec: &OptionSpec) -> Result<Self, OptionError> {
        let fault = |reason: String| OptionError::Definition { option: spec.name.clone(), reason };
        let named = spec.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && spec.name.bytes().any(|b| !b.is_ascii_digit());
        if !named {
            return Err(fault("a name has letters, digits, `-` and `_`, and is not just a number".to_owned()));
        }
        if matches!(spec.code, 0 | 255) {
            return Err(fault(format!("code {} is not an option's: use 1 to 254", spec.code)));
        }
        let kind = kind_of(spec).map_err(fault)?;
        Ok(Self { code: spec.code, name: Cow::Owned(spec.name.clone()), kind, rfc: 0 })
    }

    /// The option's code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// The option's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of its data.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The RFC that defines it, if one does.
    #[must_use]
    pub fn rfc(&self) -> Option<u16> {
        (self.rfc != 0).then_some(self.rfc)
    }

    /// The value's octets, `option` being the key to name in errors. Tables of sub-options go through `OptionTable`.
    pub(super) fn encode(&self, option: &str, value: &Value, limit: usize) -> Result<Vec<u8>, OptionError> {
        let data = encode(&self.kind, value).map_err(|mismatch| mismatch.of_option(option))?;
        check_length(option, data, limit)
    }
}

fn kind_of(spec: &OptionSpec) -> Result<Kind, String> {
    if let Some(space) = &spec.encapsulate {
        return if spec.kind == "empty" {
            Ok(Kind::Space(Cow::Owned(space.clone())))
        } else {
            Err(format!("an option that encapsulates space `{space}` has type `empty`, not `{}`", spec.kind))
        };
    }
    if spec.kind != "record" && !spec.record.is_empty() {
        return Err(format!("`record` lists the fields of type `record`, but the type is `{}`", spec.kind));
    }
    match spec.kind.as_str() {
        "empty" if !spec.array => Ok(Kind::Empty),
        "domains" => Ok(Kind::Domains),
        "routes" => Ok(Kind::Routes),
        "record" => {
            let fields = spec.record.iter().map(|name| scalar(name)).collect::<Result<Vec<_>, _>>()?;
            let Some((last, before)) = fields.split_last() else {
                return Err("a record lists the types of its fields in `record`".to_owned());
            };
            if before.iter().any(|field| !field.is_delimited()) || (spec.array && !last.is_delimited()) {
                return Err("`string` and `binary` run to the end: only the last field may be one, once".to_owned());
            }
            Ok(Kind::Record { fields: Cow::Owned(fields), repeat_last: spec.array })
        }
        name => match scalar(name)? {
            scalar if !spec.array => Ok(Kind::One(scalar)),
            scalar if scalar.is_delimited() => Ok(Kind::Array(scalar)),
            scalar => Err(format!("nothing parts the items of an array of `{}`: use `tuple`", scalar.name())),
        },
    }
}

fn scalar(name: &str) -> Result<Scalar, String> {
    Scalar::from_name(name).ok_or_else(|| {
        format!("`{name}` is no type: expected one of {}, empty, record, domains, routes", Scalar::names())
    })
}

/// Every option there is to name: the standard ones, and the user's over them.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    /// Space and definition.
    user: Vec<(String, OptionDef)>,
}

impl Definitions {
    /// The standard options and these. Reports every faulty one; a definition may give a standard option another name
    /// and type, but not one that the server sets itself.
    pub fn new(specs: &[OptionSpec]) -> Result<Self, Vec<OptionError>> {
        let (mut definitions, mut faults) = (Self::default(), Vec::new());
        for spec in specs {
            match definitions.add(spec) {
                Ok(()) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(definitions) } else { Err(faults) }
    }

    fn add(&mut self, spec: &OptionSpec) -> Result<(), OptionError> {
        let fault = |reason: String| OptionError::Definition { option: spec.name.clone(), reason };
        let option = spec.resolve()?;
        let space = space_name(spec.space.as_deref().unwrap_or(DHCP4));
        if let Some((_, other)) = self.user.iter().find(|(in_space, other)| {
            in_space == space && (other.code == option.code || other.name.eq_ignore_ascii_case(&option.name))
        }) {
            return Err(fault(format!("space `{space}` already has `{}` of code {}", other.name, other.code)));
        }
        let shadowed = standard_in(space).iter().find(|standard| standard.name == option.name);
        if let Some(standard) = shadowed.filter(|standard| standard.code != option.code) {
            return Err(fault(format!("`{}` is the standard option {}: use another name", option.name, standard.code)));
        }
        if space == DHCP4
            && let Some(instead) = server_owned(option.code)
        {
            return Err(fault(format!("the server sets option {} itself: {instead}", option.code)));
        }
        self.user.push((space.to_owned(), option));
        Ok(())
    }

    /// The ordinary option of this code.
    #[must_use]
    pub fn by_code(&self, code: u8) -> Option<&OptionDef> {
        self.in_space(DHCP4, code)
    }

    /// The ordinary option of this name (or this code, written in decimal).
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&OptionDef> {
        self.named_in(DHCP4, name)
    }

    /// The option of this code in a space.
    #[must_use]
    pub fn in_space(&self, space: &str, code: u8) -> Option<&OptionDef> {
        let space = space_name(space);
        let user = self.user.iter().find(|(in_space, option)| in_space == space && option.code == code);
        user.map(|(_, option)| option).or_else(|| match space {
            DHCP4 => table::standard(code),
            _ => standard_in(space).iter().find(|option| option.code == code),
        })
    }

    /// The option of this name (or this code, written in decimal) in a space.
    #[must_use]
    pub fn named_in(&self, space: &str, name: &str) -> Option<&OptionDef> {
        if let Ok(code) = name.parse::<u8>() {
            return self.in_space(space, code);
        }
        self.all_in(space).find(|option| option.name == name)
    }

    /// The code that a name, or a number written in decimal, stands for in a space.
    #[must_use]
    pub fn code_in(&self, space: &str, name: &str) -> Option<u8> {
        match name.parse::<u8>() {
            Ok(code) => Some(code),
            Err(_) => self.named_in(space, name).map(OptionDef::code),
        }
    }

    fn all_in<'a, 's>(&'a self, space: &'s str) -> impl Iterator<Item = &'a OptionDef> + use<'a, 's> {
        let space = space_name(space);
        let user = self.user.iter().filter(move |(in_space, _)| in_space == space).map(|(_, option)| option);
        user.chain(standard_in(space))
    }

    /// True if the space is known: standard, some vendor's, defined into or carried by an option.
    #[must_use]
    pub fn has_space(&self, space: &str) -> bool {
        let space = space_name(space);
        enterprise(space).is_some()
            || table::SPACES.iter().any(|(name, _)| *name == space)
            || self.user.iter().any(|(in_space, _)| in_space == space && space != DHCP4)
            || self.user.iter().any(|(_, option)| matches!(&option.kind, Kind::Space(carried) if carried == space))
    }

    /// The ordinary option that carries a space: the one a definition gave it, 125 for `vendor-NUMBER`, else 43.
    #[must_use]
    pub fn carrier(&self, space: &str) -> u8 {
        let space = space_name(space);
        let carries = |option: &&OptionDef| matches!(&option.kind, Kind::Space(carried) if carried == space);
        match self.all_in(DHCP4).find(carries) {
            Some(option) => option.code,
            None if enterprise(space).is_some() => 125,
            None => 43,
        }
    }

    /// ": did you mean `routers`?" for a name near to one of a space, or nothing.
    pub(crate) fn hint(&self, space: &str, name: &str) -> String {
        let spaces = table::SPACES.iter().map(|(space, _)| *space).filter(|_| space == DHCP4);
        let near = self
            .all_in(space)
            .map(OptionDef::name)
            .chain(spaces)
            .map(|known| (strsim::jaro_winkler(&name.replace('_', "-").to_ascii_lowercase(), known), known))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match near {
            Some((score, known)) if score > 0.85 => format!(": did you mean `{known}`?"),
            _ => String::new(),
        }
    }

    /// What an ordinary option's octets say: a value that gives the same octets again, hex if nothing nicer does.
    #[must_use]
    pub fn decode(&self, code: u8, data: &[u8]) -> Value {
        self.decode_in(DHCP4, code, data)
    }

    /// The same of an option in a space.
    #[must_use]
    pub fn decode_in(&self, space: &str, code: u8, data: &[u8]) -> Value {
        let kind = self.in_space(space, code).map_or(&Kind::One(Scalar::Binary), OptionDef::kind);
        decode(self, kind, data)
    }

    /// What an ordinary option is called: its name, or its code if it has none.
    #[must_use]
    pub fn name_of(&self, code: u8) -> Cow<'_, str> {
        self.by_code(code).map_or_else(|| Cow::Owned(code.to_string()), |option| Cow::Borrowed(option.name()))
    }
}

/// One name for the spaces that Kea writes with a suffix.
fn space_name(space: &str) -> &str {
    match space {
        "vendor-encapsulated-options-space" => VENDOR,
        "dhcp-agent-options-space" => RELAY,
        _ => space,
    }
}

/// The number in `vendor-NUMBER`.
pub(super) fn enterprise(space: &str) -> Option<u32> {
    space.strip_prefix("vendor-")?.parse().ok()
}

fn standard_in(space: &str) -> &'static [OptionDef] {
    match space {
        DHCP4 => &table::OPTIONS,
        _ => table::SPACES.iter().find(|(name, _)| *name == space).map_or(&[], |(_, options)| options),
    }
}

/// What to do instead of configuring an option that the server sets, reads or echoes itself; `None` for all others.
#[must_use]
pub fn server_owned(code: u8) -> Option<&'static str> {
    Some(match code {
        0 | 255 => "it is padding or the end marker, remove it",
        50 | 55 | 57 | 61 | 93 | 94 | 97 | 118 => "only clients send it, remove it",
        51 => "set `lease_time`",
        52 | 53 | 56 => "it follows from the message, remove it",
        54 => "it is the address the client was reached on, remove it",
        58 => "set `renew_time`",
        59 => "set `rebind_time`",
        80 => "it answers a client that sent it, remove it",
        81 => "it answers the name a client sent, remove it",
        82 => "it echoes what the relay sent, remove it",
        90 => "message authentication is negotiated, remove it",
        91 | 92 | 151..=157 => "it answers a leasequery, remove it",
        _ => return None,
    })
}

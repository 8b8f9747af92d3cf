//! Parameters: what a request says, as values of their types, or why it is none.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use outwork_config::Fault;
use regex::Regex;

use super::calendar::{is_date, is_timestamp};
use super::config::{From, Param, Type};
use super::literal::Literal;

/// A value as a database gets it: never as text of the SQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// None.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A text, or what is best left as one: decimals, UUIDs, dates, moments, JSON.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A parameter that is ready to be read.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it is taken from.
    pub from: From,
    kind: Type,
    required: bool,
    default: Option<Value>,
    min: Option<Value>,
    max: Option<Value>,
    pattern: Option<Regex>,
    max_length: usize,
    one_of: Vec<Value>,
}

/// Why a text is no value of a parameter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// It is missing.
    #[error("it is missing")]
    Missing,
    /// It is something else.
    #[error("expected {}", expected(*.0))]
    Type(Type),
    /// The number is too small.
    #[error("expected {} or more", shown(.0))]
    Below(Value),
    /// The number is too great.
    #[error("expected {} or less", shown(.0))]
    Above(Value),
    /// The text is too long.
    #[error("expected at most {0} characters")]
    Long(usize),
    /// The text does not fit the pattern.
    #[error("it does not have the form that is expected")]
    Pattern,
    /// It is none of the values that there are.
    #[error("expected one of {}", .0.iter().map(shown).collect::<Vec<_>>().join(", "))]
    Choice(Vec<Value>),
    /// It is given more than once.
    #[error("it is given more than once")]
    Twice,
    /// It has a character that no database takes.
    #[error("there is a NUL character in it")]
    Nul,
}

impl Unfit {
    /// What would be right: a fault says by itself that this was expected.
    fn wanted(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("expected ").map(str::to_owned).unwrap_or(text)
    }
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Integer => "a whole number of 64 bits",
        Type::Number | Type::Decimal => "a number",
        Type::Boolean => "true or false",
        Type::Text => "a text",
        Type::Uuid => "a UUID",
        Type::Date => "a date such as 2026-11-21",
        Type::Timestamp => "a moment such as 2026-11-21T12:00:00Z",
        Type::Json => "JSON",
        Type::Bytes => "bytes in Base64",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
    }
}

/// Whether a text is a decimal number: digits, perhaps with a sign, a point and an exponent.
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) =
        text.split_once(['e', 'E']).map_or((text, None), |(text, exponent)| (text, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let small = |text: &str| digits(text) && text.len() <= 4;
    digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| small(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)))
}

fn is_uuid(text: &str) -> bool {
    let mut parts = text.split('-');
    [8, 4, 4, 4, 12].into_iter().all(|length| {
        parts.next().is_some_and(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }) && parts.next().is_none()
}

/// The value of a text.
fn read(kind: Type, text: &str) -> Result<Value, Unfit> {
    let unfit = || Unfit::Type(kind);
    let text_if = |fits: bool| if fits { Ok(Value::Text(text.to_owned())) } else { Err(unfit()) };
    match kind {
        Type::Integer => text.parse().map(Value::Integer).map_err(|_| unfit()),
        Type::Number => {
            let number = Some(text).filter(|text| is_decimal(text)).and_then(|text| text.parse::<f64>().ok());
            number.filter(|number| number.is_finite()).map(Value::Number).ok_or_else(unfit)
        }
        Type::Decimal => text_if(is_decimal(text)),
        Type::Boolean => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(unfit()),
        },
        Type::Text => Ok(Value::Text(text.to_owned())),
        Type::Uuid => text_if(is_uuid(text)).map(|value| match value {
            // One form, so that texts that mean the same are the same.
            Value::Text(text) => Value::Text(text.to_ascii_lowercase()),
            other => other,
        }),
        Type::Date => text_if(is_date(text)),
        Type::Timestamp => text_if(is_timestamp(text)),
        Type::Json => text_if(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()),
        Type::Bytes => {
            // Both alphabets, with padding or without.
            let plain: String = text.trim_end_matches('=').chars().map(to_url_safe).collect();
            URL_SAFE_NO_PAD.decode(plain).map(Value::Bytes).map_err(|_| unfit())
        }
    }
}

fn to_url_safe(character: char) -> char {
    match character {
        '+' => '-',
        '/' => '_',
        other => other,
    }
}

impl Value {
    /// How it compares as a number; `None` where it is none.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn is_below(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one < other,
            _ => self.number().zip(other.number()).is_some_and(|(one, other)| one < other),
        }
    }
}

/// A regular expression that all of a text has to fit.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// What is wrong with what the configuration says of a parameter, by key.
pub fn faults(param: &Param) -> Vec<(String, Fault)> {
    let mut faults = Vec::new();
    let kind = param.r#type;
    let is_number = matches!(kind, Type::Integer | Type::Number | Type::Decimal);
    let mut literal = |key: String, literal: &Literal| {
        if let Err(unfit) = read(kind, literal.as_str()) {
            faults.push((key, Fault::new(format!("{:?} is no {kind}", literal.as_str())).expected(unfit.wanted())));
        }
    };
    param.default.iter().for_each(|value| literal("default".into(), value));
    param.min.iter().filter(|_| is_number).for_each(|value| literal("min".into(), value));
    param.max.iter().filter(|_| is_number).for_each(|value| literal("max".into(), value));
    param.one_of.iter().enumerate().for_each(|(index, value)| literal(format!("one_of[{index}]"), value));
    for (key, given) in [("min", param.min.is_some()), ("max", param.max.is_some())] {
        if given && !is_number {
            let fault = Fault::new(format!("a {kind} has no {key}")).expected("it at an integer, number or decimal");
            faults.push((key.into(), fault));
        }
    }
    if let Some(Err(error)) = param.pattern.as_deref().map(whole) {
        faults.push(("pattern".into(), Fault::new(error.to_string()).expected("a regular expression")));
    }
    if param.required == Some(true) && param.default.is_some() {
        let fault = Fault::new("it has to be given, and has a default");
        faults.push(("default".into(), fault.help("take out one of required and default")));
    }
    if faults.is_empty() {
        let parameter = Parameter::new("", From::Query, param);
        if let (Some(min), Some(max)) = (&parameter.min, &parameter.max)
            && max.is_below(min)
        {
            faults.push(("max".into(), Fault::new("it is below min").expected("at least min")));
        }
        if let Some(default) = param.default.as_ref()
            && let Err(unfit) = parameter.value(Some(default.as_str()))
        {
            let fault = Fault::new(format!("{:?} would be refused", default.as_str()));
            faults.push(("default".into(), fault.expected(unfit.wanted())));
        }
    }
    faults
}

impl Parameter {
    /// Makes it ready. What has [`faults`] is left out.
    pub fn new(name: &str, from: From, param: &Param) -> Self {
        let kind = param.r#type;
        let value = |literal: &Literal| read(kind, literal.as_str()).ok();
        Self {
            name: name.to_owned(),
            from,
            kind,
            required: param.required.unwrap_or(param.default.is_none()),
            default: param.default.as_ref().and_then(value),
            min: param.min.as_ref().and_then(value),
            max: param.max.as_ref().and_then(value),
            pattern: param.pattern.as_deref().and_then(|pattern| whole(pattern).ok()),
            max_length: param.max_length as usize,
            one_of: param.one_of.iter().filter_map(value).collect(),
        }
    }

    /// The value of what was given.
    ///
    /// # Errors
    /// Why it is none.
    pub fn value(&self, given: Option<&str>) -> Result<Value, Unfit> {
        let Some(text) = given else {
            return match (&self.default, self.required) {
                (Some(default), _) => Ok(default.clone()),
                (None, true) => Err(Unfit::Missing),
                (None, false) => Ok(Value::Null),
            };
        };
        if text.contains('\0') {
            return Err(Unfit::Nul);
        }
        if text.len() > self.max_length && text.chars().count() > self.max_length {
            return Err(Unfit::Long(self.max_length));
        }
        let value = read(self.kind, text)?;
        if let Some(min) = self.min.as_ref().filter(|min| value.is_below(min)) {
            return Err(Unfit::Below(min.clone()));
        }
        if let Some(max) = self.max.as_ref().filter(|max| max.is_below(&value)) {
            return Err(Unfit::Above(max.clone()));
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            return Err(Unfit::Pattern);
        }
        if !self.one_of.is_empty() && !self.one_of.contains(&value) {
            return Err(Unfit::Choice(self.one_of.clone()));
        }
        Ok(value)
    }

    /// The value of what a JSON document has.
    ///
    /// # Errors
    /// Why it is none.
    pub fn json_value(&self, given: Option<&serde_json::Value>) -> Result<Value, Unfit> {
        use serde_json::Value as Json;
        match (given, self.kind) {
            (None | Some(Json::Null), kind) if given.is_none() || kind != Type::Json => self.value(None),
            (Some(json), Type::Json) => self.value(Some(&json.to_string())),
            (Some(Json::Number(number)), Type::Integer | Type::Number | Type::Decimal) => {
                self.value(Some(&number.to_string()))
            }
            (Some(Json::Bool(value)), Type::Boolean) => self.value(Some(if *value { "true" } else { "false" })),
            // Numbers that JSON's readers would round may come as texts.
            (Some(Json::String(_)), Type::Number | Type::Boolean) => Err(Unfit::Type(self.kind)),
            (Some(Json::String(text)), _) => self.value(Some(text)),
            (_, kind) => Err(Unfit::Type(kind)),
        }
    }
}

#[cfg(test)]
#[path = "parameter_tests.rs"]
mod tests;

//! What a request says of a query's parameters.

use std::borrow::Cow;

use form_urlencoded::parse;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use outwork_front::answer::Captures;
use outwork_front::message::{BodyError, RequestBody};
use serde_json::{Map, Value as Json};

use super::config::{Format, From};
use super::error::QueryError;
use super::parameter::{Parameter, Unfit, Value};
use super::query::Prepared;
use super::render::Form;

/// The form that a client gets.
///
/// # Errors
/// When it takes neither.
pub(super) fn form(format: Format, head: &Parts) -> Result<Form, QueryError> {
    match format {
        Format::Json => return Ok(Form::Json),
        Format::Csv => return Ok(Form::Csv),
        Format::Auto => {}
    }
    let lists = head.headers.get_all(ACCEPT);
    let lists = || lists.iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    if lists().all(|one| one.trim().is_empty()) {
        return Ok(Form::Json);
    }
    // The most specific range that fits counts (RFC 9110 section 12.5.1).
    let weight = |kind: &str, sub: &str| {
        let mut best = (0, 0);
        for range in lists() {
            let mut parts = range.split(';').map(str::trim);
            let (Some(name), rest) = (parts.next(), parts) else { continue };
            let (main, own) = name.split_once('/').unwrap_or((name, ""));
            let precision = match (main.eq_ignore_ascii_case(kind), own.eq_ignore_ascii_case(sub), main, own) {
                (true, true, ..) => 3,
                (true, false, _, "*") => 2,
                (_, _, "*", "*") => 1,
                _ => continue,
            };
            let mut rest = rest.filter_map(|one| one.strip_prefix("q=").or_else(|| one.strip_prefix("Q=")));
            let quality = rest.next().map_or(1000, thousandths);
            if precision > best.0 {
                best = (precision, quality);
            }
        }
        best.1
    };
    match (weight("application", "json"), weight("text", "csv")) {
        (0, 0) => Err(QueryError::NotAcceptable),
        (json, csv) if json >= csv => Ok(Form::Json),
        _ => Ok(Form::Csv),
    }
}

/// A weight (RFC 9110 section 12.4.2) in thousandths. What is malformed is nothing.
fn thousandths(text: &str) -> u32 {
    let weight = text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or_default();
    (weight * 1000.0).round() as u32
}

/// What a content says, by name.
#[derive(Debug)]
pub(super) enum Content {
    /// There is none.
    None,
    /// A JSON object.
    Object(Map<String, Json>),
    /// A form.
    Form(Vec<(String, String)>),
}

/// Reads the content of a request.
///
/// # Errors
/// When it is too large, no JSON object and no form, or does not come to its end.
pub(super) async fn content(head: &Parts, body: RequestBody, query: &Prepared) -> Result<Content, QueryError> {
    let limit = query.max_body;
    let bytes = body.whole(limit).await.map_err(|error| match error {
        BodyError::TooLarge { limit } => QueryError::Content(limit),
        error => QueryError::Request(error.to_string()),
    })?;
    if bytes.is_empty() {
        return Ok(Content::None);
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return match serde_json::from_slice(&bytes) {
            Ok(Json::Object(object)) => Ok(Content::Object(object)),
            Ok(_) => Err(QueryError::Request("the content is no JSON object".to_owned())),
            Err(error) => Err(QueryError::Request(format!("the content is no JSON: {error}"))),
        };
    }
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(Content::Form(parse(&bytes).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()));
    }
    Err(QueryError::MediaType)
}

/// The values of all parameters, in their order.
///
/// # Errors
/// The first that is none, and what a content has beside them.
pub(super) fn values(query: &Prepared, head: &Parts, content: &Content) -> Result<Vec<Value>, QueryError> {
    let values = query.parameters.iter().map(|parameter| {
        let value = match parameter.from {
            From::Path => parameter.value(in_path(head, &parameter.name).as_deref()),
            From::Query => in_query(head, parameter),
            From::Body => in_content(content, parameter),
        };
        value.map_err(|reason| QueryError::Parameter { name: parameter.name.clone(), reason })
    });
    let values = values.collect::<Result<Vec<_>, QueryError>>()?;
    let known = |name: &str| query.parameters.iter().any(|one| one.from == From::Body && one.name == name);
    let unknown = match content {
        Content::None => None,
        Content::Object(object) => object.keys().find(|name| !known(name)).map(String::as_str),
        Content::Form(pairs) => pairs.iter().map(|(name, _)| name.as_str()).find(|name| !known(name)),
    };
    match unknown {
        // Most likely a name that was misspelt, and would be written as nothing.
        Some(name) => Err(QueryError::Request(format!("there is no parameter {name:?} in the content"))),
        None => Ok(values),
    }
}

/// What the path has in the place of a name. A slash and a percent sign are still escaped there.
fn in_path(head: &Parts, name: &str) -> Option<String> {
    let Captures(captures) = head.extensions.get()?;
    let (_, text) = captures.iter().find(|(own, _)| own == name)?;
    Some(text.replace("%2F", "/").replace("%25", "%"))
}

fn in_query(head: &Parts, parameter: &Parameter) -> Result<Value, Unfit> {
    let pairs = parse(head.uri.query().unwrap_or_default().as_bytes());
    once(pairs.filter(|(name, _)| *name == parameter.name).map(|(_, value)| value), parameter)
}

fn in_content(content: &Content, parameter: &Parameter) -> Result<Value, Unfit> {
    match content {
        Content::None => parameter.value(None),
        Content::Object(object) => parameter.json_value(object.get(&parameter.name)),
        Content::Form(pairs) => {
            let pairs = pairs.iter().filter(|(name, _)| *name == parameter.name);
            once(pairs.map(|(_, value)| value.as_str().into()), parameter)
        }
    }
}

/// A value that is given once or not at all: of two, nobody knows which is meant.
fn once<'a>(mut given: impl Iterator<Item = Cow<'a, str>>, parameter: &Parameter) -> Result<Value, Unfit> {
    match (given.next(), given.next()) {
        (value, None) => parameter.value(value.as_deref()),
        (_, Some(_)) => Err(Unfit::Twice),
    }
}

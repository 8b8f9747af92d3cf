use outwork_config::{Sources, load, section};

use super::*;

section! {
    /// Parameters.
    struct Params {
        /// Them.
        params: std::collections::BTreeMap<String, Param>,
    }
}

fn param(settings: &str) -> Param {
    let sources =
        Sources { file: Some(("a.toml".into(), format!("params.x = {{ {settings} }}"))), env: vec![], set: vec![] };
    load::<Params>(sources).unwrap().value.params.remove("x").unwrap()
}

fn value(settings: &str, given: &str) -> Result<Value, String> {
    let param = param(settings);
    assert_eq!(faults(&param).len(), 0, "{settings}");
    Parameter::new("x", From::Query, &param).value(Some(given)).map_err(|unfit| unfit.to_string())
}

#[test]
fn a_text_is_a_value_of_its_type_or_nothing() {
    let text = |text: &str| Value::Text(text.into());
    for (kind, given, expected) in [
        ("integer", "-9223372036854775808", Some(Value::Integer(i64::MIN))),
        ("integer", "9223372036854775808", None),
        ("integer", "1.0", None),
        ("integer", " 1", None),
        ("integer", "", None),
        ("integer", "1; drop table users", None),
        ("number", "1e3", Some(Value::Number(1000.0))),
        ("number", "NaN", None),
        ("number", "inf", None),
        ("number", "1e999", None),
        ("decimal", "12345678901234567890.10", Some(text("12345678901234567890.10"))),
        ("decimal", "1e99999", None),
        ("decimal", ".5", None),
        ("boolean", "true", Some(Value::Boolean(true))),
        ("boolean", "1", None),
        ("text", "' or 1 = 1 --", Some(text("' or 1 = 1 --"))),
        ("text", "", Some(text(""))),
        ("text", "a\0b", None),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", Some(text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"))),
        ("uuid", "a0eebc999c0b4ef8bb6d6bb9bd380a11", None),
        ("date", "2026-11-21", Some(text("2026-11-21"))),
        ("date", "2026-02-30", None),
        ("timestamp", "2026-11-21T12:00:00Z", Some(text("2026-11-21T12:00:00Z"))),
        ("timestamp", "now", None),
        ("json", "{\"a\": [1]}", Some(text("{\"a\": [1]}"))),
        ("json", "{a}", None),
        ("bytes", "AP8=", Some(Value::Bytes(vec![0, 255]))),
        ("bytes", "-_8", Some(Value::Bytes(vec![251, 255]))),
        ("bytes", "+/8=", Some(Value::Bytes(vec![251, 255]))),
        ("bytes", "?", None),
    ] {
        assert_eq!(value(&format!("type = '{kind}'"), given).ok(), expected, "{kind} {given:?}");
    }
}

#[test]
fn a_value_keeps_to_its_bounds_and_says_which_it_breaks() {
    let refused = |settings: &str, given: &str| value(settings, given).unwrap_err();
    let bounded = "type = 'integer', min = 1, max = 9007199254740993";
    assert_eq!(refused(bounded, "0"), "expected 1 or more");
    assert_eq!(refused(bounded, "9007199254740994"), "expected 9007199254740993 or less");
    assert_eq!(value(bounded, "9007199254740993"), Ok(Value::Integer(9_007_199_254_740_993)));
    assert_eq!(refused("type = 'decimal', max = 0.5", "0.51"), "expected 0.5 or less");
    assert_eq!(refused("type = 'text', max_length = 2", "äöü"), "expected at most 2 characters");
    assert!(value("type = 'text', max_length = 2", "äö").is_ok());
    assert_eq!(refused("type = 'text', pattern = '[a-z]+'", "abc\n"), "it does not have the form that is expected");
    assert!(value("type = 'text', pattern = 'a|b'", "b").is_ok());
    assert!(value("type = 'text', pattern = 'a|b'", "ab").is_err());
    assert_eq!(refused("type = 'text', one_of = ['asc', 'desc']", "ASC"), "expected one of asc, desc");
    assert_eq!(refused("type = 'integer', one_of = [1, 2]", "3"), "expected one of 1, 2");
}

#[test]
fn what_is_not_given_is_an_error_a_default_or_nothing() {
    let value = |settings: &str| Parameter::new("x", From::Query, &param(settings)).value(None);
    assert_eq!(value("type = 'integer'"), Err(Unfit::Missing));
    assert_eq!(value("type = 'integer', default = 7"), Ok(Value::Integer(7)));
    assert_eq!(value("type = 'integer', required = false"), Ok(Value::Null));
}

#[test]
fn json_has_types_of_its_own() {
    let value = |settings: &str, json: serde_json::Value| {
        Parameter::new("x", From::Body, &param(settings)).json_value(Some(&json)).ok()
    };
    let text = |text: &str| Some(Value::Text(text.into()));
    assert_eq!(value("type = 'integer'", serde_json::json!(7)), Some(Value::Integer(7)));
    assert_eq!(
        value("type = 'integer'", serde_json::json!("9007199254740993")),
        Some(Value::Integer(9_007_199_254_740_993))
    );
    assert_eq!(value("type = 'integer'", serde_json::json!(7.5)), None);
    assert_eq!(value("type = 'boolean'", serde_json::json!(true)), Some(Value::Boolean(true)));
    assert_eq!(value("type = 'boolean'", serde_json::json!("true")), None);
    assert_eq!(value("type = 'text'", serde_json::json!("a")), text("a"));
    assert_eq!(value("type = 'text'", serde_json::json!(7)), None);
    assert_eq!(value("type = 'text'", serde_json::json!(["a"])), None);
    assert_eq!(value("type = 'text'", serde_json::json!(null)), None);
    assert_eq!(value("type = 'text', required = false", serde_json::json!(null)), Some(Value::Null));
    assert_eq!(value("type = 'json'", serde_json::json!({"a": null})), text("{\"a\":null}"));
    assert_eq!(value("type = 'json'", serde_json::json!(null)), text("null"));
}

#[test]
fn what_makes_no_sense_is_refused_by_key() {
    for (key, settings) in [
        ("default", "type = 'integer', default = 'x'"),
        ("default", "type = 'integer', default = 0, min = 1"),
        ("default", "type = 'integer', default = 1, required = true"),
        ("min", "type = 'text', min = 1"),
        ("max", "type = 'integer', max = 1.5"),
        ("max", "type = 'integer', min = 2, max = 1"),
        ("pattern", "type = 'text', pattern = '('"),
        ("one_of[1]", "type = 'date', one_of = ['2026-11-21', 'today']"),
    ] {
        let faults = faults(&param(settings));
        assert_eq!(faults.first().map(|(key, _)| key.as_str()), Some(key), "{settings}");
        let said = format!("{:?}", faults.first());
        assert!(!said.contains("expected: Some(\"expected"), "nothing is said twice: {said}");
    }
}

use proptest::prelude::*;

use super::*;

fn read(sql: &str, dialect: Dialect) -> Vec<(TokenKind, &str)> {
    tokens(sql, dialect).unwrap().into_iter().map(|token| (token.kind, token.text)).collect()
}

fn parameters(sql: &str, dialect: Dialect) -> Vec<&str> {
    let found = read(sql, dialect).into_iter().filter(|(kind, _)| *kind == TokenKind::Parameter);
    found.map(|(_, name)| name).collect()
}

const BOTH: [Dialect; 2] = [Dialect::Sqlite, Dialect::Postgres];

#[test]
fn a_parameter_is_a_colon_and_a_name_outside_of_everything_else() {
    for dialect in BOTH {
        for sql in [
            "select ':no', 'it''s :no' where a = :yes",
            "select \":no\", \"x\"\":no\" where a=:yes",
            "select 1 -- :no 'no\n where a = :yes",
            "select /* :no ' */ 1 where a = :yes",
            "select a::no, b ::no, c:: no, :yes",
            "select (:yes)",
            "select a-:yes+1",
        ] {
            assert_eq!(parameters(sql, dialect), ["yes"], "{sql}");
        }
    }
    assert_eq!(parameters("select :a, :b_1, :A", Dialect::Sqlite), ["a", "b_1", "A"]);
    assert_eq!(parameters("select :id::int, a[1:2], a[ : 3], x := 1", Dialect::Postgres), ["id"]);
}

#[test]
fn postgresql_has_texts_of_its_own() {
    for sql in [
        "select $$ :no ' $$, :yes",
        "select $a_1$ :no $$ $b$ $a_1$, :yes",
        "select E'\\' :no', :yes",
        "select e'\\\\', :yes, e':no'",
        "select '\\', :yes, ':no'",
        "select U&'\\0041 :no', U&\":no\", :yes",
        "select /* :no /* :no */ :no */ :yes",
        "select a$b$, :yes, ':no $b$'",
        "select :yes where j ? 'k' and j @> '{}' and a # 1 = 0",
    ] {
        assert_eq!(parameters(sql, Dialect::Postgres), ["yes"], "{sql}");
    }
}

#[test]
fn sqlite_has_names_of_its_own() {
    for sql in ["select [:no], :yes", "select `:no ``:no`, :yes", "select x'00', :yes", "select /* /* :no */ :yes"] {
        assert_eq!(parameters(sql, Dialect::Sqlite), ["yes"], "{sql}");
    }
}

#[test]
fn what_has_no_end_or_is_another_kind_of_parameter_is_refused_where_it_begins() {
    use TokenErrorKind::{Comment, Continued, Nul, Parameter, Quoted, Text};
    for (sql, dialect, kind, at) in [
        ("select 'a", Dialect::Sqlite, Text, 7),
        ("select \"a", Dialect::Postgres, Quoted, 7),
        ("select [a", Dialect::Sqlite, Quoted, 7),
        ("select /* /* */", Dialect::Postgres, Comment, 7),
        ("select $a$ $b$", Dialect::Postgres, Text, 7),
        ("select $1", Dialect::Postgres, Parameter, 7),
        ("select ?", Dialect::Sqlite, Parameter, 7),
        ("select @a", Dialect::Sqlite, Parameter, 7),
        ("select $a", Dialect::Sqlite, Parameter, 7),
        ("select :1", Dialect::Sqlite, Parameter, 7),
        ("select e'\\'", Dialect::Postgres, Text, 7),
        ("select E'a' \n '\\' :x'", Dialect::Postgres, Continued, 14),
        ("select '\0'", Dialect::Postgres, Nul, 8),
        ("select \0", Dialect::Sqlite, Nul, 7),
    ] {
        assert_eq!(tokens(sql, dialect), Err(TokenError { kind, at }), "{sql:?}");
    }
}

/// A piece of SQL, and the parameter in it.
fn piece() -> impl Strategy<Value = (String, Option<String>)> {
    let none = |text: String| (text, None);
    let text = "[a-z:'\\\\\"\\-/*$ é;]{0,12}";
    prop_oneof![
        "[a-z]{1,6}".prop_map(|name| (format!(":p{name}"), Some(format!("p{name}")))),
        text.prop_map(move |text| none(format!("'{}'", text.replace('\'', "''")))),
        text.prop_map(move |text| none(format!("\"x{}\"", text.replace('"', "\"\"")))),
        "[a-z:' \"]{0,12}".prop_map(move |text| none(format!("/*{text}*/"))),
        "[a-z:'\"*/ ]{0,12}".prop_map(move |text| none(format!("-- {text}\n"))),
        "[0-9]{1,4}".prop_map(none),
        "[a-z]{2,6}".prop_map(none),
        Just(none("::".into())),
        Just(none("(".into())),
        Just(none("=".into())),
    ]
}

proptest! {
    #[test]
    fn however_pieces_are_put_together_the_parameters_are_those_that_were_put_in(
        pieces in prop::collection::vec(piece(), 0..20), is_sqlite: bool,
    ) {
        let dialect = if is_sqlite { Dialect::Sqlite } else { Dialect::Postgres };
        let sql: Vec<&str> = pieces.iter().map(|(text, _)| text.as_str()).collect();
        let expected: Vec<&str> = pieces.iter().filter_map(|(_, name)| name.as_deref()).collect();
        let sql = sql.join(" ");
        prop_assert_eq!(parameters(&sql, dialect), expected);
    }

    #[test]
    fn any_text_is_read_or_refused_and_nothing_of_it_is_lost(sql in "\\PC{0,40}|[:'\"$/*\\-\\[\\]`eE\\\\ \n0a]{0,40}", is_sqlite: bool) {
        let dialect = if is_sqlite { Dialect::Sqlite } else { Dialect::Postgres };
        if let Ok(tokens) = tokens(&sql, dialect) {
            let mut at = 0;
            for token in tokens {
                prop_assert!(token.start >= at && token.end > token.start);
                prop_assert!(sql.get(token.start..token.end).is_some_and(|text| text.ends_with(token.text)));
                at = token.end;
            }
        }
    }

    /// SQLite itself is asked what it takes for parameters.
    #[test]
    fn sqlite_finds_the_same_parameters(pieces in prop::collection::vec(piece(), 0..6)) {
        let values: Vec<&str> = pieces.iter().map(|(text, _)| text.as_str()).filter(|text| {
            text.starts_with([':', '\'', '/', '-']) && *text != "::"
        }).collect();
        let sql = format!("select 0 {}", values.iter().map(|value| match value.starts_with(['/', '-']) {
            true => (*value).to_owned(),
            false => format!(", {value}"),
        }).collect::<Vec<_>>().join(" "));
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let statement = connection.prepare(&sql).unwrap();
        let theirs: Vec<String> = (1..=statement.parameter_count())
            .map(|index| statement.parameter_name(index).unwrap().trim_start_matches(':').to_owned())
            .collect();
        let mut ours = parameters(&sql, Dialect::Sqlite);
        let mut seen = std::collections::HashSet::new();
        ours.retain(|name| seen.insert(*name));
        prop_assert_eq!(ours, theirs);
    }
}

use outwork_config::{Sources, load};

use super::*;
use crate::sql::config::Rows;

fn query(text: &str) -> Query {
    let sources =
        Sources { file: Some(("a.toml".into(), format!("database = 'main'\n{text}"))), env: vec![], set: vec![] };
    load::<Query>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).value
}

fn prepared(path: &str, methods: &[&str], dialect: Dialect, text: &str) -> Result<Prepared, Vec<String>> {
    let (path, cache) = (path.parse().unwrap(), QueryCache::default());
    let methods: Vec<String> = methods.iter().map(|method| (*method).to_owned()).collect();
    let around = Around { path: &path, methods: &methods, dialect, cache: &cache };
    prepare(&query(text), around).map_err(|faults| faults.into_iter().map(|(key, _)| key).collect())
}

#[test]
fn a_query_knows_where_each_parameter_comes_from() {
    let text = "sql = 'select :b, :id, :a, :b'\nparams = { id = { type = 'integer' }, a = { type = 'text' }, b = { type = 'text' } }";
    let query = prepared("/x/{id}", &[], Dialect::Sqlite, text).unwrap();
    let from: Vec<_> = query.parameters.iter().map(|one| (one.name.as_str(), one.from)).collect();
    assert_eq!(from, [("a", From::Query), ("b", From::Query), ("id", From::Path)]);
    assert_eq!(query.bindings, [[1, 2, 0]]);
    assert_eq!(query.bounds.rows, Rows::Many);
    let text = "sql = 'delete from t where id = :id and v = :v'\nwrite = true\nparams = { id = { type = 'integer' }, v = { type = 'text' } }";
    let query = prepared("/x/{id}", &["DELETE"], Dialect::Postgres, text).unwrap();
    assert_eq!(query.parameters[1].from, From::Body);
}

#[test]
fn what_cannot_work_is_refused_by_key() {
    for (keys, path, methods, text) in [
        (&["query.sql"][..], "/", &[][..], "sql = ''"),
        (&["query.sql"], "/", &[], "sql = \"select 'a\""),
        (&["query.sql"], "/", &[], "sql = 'select :a'"),
        (&["query.sql"], "/", &[], "sql = 'select ?'"),
        (&["query.sql"], "/", &[], "sql = 'select 1; select 2'"),
        (&["query.sql"], "/", &[], "sql = 'delete from t'"),
        (&["query.sql"], "/", &[], "sql = 'drop table t'"),
        (&["query.sql"], "/", &["POST"], "sql = 'drop table t; delete from t'\nwrite = true"),
        (&["query.sql"], "/", &["POST"], "sql = 'select 1'\nwrite = true"),
        (&["methods"], "/", &[], "sql = 'delete from t'\nwrite = true"),
        (&["methods[1]"], "/", &["POST", "GET"], "sql = 'delete from t'\nwrite = true"),
        (&["methods[0]"], "/", &["POST"], "sql = 'select 1'"),
        (&["query.params.\"a\""], "/", &[], "sql = 'select 1'\nparams = { a = { type = 'text' } }"),
        (
            &["query.params.\"a\".from"],
            "/{b}",
            &[],
            "sql = 'select :a'\nparams = { a = { type = 'text', from = 'path' } }",
        ),
        (
            &["query.params.\"a\".from"],
            "/",
            &[],
            "sql = 'select :a'\nparams = { a = { type = 'text', from = 'body' } }",
        ),
        (&["query.cache.ttl"], "/", &["POST"], "sql = 'delete from t'\nwrite = true\ncache = { ttl = '1s' }"),
    ] {
        let found = prepared(path, methods, Dialect::Sqlite, text).unwrap_err();
        assert_eq!(found, keys, "{text}");
    }
    let json = prepared("/", &[], Dialect::Postgres, "sql = 'select a from t'\njson = ['a']");
    assert_eq!(json.unwrap_err(), ["query.json"]);
}

#[test]
fn results_are_kept_as_the_route_says_or_the_first_rule_that_fits() {
    let text = "ttl = '7s'\n[[rules]]\npattern = 'SELECT .* FROM users WHERE id = \\?'\nttl = '300s'\nmax_entry = '1KiB'\n\
                [[rules]]\npattern = 'from config'\nttl = '0s'";
    let sources = Sources { file: Some(("a.toml".into(), text.into())), env: vec![], set: vec![] };
    let cache = load::<QueryCache>(sources).unwrap().value;
    let ttl = |text: &str| {
        let path = "/".parse().unwrap();
        let around = Around { path: &path, methods: &[], dialect: Dialect::Sqlite, cache: &cache };
        prepare(&query(text), around).unwrap().kept.map(|kept| (kept.ttl.as_secs(), kept.max_entry))
    };
    let user = "sql = \"select name\\n from users\\n where id = :id\"\nparams = { id = { type = 'integer' } }";
    assert_eq!(ttl(user), Some((300, 1024)));
    assert_eq!(ttl(&format!("{user}\ncache = {{ ttl = '1s' }}")), Some((1, 1024)));
    assert_eq!(ttl(&format!("{user}\ncache = {{ enabled = false }}")), None);
    assert_eq!(ttl("sql = 'select a from config'"), None);
    assert_eq!(ttl("sql = 'select a from other'"), Some((7, 1 << 20)));
}

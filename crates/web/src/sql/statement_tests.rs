use super::*;

fn one(sql: &str, dialect: Dialect) -> Statement {
    let mut all = statements(sql, dialect).unwrap();
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0)
}

#[test]
fn parameters_become_placeholders_and_one_that_comes_twice_is_bound_once() {
    let sql = "select a from t where id = :id and (b=:b or c>:id)";
    let statement = one(sql, Dialect::Postgres);
    assert_eq!(statement.sql, "select a from t where id =  $1  and (b= $2  or c> $1 )");
    assert_eq!(statement.parameters, ["id", "b"]);
    assert_eq!(one(sql, Dialect::Sqlite).sql, "select a from t where id =  ?1  and (b= ?2  or c> ?1 )");
    assert_eq!(one("select:a::int", Dialect::Postgres).sql, "select $1 ::int");
}

#[test]
fn rules_see_one_form_of_the_sql() {
    let statement = one("SELECT name\n\tFROM users -- :x\n WHERE id=:id /* y */ AND a = 'b  c'", Dialect::Sqlite);
    assert_eq!(statement.plain, "SELECT name FROM users WHERE id=? AND a = 'b  c'");
}

#[test]
fn what_a_statement_does_is_known_before_it_runs() {
    for (sql, kind) in [
        ("select 1", Kind::Read),
        ("(select 1) union (select 2)", Kind::Read),
        ("values (1)", Kind::Read),
        ("with a as (select 1) select * from a", Kind::Read),
        ("select * from t for update", Kind::Read),
        ("select 'insert into t'", Kind::Read),
        ("insert into t values (1)", Kind::Write),
        ("update t set a = 1", Kind::Write),
        ("DELETE FROM t", Kind::Write),
        ("with a as (insert into t values (1) returning *) select * from a", Kind::Write),
        ("with a as (delete from t returning *) select * from a", Kind::Write),
        ("with a as (select 1) update t set x = 1", Kind::Write),
        ("with a as (update t set x = 1 returning *) select * from a", Kind::Write),
        ("drop table t", Kind::Other("DROP".into())),
        ("commit", Kind::Other("COMMIT".into())),
        ("set role admin", Kind::Other("SET".into())),
        ("attach 'x' as y", Kind::Other("ATTACH".into())),
    ] {
        assert_eq!(one(sql, Dialect::Postgres).kind, kind, "{sql}");
    }
}

#[test]
fn statements_are_parted_by_semicolons_that_are_none_of_a_text() {
    let sql = "insert into a values (';'); ; update b set c = $$;$$ -- ;\n;";
    let all = statements(sql, Dialect::Postgres).unwrap();
    let texts: Vec<&str> = all.iter().map(|statement| &*statement.sql).collect();
    assert_eq!(texts, ["insert into a values (';')", "update b set c = $$;$$"]);
    assert_eq!(all[1].span, (30, 52));
    assert!(statements(" -- nothing\n", Dialect::Sqlite).unwrap().is_empty());
}

#[test]
fn tables_are_those_that_are_named_where_tables_stand() {
    let tables = |sql: &str| one(sql, Dialect::Postgres).tables;
    assert_eq!(
        tables("select a, b from Users u, public.\"Roles\" as r join only x.y on u.a = y.a, z where a in (1, 2)"),
        ["users", "roles", "y", "z"]
    );
    assert_eq!(
        tables("select * from (select * from inner_one) q, other where x = (select max(a) from third)"),
        ["inner_one", "other", "third"]
    );
    assert_eq!(tables("select * from (a cross join b)"), ["a", "b"]);
    assert_eq!(tables("insert into log (a, b) select c, d from source"), ["log", "source"]);
    assert_eq!(tables("update stock set n = n - 1 from orders where a = b, c"), ["stock", "orders"]);
    assert_eq!(tables("delete from a using b, c where a.x = b.x"), ["a", "b", "c"]);
    assert_eq!(tables("select * from generate_series(1, 3) n, t"), ["t"]);
    assert_eq!(tables("merge into a using b on a.x = b.x when matched then delete"), ["a", "b"]);
    assert_eq!(tables("select a from t order by b, c limit 1"), ["t"]);
    assert_eq!(one("insert or replace into [My Table] values (1)", Dialect::Sqlite).tables, ["my table"]);
    assert_eq!(one("update or ignore `a``b` set x = 1", Dialect::Sqlite).tables, ["a`b"]);
    assert_eq!(table_name("public.\"Users\""), "users");
}

use std::time::Duration;

use super::*;
use crate::database::{Database, DatabaseOptions};

fn with<T: Send + 'static>(job: impl FnOnce(&Connection) -> T + Send + 'static) -> T {
    let dir = tempfile::TempDir::new().unwrap();
    let database = Database::open(&DatabaseOptions::new(dir.path().join("db")), &[]).unwrap();
    database.call(|connection| Ok(job(connection))).wait().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_secret_finds_its_token_and_only_its_hash_is_stored() {
    with(|connection| {
        let (token, secret) = create(connection, "laptop", Role::Operator, None, at(100)).unwrap();
        let (_, other) = create(connection, "phone", Role::Viewer, None, at(100)).unwrap();
        assert_ne!(secret, other);
        assert_eq!(secret.expose().len(), PREFIX.len() + 64);
        assert_eq!(verify_lookup(connection, secret.expose(), at(200)).unwrap(), Some(token));
        assert_eq!(verify_lookup(connection, "outwork_guess", at(200)).unwrap(), None);
        let stored: Vec<u8> =
            connection.query_row("SELECT hash FROM tokens WHERE name = 'laptop'", [], |row| row.get(0)).unwrap();
        assert_eq!(stored, Sha256::digest(secret.expose().as_bytes()).to_vec());
        assert!(!format!("{secret:?}").contains(secret.expose()));
    });
}

#[test]
fn an_expired_or_revoked_token_is_refused() {
    with(|connection| {
        let (_, short) = create(connection, "short", Role::Admin, Some(at(150)), at(100)).unwrap();
        assert!(verify_lookup(connection, short.expose(), at(149)).unwrap().is_some());
        assert!(verify_lookup(connection, short.expose(), at(150)).unwrap().is_none());
        let (token, long) = create(connection, "long", Role::Admin, None, at(100)).unwrap();
        assert!(revoke(connection, token.id).unwrap());
        assert!(!revoke(connection, token.id).unwrap());
        assert!(verify_lookup(connection, long.expose(), at(149)).unwrap().is_none());
    });
}

#[test]
fn names_are_unique_and_printable() {
    with(|connection| {
        create(connection, "one", Role::Viewer, None, at(1)).unwrap();
        assert!(matches!(create(connection, "one", Role::Viewer, None, at(1)), Err(CreateError::Exists(_))));
        for name in ["", "a\nb", "x".repeat(101).as_str()] {
            assert!(matches!(create(connection, name, Role::Viewer, None, at(1)), Err(CreateError::Name(_))));
        }
    });
}

#[test]
fn the_last_use_is_kept_and_never_goes_back() {
    with(|connection| {
        let (token, _) = create(connection, "b", Role::Viewer, Some(at(900)), at(1)).unwrap();
        create(connection, "a", Role::Admin, None, at(2)).unwrap();
        touch(connection, token.id, at(50)).unwrap();
        touch(connection, token.id, at(40)).unwrap();
        let all = list(connection).unwrap();
        assert_eq!(all.iter().map(|token| token.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all[1], Token { last_used: Some(at(50)), ..token });
    });
}

#[test]
fn roles_are_ordered_and_named() {
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
}

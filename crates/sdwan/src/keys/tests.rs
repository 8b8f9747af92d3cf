use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt as _;

use outwork_config::{Sources, load};
use tempfile::TempDir;

use super::*;

const START: SystemTime = UNIX_EPOCH;
const HOUR: Duration = Duration::from_secs(3600);

/// Control as far as keys go: who it is known by, and who knows which key.
#[derive(Default)]
struct Known {
    is: RefCell<BTreeMap<usize, Vec<PublicKey>>>,
    who: RefCell<BTreeMap<String, Vec<PublicKey>>>,
}

impl Known {
    fn of(names: &[&str]) -> Known {
        let who = names.iter().map(|name| ((*name).to_owned(), vec![])).collect();
        Known { who: RefCell::new(who), ..Known::default() }
    }

    fn learns(&self, name: &str, key: PublicKey) {
        self.who.borrow_mut().get_mut(name).unwrap().push(key);
    }

    fn at(&self, place: usize) -> usize {
        self.is.borrow().get(&place).map_or(1, Vec::len)
    }
}

impl Be for &Known {
    fn be(&self, place: usize, state: &State) -> Result<(), KeysError> {
        let keys = state.identity().keys().map(|key| *key.public()).collect();
        self.is.borrow_mut().insert(place, keys);
        Ok(())
    }

    fn knows(&self, _: usize, key: &PublicKey) -> Result<BTreeMap<String, bool>, KeysError> {
        Ok(self.who.borrow().iter().map(|(name, keys)| (name.clone(), keys.contains(key))).collect())
    }
}

fn settings(text: &str) -> Sdwan {
    load(Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() }).unwrap().value
}

const ONE: &str = "[[uplink]]\nname = 'fibre'\n";

fn only(keys: &Keys) -> KeyTold {
    keys.told().remove(0)
}

#[test]
fn a_key_takes_over_once_all_know_it_and_the_old_one_is_dropped_some_minutes_later() {
    let dir = TempDir::new().unwrap();
    let (keys, known) = (Keys::load(&settings(ONE), dir.path()).unwrap(), Known::of(&["site north", "peer phone"]));
    let mut watch = keys.watch();
    let old = only(&keys).published.key;
    let next = keys.begin(None, START, &known).unwrap()[0].published.next.unwrap();
    assert!(watch.has_changed().unwrap() && known.at(0) == 2);
    watch.mark_unchanged();
    known.learns("site north", next);
    keys.tend(START + HOUR, &known).unwrap();
    let told = only(&keys);
    let rotation = told.rotation.unwrap();
    assert_eq!((rotation.state, rotation.waits_for), ("announced", vec!["peer phone".to_owned()]));
    assert_eq!(told.published.key, old, "who does not know the new one is told the old one first");
    known.learns("peer phone", next);
    keys.tend(START + HOUR, &known).unwrap();
    assert_eq!(only(&keys).rotation.unwrap().state, "taken-up");
    assert_eq!(known.at(0), 2, "both are held still");
    keys.tend(START + HOUR + rotation::AFTER - Duration::from_millis(1), &known).unwrap();
    assert_eq!(known.at(0), 2);
    keys.tend(START + HOUR + rotation::AFTER, &known).unwrap();
    assert_eq!(
        (known.at(0), only(&keys).published),
        (1, Published { uplink: "fibre".into(), key: next, next: None, first: Some(old) })
    );
    // Hubs know it by the first one, however many come after.
    let third = keys.begin(None, START + 2 * HOUR, &known).unwrap()[0].published.next.unwrap();
    keys.tend(START + 100 * HOUR, &known).unwrap();
    assert_eq!((only(&keys).published.key, keys.first()), (third, vec![old]));
    assert!(watch.has_changed().unwrap());
}

#[test]
fn who_does_not_know_the_new_key_is_named_before_the_old_one_is_dropped() {
    let dir = TempDir::new().unwrap();
    let text = format!("{ONE}[keys]\noverlap = '10h'\n");
    let keys = Keys::load(&settings(&text), dir.path()).unwrap();
    let known = Known::of(&["peer phone"]);
    keys.begin(Some("fibre"), START, &known).unwrap();
    let who = BTreeMap::from([("peer phone".to_owned(), false)]);
    let mut state = keys.own.lock()[0].state.clone();
    let mut at = |hours: u64| state.step(hours * 3_600_000, 10 * HOUR, None, &who);
    let named = || vec!["peer phone".to_owned()];
    let until = 36_000_000;
    assert_eq!((at(1), at(5), at(6)), (Step::Wait, Step::Warn(named(), until), Step::Wait));
    assert_eq!((at(9), at(9), at(10)), (Step::Warn(named(), until), Step::Wait, Step::Drop(named())));
    keys.tend(START + 10 * HOUR, &known).unwrap();
    assert_eq!((known.at(0), only(&keys).rotation), (1, None));
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let (settings, known) = (settings(ONE), Known::of(&["site north"]));
    let again = || Keys::load(&settings, dir.path()).unwrap();
    let old = only(&again()).published;
    let begun = again().begin(None, START, &known).unwrap().remove(0);
    assert_eq!(only(&again()).published, begun.published);
    assert_eq!(
        again().identities()[0].current().public(),
        &old.key,
        "whom nothing is known of may know the old one alone"
    );
    known.learns("site north", begun.published.next.unwrap());
    again().tend(START + HOUR, &known).unwrap();
    assert_eq!(only(&again()).rotation.unwrap().state, "taken-up");
    assert_eq!(Some(*again().identities()[0].current().public()), begun.published.next);
    // Nobody has shown anything to a process that has just begun.
    let known = Known::of(&["site north"]);
    again().tend(START + 2 * HOUR, &known).unwrap();
    assert_eq!((Some(only(&again()).published.key), again().first()), (begun.published.next, vec![old.key]));
    for file in ["fibre.key", "fibre.rotation"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_crash_between_the_two_files_leaves_the_new_key_alone_in_force() {
    let dir = TempDir::new().unwrap();
    let settings = settings(ONE);
    let keys = Keys::load(&settings, dir.path()).unwrap();
    let old = only(&keys).published.key;
    let next = keys.begin(None, START, &Known::default()).unwrap()[0].published.next.unwrap();
    // The key was put in its place, and the rest was not written.
    let state = keys.own.lock()[0].state.dropped();
    keep_key(&dir.path().join("fibre.key"), &state.key).unwrap();
    let again = Keys::load(&settings, dir.path()).unwrap();
    assert_eq!(only(&again).published, Published { uplink: "fibre".into(), key: next, next: None, first: Some(old) });
    // A key that somebody has put there is another matter.
    keep_key(&dir.path().join("fibre.key"), &PrivateKey::new([7; 32]).unwrap()).unwrap();
    let told = Keys::load(&settings, dir.path()).unwrap_err().to_string();
    assert!(told.contains("fibre.rotation") && told.contains("about another key"), "{told}");
}

#[test]
fn a_key_that_is_given_up_is_gone_and_another_may_be_made() {
    let dir = TempDir::new().unwrap();
    let (keys, known) = (Keys::load(&settings(ONE), dir.path()).unwrap(), Known::of(&["site north"]));
    assert!(matches!(keys.abandon(None, &known), Err(KeysError::NotUnderWay { .. })));
    let first = keys.begin(None, START, &known).unwrap()[0].published.next;
    assert!(matches!(keys.begin(Some("fibre"), START, &known), Err(KeysError::UnderWay { .. })));
    keys.abandon(Some("fibre"), &known).unwrap();
    assert_eq!((known.at(0), only(&keys).rotation), (1, None));
    assert_eq!(only(&Keys::load(&settings(ONE), dir.path()).unwrap()).rotation, None);
    assert_ne!(keys.begin(None, START, &known).unwrap()[0].published.next, first);
}

#[test]
fn keys_of_the_configuration_and_of_the_kernel_are_left_alone_and_it_is_said_why() {
    let dir = TempDir::new().unwrap();
    let key = PrivateKey::new([7; 32]).unwrap().reveal().to_string();
    let text = format!(
        "[[uplink]]\nname = 'given'\nprivate_key = '{key}'\n[[uplink]]\nname = 'phones'\nlisten = ['0.0.0.0:1']\ncarrier = 'auto'\n"
    );
    let (keys, known) = (Keys::load(&settings(&text), dir.path()).unwrap(), Known::default());
    for (uplink, said) in [("given", "written down"), ("phones", "one key at a time"), ("fibre", "given, phones")] {
        let told = keys.begin(Some(uplink), START, &known).unwrap_err().to_string();
        assert!(told.contains(uplink) && told.contains(said), "{told}");
    }
    assert!(matches!(keys.begin(None, START, &known), Err(KeysError::None)));
    keys.tend(START + 1_000_000 * HOUR, &known).unwrap();
    assert!(known.is.borrow().is_empty());
}

#[test]
fn keys_that_are_old_enough_are_followed_by_others_each_at_a_time_of_its_own() {
    let every = 240 * HOUR;
    let expires = |octet: u8| State::new(PrivateKey::new([octet; 32]).unwrap(), 0).expires(every);
    let all: std::collections::BTreeSet<u64> = (1..=20).map(expires).collect();
    let (most, least) = (every.as_millis() as u64, every.as_millis() as u64 * 9 / 10);
    assert!(all.len() > 15 && all.iter().all(|at| (least..=most).contains(at)), "{all:?}");
    let mut state = State::new(PrivateKey::new([1; 32]).unwrap(), 0);
    let at = state.expires(every);
    let none = BTreeMap::new();
    assert_eq!(state.step(at - 1, HOUR, Some(every), &none), Step::Wait);
    assert_eq!(state.step(at, HOUR, Some(every), &none), Step::Begin);
    assert_eq!(state.step(at, HOUR, None, &none), Step::Wait, "unless somebody says so");
}

#[test]
fn a_key_does_not_take_over_from_one_that_still_does() {
    let text = format!("{ONE}[keys]\noverlap = '48h'\nrotate_every = '72h'\n");
    let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
    let told = load::<Sdwan>(sources).map(drop).map_err(|faults| faults.render(false)).unwrap_err();
    assert!(told.contains("keys.rotate_every") && told.contains("twice"), "{told}");
}

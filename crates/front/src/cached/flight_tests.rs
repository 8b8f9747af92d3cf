use super::*;

const KEY: Key = Key::from_bytes([1; 16]);
const PRIMARY: Key = Key::from_bytes([2; 16]);

fn lead(flights: &Arc<Flights>) -> Lead {
    match flights.join(KEY, PRIMARY) {
        Role::Lead(lead) => lead,
        _ => panic!("somebody leads already"),
    }
}

fn follow(flights: &Arc<Flights>) -> Follower {
    match flights.join(KEY, PRIMARY) {
        Role::Follow(follower) => follower,
        _ => panic!("nobody leads"),
    }
}

#[tokio::test]
async fn a_leader_that_ends_in_whatever_way_leaves_nobody_waiting() {
    let flights = Arc::default();
    let leader = lead(&flights);
    let follower = follow(&flights);
    drop(leader);
    assert!(matches!(follower.follow(&HeaderMap::new(), false).await, Followed::Released));
    lead(&flights);
}

#[test]
fn who_waits_is_counted_and_bounded() {
    let flights = Arc::default();
    let _leader = lead(&flights);
    let mut waiting: Vec<_> = (0..FOLLOWERS).map(|_| follow(&flights)).collect();
    assert!(matches!(flights.join(KEY, PRIMARY), Role::Full));
    waiting.pop();
    assert!(matches!(flights.join(KEY, PRIMARY), Role::Follow(_)));
}

#[test]
fn what_is_doomed_or_left_is_joined_by_nobody_more_and_another_takes_its_place() {
    let flights = Arc::default();
    let old = lead(&flights);
    flights.doom(&PRIMARY);
    let new = lead(&flights);
    assert!(old.is_doomed() && !new.is_doomed());
    drop(old);
    follow(&flights);
    flights.leave_alone();
    let third = lead(&flights);
    assert!(!new.is_doomed() && !third.is_doomed());
}

#[test]
fn a_follower_on_another_thread_is_woken() {
    let flights: Arc<Flights> = Arc::default();
    let leader = lead(&flights);
    let follower = follow(&flights);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        matches!(runtime.block_on(follower.follow(&HeaderMap::new(), false)), Followed::Released)
    });
    leader.release();
    assert!(thread.join().unwrap());
}

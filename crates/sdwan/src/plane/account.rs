//! What flows under each policy have sent: workers add to it, and whoever asks reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::policy::PolicyId;

/// What is said of flows under none.
pub const NONE: &str = "none";

/// What has been sent under one policy since there was one of its name.
#[derive(Debug, Default)]
pub struct Account {
    /// Packets.
    pub packets: AtomicU64,
    /// Their octets.
    pub octets: AtomicU64,
}

/// What has been sent under a policy by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTold {
    /// The policy; empty for those under none.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
}

/// Those of all policies.
#[derive(Debug, Default)]
pub struct Accounts {
    /// In the order of their numbers, and that of flows under none.
    all: Vec<(Box<str>, Arc<Account>)>,
}

impl Accounts {
    /// Those of policies of these names, in the order of their numbers. Who was among `before` goes on counting.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>, before: &Accounts) -> Accounts {
        let known: BTreeMap<&str, &Arc<Account>> =
            before.all.iter().map(|(name, account)| (&**name, account)).collect();
        let of =
            |name: &'a str| (name.into(), known.get(name).map_or_else(Arc::default, |account| Arc::clone(account)));
        Accounts { all: names.into_iter().chain([NONE]).map(of).collect() }
    }

    /// That of a policy, or of none. None where there is another plan by now than the one that gave the number.
    pub fn of(&self, policy: Option<PolicyId>) -> Option<&Arc<Account>> {
        let place = policy.map_or(self.all.len().checked_sub(1)?, |PolicyId(id)| id as usize);
        self.all.get(place).map(|(_, account)| account)
    }

    /// What each has sent by now, those under none without a name.
    pub fn told(&self) -> Vec<PolicyTold> {
        let last = self.all.len().saturating_sub(1);
        let told = |(place, (name, account)): (usize, &(Box<str>, Arc<Account>))| PolicyTold {
            name: if place == last { String::new() } else { name.to_string() },
            packets: account.packets.load(Relaxed),
            octets: account.octets.load(Relaxed),
        };
        self.all.iter().enumerate().map(told).collect()
    }

    /// All of them with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.all.iter().map(|(name, account)| (&**name, &**account))
    }
}

/// What one worker has sent under the policy of the piece before: it is added at once where the next one is under another.
#[derive(Debug, Default)]
pub struct Tally {
    policy: Option<PolicyId>,
    packets: u64,
    octets: u64,
}

impl Tally {
    /// So many packets and octets were sent under a policy.
    pub fn add(&mut self, accounts: &Accounts, policy: Option<PolicyId>, packets: u64, octets: u64) {
        if policy != self.policy {
            self.settle(accounts);
            self.policy = policy;
        }
        self.packets += packets;
        self.octets += octets;
    }

    /// Adds what there is.
    pub fn settle(&mut self, accounts: &Accounts) {
        let (packets, octets) = (std::mem::take(&mut self.packets), std::mem::take(&mut self.octets));
        if let Some(account) = accounts.of(self.policy).filter(|_| packets > 0) {
            account.packets.fetch_add(packets, Relaxed);
            account.octets.fetch_add(octets, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(accounts: &Accounts) -> Vec<(&str, u64, u64)> {
        accounts.iter().map(|(name, one)| (name, one.packets.load(Relaxed), one.octets.load(Relaxed))).collect()
    }

    #[test]
    fn what_is_sent_is_counted_under_its_policy_and_what_is_under_none_apart() {
        let accounts = Accounts::new(["voice", "mail"], &Accounts::default());
        let mut tally = Tally::default();
        tally.add(&accounts, Some(PolicyId(1)), 2, 200);
        tally.add(&accounts, Some(PolicyId(1)), 1, 50);
        tally.add(&accounts, None, 4, 400);
        assert_eq!(
            told(&accounts),
            [("voice", 0, 0), ("mail", 3, 250), (NONE, 0, 0)],
            "the last is added when it is over"
        );
        tally.settle(&accounts);
        tally.settle(&accounts);
        assert_eq!(told(&accounts)[2], (NONE, 4, 400), "once");
        let names: Vec<_> = accounts.told().into_iter().map(|one| (one.name, one.octets)).collect();
        assert_eq!(names, [("voice".to_owned(), 0), ("mail".to_owned(), 250), (String::new(), 400)]);
    }

    #[test]
    fn a_policy_goes_on_counting_under_its_name_whatever_its_number_is_by_then() {
        let before = Accounts::new(["voice", "mail"], &Accounts::default());
        let mut tally = Tally::default();
        tally.add(&before, Some(PolicyId(1)), 3, 250);
        tally.settle(&before);
        let after = Accounts::new(["mail", "video"], &before);
        assert_eq!(told(&after), [("mail", 3, 250), ("video", 0, 0), (NONE, 0, 0)]);
        assert!(after.of(Some(PolicyId(9))).is_none());
    }
}

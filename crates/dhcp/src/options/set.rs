//! Compiled options of one scope, and how scopes overlay each other.
use std::sync::Arc;

/// A set of option codes, 32 octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeSet([u64; 4]);

const fn position(code: u8) -> (usize, u64) {
    ((code >> 6) as usize, 1 << (code & 63))
}

impl CodeSet {
    /// True if `code` is in.
    #[must_use]
    pub fn contains(&self, code: u8) -> bool {
        let (word, bit) = position(code);
        self.0[word] & bit != 0
    }

    /// Puts `code` in.
    pub fn insert(&mut self, code: u8) {
        let (word, bit) = position(code);
        self.0[word] |= bit;
    }

    /// Takes `code` out.
    pub fn remove(&mut self, code: u8) {
        let (word, bit) = position(code);
        self.0[word] &= !bit;
    }

    /// True if no code is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Codes in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Codes in this and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// How many codes below `code` are in.
    fn rank(&self, code: u8) -> usize {
        let (word, bit) = position(code);
        let below: u32 = self.0[..word].iter().map(|w| w.count_ones()).sum();
        (below + (self.0[word] & (bit - 1)).count_ones()) as usize
    }

    /// The codes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..4u8).flat_map(|word| {
            let mut rest = self.0[usize::from(word)];
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let code = word << 6 | rest.trailing_zeros() as u8;
                rest &= rest - 1;
                Some(code)
            })
        })
    }
}

impl FromIterator<u8> for CodeSet {
    fn from_iter<I: IntoIterator<Item = u8>>(codes: I) -> Self {
        let mut set = Self::default();
        codes.into_iter().for_each(|code| set.insert(code));
        set
    }
}

/// The options of one scope: wire data by code, which of them go out unasked, and which are held back.
///
/// Scopes overlay from general to specific (global, network, subnet, pool, class, reservation: the engine decides the
/// order). The most specific scope that names an option wins, by its data or by holding it back (`never_send`);
/// `always_send` in any scope holds for the code unless a more specific scope holds it back.
/// Data is shared, so overlaying copies no bytes; finding one takes a few instructions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionSet {
    present: CodeSet,
    always: CodeSet,
    never: CodeSet,
    /// In the order of `present`.
    data: Vec<Arc<[u8]>>,
}

impl OptionSet {
    /// True if the scope says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.present.is_empty() && self.always.is_empty() && self.never.is_empty()
    }

    /// The option's data in this scope alone.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.shared(code).map(AsRef::as_ref)
    }

    /// Bytes of memory behind it; data that other sets share is counted in each.
    pub(crate) fn memory(&self) -> usize {
        // The data stand behind two counts.
        let data: usize = self.data.iter().map(|data| data.len() + 2 * size_of::<usize>()).sum();
        data + self.data.capacity() * size_of::<Arc<[u8]>>()
    }

    fn shared(&self, code: u8) -> Option<&Arc<[u8]>> {
        if self.present.contains(code) { self.data.get(self.present.rank(code)) } else { None }
    }

    /// Gives `code` this data, in place of what it had, and no longer holds it back.
    pub fn insert(&mut self, code: u8, data: impl Into<Arc<[u8]>>) {
        let rank = self.present.rank(code);
        let data = data.into();
        if self.present.contains(code) {
            if let Some(slot) = self.data.get_mut(rank) {
                *slot = data;
            }
        } else {
            self.present.insert(code);
            self.data.insert(rank, data);
        }
        self.never.remove(code);
    }

    /// Takes the option out of this scope, so that a more general one shows through.
    pub fn remove(&mut self, code: u8) {
        if self.present.contains(code) {
            self.data.remove(self.present.rank(code));
            self.present.remove(code);
        }
    }

    /// Sends the option whether or not the client asked for it.
    pub fn always_send(&mut self, code: u8) {
        self.always.insert(code);
        self.never.remove(code);
    }

    /// Holds the option back, whatever more general scopes say.
    pub fn never_send(&mut self, code: u8) {
        self.remove(code);
        self.always.remove(code);
        self.never.insert(code);
    }

    /// Codes this scope has data for.
    #[must_use]
    pub fn codes(&self) -> CodeSet {
        self.present
    }

    /// Codes this scope sends unasked (their data may come from another scope).
    #[must_use]
    pub fn always(&self) -> CodeSet {
        self.always
    }

    /// Codes this scope holds back.
    #[must_use]
    pub fn never(&self) -> CodeSet {
        self.never
    }

    /// Code and data, ascending by code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.present.iter().zip(self.data.iter().map(AsRef::as_ref))
    }

    /// Lays a more specific scope over this one.
    pub fn overlay(&mut self, specific: &Self) {
        for code in specific.never.iter() {
            self.never_send(code);
        }
        for (code, data) in specific.present.iter().zip(&specific.data) {
            self.insert(code, Arc::clone(data));
        }
        for code in specific.always.iter() {
            self.always_send(code);
        }
    }

    /// What a client under these scopes (general first) would get for `code`; copies nothing.
    #[must_use]
    pub fn lookup<'a>(scopes: &[&'a Self], code: u8) -> Option<&'a [u8]> {
        for scope in scopes.iter().rev() {
            if let Some(data) = scope.get(code) {
                return Some(data);
            }
            if scope.never.contains(code) {
                return None;
            }
        }
        None
    }

    /// True if these scopes (general first) hold `code` back.
    #[must_use]
    pub fn holds_back(scopes: &[&Self], code: u8) -> bool {
        let word = scopes.iter().rev().find(|scope| scope.present.contains(code) || scope.never.contains(code));
        word.is_some_and(|scope| scope.never.contains(code))
    }

    /// Codes that a client under these scopes (general first) gets unasked.
    #[must_use]
    pub fn unasked(scopes: &[&Self]) -> CodeSet {
        scopes.iter().fold(CodeSet::default(), |codes, scope| codes.without(&scope.never).union(&scope.always))
    }
}

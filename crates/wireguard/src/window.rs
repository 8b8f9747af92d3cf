//! Which counters of a session were seen: a sliding bitmap (5.4.6; the scheme of RFC 6479).

/// How far a datagram may come behind the newest one. A few milliseconds of a fast line, and some more for paths whose delays differ.
pub const SIZE: u64 = 8192;

const BITS: u64 = u64::BITS as u64;

/// One word more than the window holds, so that clearing the word ahead never clears one still in the window.
const WORDS: u64 = SIZE / BITS + 1;

/// What a counter may be refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Seen before.
    Replayed,
    /// Too far behind to tell.
    Behind,
}

/// The window.
#[derive(Debug, Clone)]
pub struct Window {
    words: [u64; WORDS as usize],
    /// One more than the greatest counter seen; 0 before the first.
    next: u64,
}

impl Default for Window {
    fn default() -> Self {
        Window { words: [0; WORDS as usize], next: 0 }
    }
}

impl Window {
    /// Whether [`Window::accept`] would take `counter`. For a look before the cost of decryption.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, counter: u64) -> Result<(), Stale> {
        if counter >= self.next {
            return Ok(());
        }
        if self.next - counter > SIZE {
            return Err(Stale::Behind);
        }
        let (word, bit) = place(counter);
        match self.words.get(word) {
            Some(word) if word & bit == 0 => Ok(()),
            _ => Err(Stale::Replayed),
        }
    }

    /// One more than the greatest counter that was seen: none from this on was.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Marks `counter` as seen. Only for what was authenticated: who can move the window can close it for everybody.
    ///
    /// # Errors
    /// When it was seen before, or cannot be told from what was.
    pub fn accept(&mut self, counter: u64) -> Result<(), Stale> {
        self.check(counter)?;
        if counter >= self.next {
            self.advance(counter);
        }
        let (word, bit) = place(counter);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
        Ok(())
    }

    /// Clears the words between the newest and `counter`, which becomes the newest. At most all of them, however far it is.
    fn advance(&mut self, counter: u64) {
        let newest = self.next.checked_sub(1).map_or(0, |newest| newest / BITS);
        let ahead = (counter / BITS - newest).min(WORDS);
        for step in 0..ahead {
            let word = (counter / BITS - step) % WORDS;
            if let Some(word) = self.words.get_mut(word as usize) {
                *word = 0;
            }
        }
        self.next = counter.saturating_add(1);
    }
}

fn place(counter: u64) -> (usize, u64) {
    (((counter / BITS) % WORDS) as usize, 1 << (counter % BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use outwork_engine::sim::seeds;

    use super::*;

    /// Remembers everything.
    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn accept(&mut self, counter: u64) -> Result<(), Stale> {
            if self.0.last().is_some_and(|newest| newest - newest.min(&counter) >= SIZE) {
                return Err(Stale::Behind);
            }
            if self.0.insert(counter) { Ok(()) } else { Err(Stale::Replayed) }
        }
    }

    #[test]
    fn it_says_what_remembering_everything_would() {
        seeds(40, |rng| {
            let (mut window, mut model) = (Window::default(), Model::default());
            let mut around = if rng.chance(0.5) { 0 } else { rng.next_u64() >> 1 };
            for _ in 0..5000 {
                around += match rng.below(100) {
                    0 => rng.below(3 * SIZE),
                    1..=5 => rng.below(2 * BITS),
                    _ => rng.below(3),
                };
                let back = if rng.chance(0.1) { SIZE + 10 } else { 100 };
                let counter = around.saturating_sub(rng.below(back));
                let expected = model.accept(counter);
                assert_eq!(window.check(counter), expected, "{counter}");
                assert_eq!(window.accept(counter), expected, "{counter}");
            }
        });
    }

    #[test]
    fn the_last_counter_of_the_window_is_taken_and_the_one_behind_is_not() {
        let mut window = Window::default();
        window.accept(SIZE + 10).unwrap();
        assert_eq!(window.accept(11), Ok(()));
        assert_eq!(window.accept(11), Err(Stale::Replayed));
        assert_eq!(window.accept(10), Err(Stale::Behind));
    }

    #[test]
    fn the_greatest_counters_do_not_wrap_around() {
        let mut window = Window::default();
        assert_eq!(window.accept(u64::MAX - 1), Ok(()));
        assert_eq!(window.accept(u64::MAX - 1), Err(Stale::Replayed));
        assert_eq!(window.accept(0), Err(Stale::Behind));
        assert_eq!(window.accept(u64::MAX - SIZE), Ok(()));
    }
}

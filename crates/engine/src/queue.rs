//! A bounded queue.

use std::collections::VecDeque;

/// What a full queue gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The item that comes: those already waiting are served in order.
    DropNewest,
    /// The item that has waited longest: its sender has likely given up.
    DropOldest,
}

/// First in, first out, at most `capacity` items; what does not fit is counted.
#[derive(Debug, Clone)]
pub struct Queue<T> {
    items: VecDeque<T>,
    capacity: usize,
    when_full: WhenFull,
    dropped: u64,
}

impl<T> Queue<T> {
    /// An empty queue. Room is taken as it is used.
    pub fn new(capacity: usize, when_full: WhenFull) -> Self {
        Queue { items: VecDeque::new(), capacity, when_full, dropped: 0 }
    }

    /// Adds `item`, and gives back what had to go for it: another item or, when the newest goes or there is no capacity at all, itself.
    pub fn push(&mut self, item: T) -> Option<T> {
        if self.items.len() < self.capacity {
            self.items.push_back(item);
            return None;
        }
        self.dropped += 1;
        if self.when_full == WhenFull::DropOldest
            && let Some(oldest) = self.items.pop_front()
        {
            self.items.push_back(item);
            return Some(oldest);
        }
        Some(item)
    }

    /// Takes the item that has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items given up since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_up_the_newest_or_the_oldest_as_told() {
        for (when_full, given_up, left) in [(WhenFull::DropNewest, 3, [1, 2]), (WhenFull::DropOldest, 1, [2, 3])] {
            let mut queue = Queue::new(2, when_full);
            assert_eq!([queue.push(1), queue.push(2), queue.push(3)], [None, None, Some(given_up)]);
            assert_eq!((queue.len(), queue.dropped()), (2, 1));
            assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(left[0]), Some(left[1]), None]);
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn a_queue_without_capacity_gives_everything_back() {
        let mut queue = Queue::new(0, WhenFull::DropOldest);
        assert_eq!((queue.push(1), queue.dropped()), (Some(1), 1));
    }
}

//! Sets of processors, as the kernel writes them: lists (`0-3,8`), and masks (`f,00000003`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One more than the highest number of a processor that any kernel has.
const MOST: u32 = 8192;

/// A set of processors, of which there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processors(BTreeSet<u32>);

/// Why a text is no set of processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorsError {
    /// A part of it is neither a number nor a range.
    #[error("a part of it is neither a number nor a range")]
    Part,
    /// A range that ends before it begins.
    #[error("a range of it ends before it begins")]
    Range,
    /// There is no such processor anywhere.
    #[error("processors have numbers below {MOST}")]
    High,
}

impl FromStr for Processors {
    type Err = ProcessorsError;

    fn from_str(text: &str) -> Result<Self, ProcessorsError> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| ProcessorsError::Part);
        let mut set = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if last < first {
                return Err(ProcessorsError::Range);
            }
            if last >= MOST {
                return Err(ProcessorsError::High);
            }
            set.extend(first..=last);
        }
        Ok(Processors(set))
    }
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for number in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *number => *last = *number,
                _ => runs.push((*number, *number)),
            }
        }
        let run = |(first, last): (u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        f.pad(&runs.into_iter().map(run).collect::<Vec<_>>().join(","))
    }
}

outwork_config::text_setting!(Processors, "processors such as", "0-3");

impl Processors {
    /// Their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone {
        self.0.iter().copied()
    }

    /// The first of them that is not among others.
    pub fn outside(&self, others: &Processors) -> Option<u32> {
        self.iter().find(|number| !others.0.contains(number))
    }

    /// As a mask: words of 32 bits in hexadecimal, the highest first.
    pub fn mask(&self) -> String {
        let words = self.iter().max().unwrap_or(0) / 32 + 1;
        let word = |at: u32| self.iter().filter(|number| number / 32 == at).fold(0u32, |bits, n| bits | 1 << (n % 32));
        (0..words).rev().map(|at| format!("{:08x}", word(at))).collect::<Vec<_>>().join(",")
    }

    /// The set that a mask stands for; `None` where it is of none, or no mask.
    pub fn of_mask(mask: &str) -> Option<Self> {
        let mut set = BTreeSet::new();
        for (at, word) in mask.trim().rsplit(',').enumerate().take(MOST as usize / 32) {
            let (bits, first) = (u32::from_str_radix(word, 16).ok()?, u32::try_from(at).ok()? * 32);
            set.extend((0..32).filter(|bit| bits & (1 << bit) != 0).map(|bit| first + bit));
        }
        (!set.is_empty()).then_some(Processors(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_two_ways_to_write_the_same() {
        for (text, list, mask) in [
            ("0", "0", "00000001"),
            ("0-3", "0-3", "0000000f"),
            ("3,1,2, 0", "0-3", "0000000f"),
            ("0,2,4-6,33", "0,2,4-6,33", "00000002,00000075"),
        ] {
            let read: Processors = text.parse().unwrap();
            assert_eq!((read.to_string(), read.mask()), (list.to_owned(), mask.to_owned()));
            assert_eq!(Processors::of_mask(mask), Some(read));
        }
        assert_eq!(Processors::of_mask("f"), "0-3".parse().ok(), "kernels with few processors write few digits");
        assert_eq!((Processors::of_mask("0"), Processors::of_mask("x")), (None, None));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        use ProcessorsError::{High, Part, Range};
        for (text, error) in [("", Part), ("a", Part), ("0-", Part), ("1-2-3", Part), ("3-1", Range), ("0-8192", High)]
        {
            assert_eq!(text.parse::<Processors>(), Err(error), "{text:?}");
        }
    }
}

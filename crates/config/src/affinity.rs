//! Where threads stay: `true`, `false`, or processors such as `4-7,9`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use crate::fault::{Fault, Faults};
use crate::node::{Node, Value};
use crate::setting::Setting;

/// Which processors threads of one kind stay on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Whichever the kernel finds best, again and again.
    #[default]
    Anywhere,
    /// Each on one, of all that the process may use, in turn.
    Each,
    /// On these.
    On(Processors),
}

impl Affinity {
    /// Where the thread with this number stays, the first of its kind being 0: on one processor, of those named or of the
    /// `usable`. `None` is anywhere.
    pub fn of_thread(&self, index: usize, usable: &[usize]) -> Option<usize> {
        let processors = match self {
            Affinity::Anywhere => return None,
            Affinity::Each => usable,
            Affinity::On(named) => named.numbers(),
        };
        processors.get(index.checked_rem(processors.len())?).copied()
    }

    /// The processors that are named.
    pub fn named(&self) -> Option<&Processors> {
        match self {
            Affinity::On(named) => Some(named),
            Affinity::Anywhere | Affinity::Each => None,
        }
    }

    /// How many processors there are for its threads, where there are so many `usable` ones.
    pub fn count(&self, usable: usize) -> usize {
        self.named().map_or(usable, |named| named.numbers().len())
    }
}

/// Processors by number, in the order in which they were named, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processors(Vec<usize>);

/// Numbers of processors that the kernel's sets have room for.
const MOST: usize = 1024;

/// What is wrong with a text that should name processors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorsError {
    /// A part of it is neither a number nor a range.
    #[error("{0:?} is neither the number of a processor nor a range of them")]
    Part(String),
    /// A range ends before it begins.
    #[error("the range {0:?} ends before it begins")]
    Backwards(String),
    /// A number is out of the question.
    #[error("no processor has the number {0}: they go up to 1023")]
    Number(usize),
    /// A processor is named twice.
    #[error("processor {0} is named twice")]
    Twice(usize),
}

impl Processors {
    /// Their numbers, at least one.
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// One.
    fn one(number: i128) -> Option<Self> {
        usize::try_from(number).ok().filter(|number| *number < MOST).map(|number| Self(vec![number]))
    }
}

/// Digits and nothing else, for what `parse` takes besides is not how processors are written.
fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|_| text.bytes().all(|octet| octet.is_ascii_digit()))
}

impl FromStr for Processors {
    type Err = ProcessorsError;

    fn from_str(text: &str) -> Result<Self, ProcessorsError> {
        let mut numbers = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let ends = number(first.trim()).zip(number(last.trim()));
            let (first, last) = ends.ok_or_else(|| ProcessorsError::Part(part.to_owned()))?;
            if first > last {
                return Err(ProcessorsError::Backwards(part.to_owned()));
            }
            if last >= MOST {
                return Err(ProcessorsError::Number(last));
            }
            for processor in first..=last {
                if numbers.contains(&processor) {
                    return Err(ProcessorsError::Twice(processor));
                }
                numbers.push(processor);
            }
        }
        Ok(Self(numbers))
    }
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|one, next| one + 1 == *next);
        let run = |run: &[usize]| match run {
            [first, .., last] => format!("{first}-{last}"),
            alone => alone.iter().map(ToString::to_string).collect(),
        };
        f.pad(&runs.map(run).collect::<Vec<_>>().join(","))
    }
}

impl Setting for Affinity {
    fn expected() -> String {
        r#"true, false, or processors such as "4-7,9""#.into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Bool(true) => return Some(Affinity::Each),
            Value::Bool(false) => return Some(Affinity::Anywhere),
            Value::Int(number) => return Processors::one(*number).map(Affinity::On).or_else(|| faults.wrong(node)),
            _ => {}
        }
        let Some(text) = node.text() else { return faults.wrong(node) };
        match text.parse() {
            Ok(processors) => Some(Affinity::On(processors)),
            Err(error) => {
                let fault = Fault::new(format!("found {}: {error}", node.describe())).expected(Self::expected());
                faults.on(node, fault.help("name each processor once, by number, as `lscpu --extended` lists them"));
                None
            }
        }
    }

    fn write(&self) -> Json {
        match self {
            Affinity::Anywhere => false.into(),
            Affinity::Each => true.into(),
            Affinity::On(processors) => processors.to_string().into(),
        }
    }

    fn schema() -> Json {
        json!({
            "type": ["boolean", "string", "integer"],
            "minimum": 0,
            "maximum": MOST - 1,
            "pattern": "^ *\\d+ *(- *\\d+ *)?(, *\\d+ *(- *\\d+ *)?)*$",
            "examples": ["4-7,9", true],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, load, section};

    section! {
        /// For this test.
        struct Root {
            /// Where threads stay.
            affinity: Affinity = Affinity::Anywhere,
        }
    }

    fn read(text: &str) -> Result<Affinity, String> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        load::<Root>(sources).map(|loaded| loaded.value.affinity).map_err(|faults| faults.render(false))
    }

    fn on(numbers: &[usize]) -> Affinity {
        Affinity::On(Processors(numbers.to_vec()))
    }

    #[test]
    fn affinity_is_a_word_a_number_or_processors_in_their_order() {
        for (text, affinity, written) in [
            ("true", Affinity::Each, json!(true)),
            ("false", Affinity::Anywhere, json!(false)),
            ("5", on(&[5]), json!("5")),
            ("'4-7,9'", on(&[4, 5, 6, 7, 9]), json!("4-7,9")),
            ("' 9 , 0 - 1 '", on(&[9, 0, 1]), json!("9,0-1")),
            ("'1023'", on(&[1023]), json!("1023")),
        ] {
            assert_eq!(read(&format!("affinity = {text}")).as_ref(), Ok(&affinity), "{text}");
            assert_eq!(affinity.write(), written);
        }
        // A shell has no types.
        for (text, affinity) in [("true", Affinity::Each), ("5", on(&[5])), ("4-5", on(&[4, 5]))] {
            let env = vec![("OUTWORK__AFFINITY".into(), text.into())];
            assert_eq!(load::<Root>(Sources { env, ..Sources::default() }).unwrap().value.affinity, affinity);
        }
    }

    #[test]
    fn what_names_no_processors_is_refused_with_the_reason() {
        for (text, reason) in [
            ("''", "\"\" is neither"),
            ("'4-'", "\"4-\" is neither"),
            ("'4,,5'", "\"\" is neither"),
            ("'+4'", "\"+4\" is neither"),
            ("'all'", "\"all\" is neither"),
            ("'7-4'", "ends before it begins"),
            ("'4-6,5'", "processor 5 is named twice"),
            ("'1024'", "no processor has the number 1024"),
            ("'0-99999999999'", "no processor has the number 99999999999"),
            ("-1", "found the number -1"),
            ("2048", "found the number 2048"),
            ("[4, 5]", "true, false, or processors"),
        ] {
            let told = read(&format!("affinity = {text}")).expect_err(text);
            assert!(told.contains(reason) && told.contains("4-7,9"), "{text}: {told}");
        }
    }

    #[test]
    fn threads_take_processors_in_turn() {
        let taken = |affinity: &Affinity| (0..3).map(|index| affinity.of_thread(index, &[2, 3])).collect::<Vec<_>>();
        assert_eq!(taken(&Affinity::Anywhere), [None; 3]);
        assert_eq!(taken(&Affinity::Each), [Some(2), Some(3), Some(2)]);
        assert_eq!(taken(&on(&[9, 4])), [Some(9), Some(4), Some(9)]);
        assert_eq!(Affinity::Each.of_thread(0, &[]), None, "where nobody knows which may be used");
        assert_eq!((Affinity::Each.count(8), on(&[9, 4]).count(8)), (8, 2));
    }
}

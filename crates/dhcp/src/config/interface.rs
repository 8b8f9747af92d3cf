//! Which interfaces are served: by name, by the beginning of a name, all of them, and which of those not.

use outwork_config::Fault;
use std::fmt;
use std::str::FromStr;

/// The longest name an interface has in Linux (`IFNAMSIZ` less the closing zero).
const LONGEST: usize = 15;

/// One word of `interfaces`: `eth0`; `eth*`, every one whose name begins so; `*`, every one; `!docker0`, not that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceRule {
    name: String,
    /// The name is how names begin.
    prefix: bool,
    /// Interfaces it fits are not served, whatever other rules say.
    excluded: bool,
}

impl InterfaceRule {
    /// The name, if the rule asks for one interface, there or not.
    pub fn named(&self) -> Option<&str> {
        (!self.prefix && !self.excluded).then_some(&self.name)
    }

    /// True if the rule asks for whatever interface fits it.
    pub fn is_open(&self) -> bool {
        self.prefix && !self.excluded
    }

    fn fits(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.name) } else { name == self.name }
    }

    /// True if `rules` together choose an interface of this name.
    pub fn choose(rules: &[Self], name: &str) -> bool {
        let fits = |excluded| rules.iter().any(|rule| rule.excluded == excluded && rule.fits(name));
        fits(false) && !fits(true)
    }

    /// What is wrong with the rules together, by place.
    pub(crate) fn faults(rules: &[Self]) -> Vec<(usize, Fault)> {
        let mut faults = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let said = rules.iter().take(index).any(|before| before == rule);
            if said {
                let fault = Fault::new(format!("{rule} is said already")).expected("each interface once");
                faults.push((index, fault.help("take one of them out")));
            } else if rule.named().is_some_and(|name| !Self::choose(rules, name)) {
                let fault = Fault::new(format!("{rule} is asked for and excluded"))
                    .expected("a name that no rule with `!` fits");
                faults.push((index, fault.help("leave out either the name or the rule with `!` that it fits")));
            } else if rule.excluded && !rules.iter().any(Self::is_open) {
                let fault = Fault::new(format!("{rule} excludes from nothing"))
                    .expected("a rule with `*` that it takes something from");
                faults.push((index, fault.help("say `*` too, for every other interface")));
            }
        }
        faults
    }
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceRuleError {
    /// No interface can have such a name.
    #[error("{0:?} can't be the name of an interface: 1 to 15 octets, no spaces and no `/`")]
    Name(String),
    /// A star that is not the last character.
    #[error("{0:?} has a `*` before its end: only the end of a name may be left open")]
    Star(String),
}

impl FromStr for InterfaceRule {
    type Err = InterfaceRuleError;

    fn from_str(text: &str) -> Result<Self, InterfaceRuleError> {
        let (excluded, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (prefix, name) = rest.strip_suffix('*').map_or((false, rest), |name| (true, name));
        if name.contains('*') {
            return Err(InterfaceRuleError::Star(text.to_owned()));
        }
        let odd = |character: char| character == '/' || character.is_whitespace() || character.is_control();
        if (name.is_empty() && !prefix) || name.len() > LONGEST || name.contains(odd) {
            return Err(InterfaceRuleError::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), prefix, excluded })
    }
}

impl fmt::Display for InterfaceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (not, star) = (if self.excluded { "!" } else { "" }, if self.prefix { "*" } else { "" });
        write!(f, "{not}{}{star}", self.name)
    }
}

outwork_config::text_setting!(InterfaceRule, "an interface, `*` for all, or `!` and one to leave out, such as", "eth0");

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(words: &[&str]) -> Vec<InterfaceRule> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn a_star_chooses_every_interface_but_those_excluded() {
        let rules = rules(&["*", "!docker0", "!veth*"]);
        let chosen = ["eth0", "docker0", "docker01", "veth3f", "lan"].map(|name| InterfaceRule::choose(&rules, name));
        assert_eq!(chosen, [true, false, true, false, true]);
    }

    #[test]
    fn names_and_beginnings_choose_no_others() {
        let rules = rules(&["eth0", "lan*"]);
        let chosen = ["eth0", "eth01", "lan", "lan9", "wan"].map(|name| InterfaceRule::choose(&rules, name));
        assert_eq!(chosen, [true, false, true, true, false]);
    }

    #[test]
    fn rules_read_back_as_they_are_written() {
        for word in ["eth0", "*", "eth*", "!docker0", "!br-*", "!*"] {
            assert_eq!(word.parse::<InterfaceRule>().map(|rule| rule.to_string()).as_deref(), Ok(word));
        }
    }

    #[test]
    fn what_no_interface_can_be_called_is_refused() {
        for word in ["", "!", "eth0/192.0.2.1", "a b", "sixteen-octets-a", "e*h"] {
            assert!(word.parse::<InterfaceRule>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn rules_that_cannot_be_meant_are_faults() {
        let faults = |words: &[&str]| {
            let faults = InterfaceRule::faults(&rules(words));
            faults.into_iter().map(|(index, fault)| format!("{index}: {}", fault.found())).collect::<Vec<_>>()
        };
        assert_eq!(faults(&["*", "!docker0", "eth0"]), [""; 0]);
        assert_eq!(faults(&["eth0", "eth0"]), ["1: eth0 is said already"]);
        assert_eq!(faults(&["eth0", "!docker0"]), ["1: !docker0 excludes from nothing"]);
        assert_eq!(faults(&["*", "eth0", "!eth*"]), ["1: eth0 is asked for and excluded"]);
    }
}

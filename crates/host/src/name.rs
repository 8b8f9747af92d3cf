//! How settings of the kernel and interfaces are called. Both become paths, so neither can lead anywhere else.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A setting of the kernel, as sysctl(8) writes it: `net.ipv4.conf.eth0/100.forwarding` is that of the interface `eth0.100`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlName(String);

/// Why a text is no name of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SysctlNameError {
    /// It begins outside, or leads there.
    #[error("it leads out of /proc/sys")]
    Outside,
    /// A part of it is empty, or it has only one.
    #[error("it is no name of parts such as net.core.somaxconn")]
    Parts,
    /// It has spaces, quotes, or what is not ASCII.
    #[error("it has a character that no setting has")]
    Character,
    /// It is longer than any path of the kernel's.
    #[error("it is longer than {LONGEST} octets")]
    Long,
}

/// Octets of a name at most.
const LONGEST: usize = 255;

/// Changes dots into slashes, and slashes into dots.
fn swapped(text: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    text.chars().map(swap).collect()
}

impl FromStr for SysctlName {
    type Err = SysctlNameError;

    /// Takes both ways to write it: the one whose first mark is a slash (`net/ipv4/conf/eth0.100/forwarding`) is the path.
    fn from_str(text: &str) -> Result<Self, SysctlNameError> {
        if text.len() > LONGEST {
            return Err(SysctlNameError::Long);
        }
        if text.starts_with(['/', '.']) {
            return Err(SysctlNameError::Outside);
        }
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@+".contains(c)) {
            return Err(SysctlNameError::Character);
        }
        let is_path = text.chars().find(|c| "./".contains(*c)) == Some('/');
        let path = if is_path { text.to_owned() } else { swapped(text) };
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| [".", ".."].contains(part)) {
            return Err(SysctlNameError::Outside);
        }
        if parts.len() < 2 || parts.contains(&"") {
            return Err(SysctlNameError::Parts);
        }
        Ok(SysctlName(swapped(&path)))
    }
}

impl SysctlName {
    /// Its file, from `/proc/sys` on.
    pub fn path(&self) -> PathBuf {
        swapped(&self.0).into()
    }

    /// That of an interface: `per_interface("ipv4", &name, "forwarding")`. `None` where the interface has a name that no setting has.
    pub fn per_interface(family: &str, interface: &InterfaceName, setting: &str) -> Option<Self> {
        format!("net/{family}/conf/{interface}/{setting}").parse().ok()
    }
}

impl fmt::Display for SysctlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

/// A text is no name of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names of interfaces have 1 to 15 octets, and no slash, colon or space")]
pub struct InterfaceNameError;

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        // What `dev_valid_name` of the kernel takes.
        let takes = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
        let is_name = (1..16).contains(&text.len()) && ![".", ".."].contains(&text) && text.chars().all(takes);
        if is_name { Ok(InterfaceName(text.to_owned())) } else { Err(InterfaceNameError) }
    }
}

impl InterfaceName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A default, in code.
impl outwork_config::Given<InterfaceName> for &str {
    fn given(self) -> InterfaceName {
        InterfaceName(self.to_owned())
    }
}

outwork_config::text_setting!(InterfaceName, "the name of an interface such as", "eth0");

/// Names go into files and come out of them as text, by the same rules as in the configuration.
macro_rules! as_text {
    ($ty:ty, $error:ty) => {
        impl TryFrom<String> for $ty {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$ty> for String {
            fn from(name: $ty) -> String {
                name.0
            }
        }
    };
}

as_text!(SysctlName, SysctlNameError);
as_text!(InterfaceName, InterfaceNameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_with_dots_or_as_a_path_and_is_the_same() {
        for (text, name, path) in [
            ("net.core.somaxconn", "net.core.somaxconn", "net/core/somaxconn"),
            ("net/core/somaxconn", "net.core.somaxconn", "net/core/somaxconn"),
            (
                "net.ipv4.conf.eth0/100.forwarding",
                "net.ipv4.conf.eth0/100.forwarding",
                "net/ipv4/conf/eth0.100/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.100/forwarding",
                "net.ipv4.conf.eth0/100.forwarding",
                "net/ipv4/conf/eth0.100/forwarding",
            ),
        ] {
            let read: SysctlName = text.parse().unwrap();
            assert_eq!((read.to_string(), read.path()), (name.to_owned(), PathBuf::from(path)));
        }
        let vlan = SysctlName::per_interface("ipv6", &"eth0.100".parse().unwrap(), "forwarding").unwrap();
        assert_eq!(vlan.to_string(), "net.ipv6.conf.eth0/100.forwarding");
    }

    #[test]
    fn a_name_that_leads_anywhere_else_is_refused() {
        use SysctlNameError::{Character, Long, Outside, Parts};
        for (text, error) in [
            ("/proc/sys/net/core/somaxconn", Outside),
            ("/etc/passwd", Outside),
            ("../etc/passwd", Outside),
            ("net/../../etc/passwd", Outside),
            ("net/./core", Outside),
            ("net.//.core", Outside),
            ("net./.core", Outside),
            ("..", Outside),
            ("./x", Outside),
            ("", Parts),
            ("net", Parts),
            ("net..core", Parts),
            ("net.core.", Parts),
            ("net//core", Parts),
            ("net.core x", Character),
            ("net.core\n", Character),
            ("net.core.\u{e9}", Character),
        ] {
            assert_eq!(text.parse::<SysctlName>(), Err(error), "{text:?}");
        }
        assert_eq!(format!("net.{}", "x".repeat(300)).parse::<SysctlName>(), Err(Long));
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_would_take() {
        for good in ["eth0", "eth0.100", "br-lan", "enp2s0f0np0", "wg@x"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "eth0:1", "a b", "a\n", "sixteen_octets__"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
    }
}

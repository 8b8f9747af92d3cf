//! What policies tell flows by, as the configuration writes it: ports, protocols, traffic classes.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use outwork_config::expansion::{Json, read_text, text_schema};
use outwork_config::{Faults, Node, Setting, Value, text_setting};

use crate::plane::packet::{SCTP, TCP, UDP};

/// Makes a type that is written as a number or as a string a setting.
macro_rules! number_setting {
    ($ty:ty, $words:literal, $example:literal) => {
        impl Setting for $ty {
            fn expected() -> String {
                format!("{} {:?}", $words, $example)
            }

            fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
                match node.value() {
                    Value::Int(number) => number.to_string().parse().ok().or_else(|| faults.wrong(node)),
                    _ => read_text(node, faults, None),
                }
            }

            fn write(&self) -> Json {
                Json::from(self.to_string())
            }

            fn schema() -> Json {
                let mut schema = text_schema($example);
                schema["type"] = Json::from(vec!["string", "integer"]);
                schema
            }
        }
    };
}

/// A port, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(pub RangeInclusive<u16>);

/// A text says no ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// It is no number of a port.
    #[error("ports are numbers from 1 to 65535")]
    Number,
    /// The last one is before the first.
    #[error("the range ends before it begins")]
    Backwards,
}

impl FromStr for Ports {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        // Port 0 is none: parts of packets show it.
        let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port > 0).ok_or(PortsError::Number);
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(PortsError::Backwards) } else { Ok(Ports(first..=last)) }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

number_setting!(Ports, "a port or a range of them such as", "5060-5061");

/// A protocol above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol(pub u8);

/// What protocols are called that have a name here (IANA, Protocol Numbers).
const PROTOCOLS: [(&str, u8); 7] =
    [("tcp", TCP), ("udp", UDP), ("icmp", 1), ("icmpv6", 58), ("sctp", SCTP), ("gre", 47), ("esp", 50)];

/// A text names no protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is none of tcp, udp, icmp, icmpv6, sctp, gre, esp, and no number from 0 to 255")]
pub struct ProtocolError;

impl Protocol {
    /// Whether it has ports that are looked at.
    pub fn has_ports(self) -> bool {
        matches!(self.0, TCP | UDP | SCTP)
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let known = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
        known.or_else(|| text.parse().ok()).map(Protocol).ok_or(ProtocolError)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

number_setting!(Protocol, "a protocol, by its name or number, such as", "udp");

/// A traffic class (DSCP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dscp(pub u8);

/// What traffic classes are called besides `CS` and `AF` with their numbers (RFC 2474, RFC 3246, RFC 5865, RFC 8622).
const CLASSES: [(&str, u8); 5] = [("DF", 0), ("LE", 1), ("VA", 44), ("EF", 46), ("BE", 0)];

/// A text names no traffic class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is none of EF, VA, LE, DF, CS0 to CS7, AF11 to AF43, and no number from 0 to 63")]
pub struct DscpError;

/// The class of a selector (RFC 2474 section 4.2.2) or of assured forwarding (RFC 2597 section 6).
fn numbered(name: &str) -> Option<u8> {
    match *name.as_bytes() {
        [b'C', b'S', class @ b'0'..=b'7'] => Some((class - b'0') << 3),
        [b'A', b'F', class @ b'1'..=b'4', drop @ b'1'..=b'3'] => Some((class - b'0') << 3 | (drop - b'0') << 1),
        _ => None,
    }
}

impl FromStr for Dscp {
    type Err = DscpError;

    fn from_str(text: &str) -> Result<Self, DscpError> {
        let name = text.to_ascii_uppercase();
        let known = CLASSES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        let number = known.or_else(|| numbered(&name)).or_else(|| text.parse().ok());
        number.filter(|number| *number < 64).map(Dscp).ok_or(DscpError)
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dscp(number) = self;
        let (class, drop) = (number >> 3, number >> 1 & 3);
        if let Some((name, _)) = CLASSES.iter().find(|(_, known)| known == number) {
            f.write_str(name)
        } else if number & 7 == 0 {
            write!(f, "CS{class}")
        } else if number & 1 == 0 && (1..=4).contains(&class) {
            write!(f, "AF{class}{drop}")
        } else {
            write!(f, "{number}")
        }
    }
}

number_setting!(Dscp, "a traffic class, by its name or number, such as", "EF");

/// Ports at servers, of TCP or UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPorts {
    /// Of which protocol: TCP or UDP.
    pub protocol: Protocol,
    /// Which.
    pub ports: Ports,
}

/// A text says no ports at servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerPortsError {
    /// It does not begin with a protocol.
    #[error("it takes tcp or udp, a slash, and a port or a range of them")]
    Form,
    /// What follows is no port.
    #[error("{0}")]
    Ports(#[from] PortsError),
}

impl FromStr for ServerPorts {
    type Err = ServerPortsError;

    fn from_str(text: &str) -> Result<Self, ServerPortsError> {
        let (protocol, ports) = text.split_once('/').ok_or(ServerPortsError::Form)?;
        let protocol = protocol.parse::<Protocol>().ok().filter(|protocol| matches!(protocol.0, TCP | UDP));
        Ok(ServerPorts { protocol: protocol.ok_or(ServerPortsError::Form)?, ports: ports.parse()? })
    }
}

impl fmt::Display for ServerPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.ports)
    }
}

text_setting!(ServerPorts, "ports at a server such as", "udp/3478-3481");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_classes_are_known_by_name_and_by_number_and_told_by_name() {
        for (text, number, told) in [
            ("EF", 46, "EF"),
            ("46", 46, "EF"),
            ("be", 0, "DF"),
            ("CS0", 0, "DF"),
            ("cs6", 48, "CS6"),
            ("AF41", 34, "AF41"),
            ("af13", 14, "AF13"),
            ("LE", 1, "LE"),
            ("63", 63, "63"),
            ("62", 62, "62"),
        ] {
            let class: Dscp = text.parse().unwrap();
            assert_eq!((class, class.to_string().as_str()), (Dscp(number), told), "{text}");
        }
        for wrong in ["64", "AF51", "AF14", "CS8", "", "-1", "EF "] {
            assert_eq!(wrong.parse::<Dscp>(), Err(DscpError), "{wrong}");
        }
    }

    #[test]
    fn ports_are_one_or_a_range_and_never_none() {
        let ports = |text: &str| text.parse::<Ports>().map(|Ports(range)| range);
        assert_eq!((ports("443"), ports("10000 - 20000")), (Ok(443..=443), Ok(10_000..=20_000)));
        for wrong in ["0", "65536", "", "http", "1-", "-"] {
            assert_eq!(ports(wrong), Err(PortsError::Number), "{wrong}");
        }
        assert_eq!(ports("9-8"), Err(PortsError::Backwards));
        let both: ServerPorts = "UDP/5000-5010".parse().unwrap();
        assert_eq!((both.protocol, both.to_string().as_str()), (Protocol(17), "udp/5000-5010"));
        assert_eq!("icmp/7".parse::<ServerPorts>(), Err(ServerPortsError::Form));
        assert_eq!("tcp/0".parse::<ServerPorts>(), Err(ServerPortsError::Ports(PortsError::Number)));
    }

    #[test]
    fn protocols_are_known_by_name_and_by_number() {
        let known = |text: &str| text.parse::<Protocol>().map(|protocol| (protocol.0, protocol.to_string()));
        assert_eq!(known("TCP"), Ok((6, "tcp".to_owned())));
        assert_eq!((known("17"), known("89")), (Ok((17, "udp".to_owned())), Ok((89, "89".to_owned()))));
        assert_eq!((known("256"), known("http")), (Err(ProtocolError), Err(ProtocolError)));
    }
}

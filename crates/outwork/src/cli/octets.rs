//! Octets as people write them, in the notation that the API reads.

use outwork_dhcp::options::parse_hex;
use outwork_dhcp::policy::{Identifier, IdentifierKind};

/// The longest identifier that a client or a relay agent can send.
const MOST: usize = 255;

/// The octets of a hardware address: `02:00:5e:10:00:01`, `02-00-5e-10-00-01`, `0200.5e10.0001` or `02005e100001`.
pub(crate) fn hardware(text: &str) -> Option<Vec<u8>> {
    Identifier::parse(IdentifierKind::Mac, text).map(|address| address.bytes)
}

/// A hardware address.
pub(crate) fn mac(text: &str) -> Result<String, String> {
    let octets = hardware(text).ok_or("expected a hardware address such as 02:00:5e:10:00:01")?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":"))
}

/// An identifier: hex, with or without `0x`, `hex:` or separators; or text, as `text:port 7` or in single quotes.
pub(crate) fn identifier(text: &str) -> Result<String, String> {
    let quoted = || text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    if let Some(words) = text.strip_prefix("text:").or_else(quoted) {
        return match words.len() {
            1..=MOST => Ok(format!("'{words}'")),
            _ => Err(format!("expected 1 to {MOST} octets of text")),
        };
    }
    let octets =
        parse_hex(text.strip_prefix("hex:").unwrap_or(text)).filter(|octets| (1..=MOST).contains(&octets.len()));
    let octets = octets.ok_or("expected hex such as 0a0b0c or 0a:0b:0c; a text is given as text:WORDS")?;
    Ok(octets.iter().fold(String::from("hex:"), |hex, octet| hex + &format!("{octet:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_hex_however_it_is_parted_and_a_text_is_marked_as_one() {
        for text in ["0a0b0c", "0A0B0C", "0x0a0b0c", "0a:0b:0c", "0a-0b-0c", "hex:0a0b0c"] {
            assert_eq!(identifier(text).as_deref(), Ok("hex:0a0b0c"), "{text}");
        }
        // As the API shows them, one octet and text among them.
        for (text, expected) in [("hex:0a", "hex:0a"), ("'port 7'", "'port 7'"), ("text:port 7", "'port 7'")] {
            assert_eq!(identifier(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(identifier("text:0a0b").as_deref(), Ok("'0a0b'"));
        for text in ["", "port 7", "0a0", "text:", "''", "hex:", "0x"] {
            assert!(identifier(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hardware_address_is_read_in_every_usual_notation() {
        for text in ["aa:bb:cc:dd:ee:ff", "AA-BB-CC-DD-EE-FF", "aabb.ccdd.eeff", "aabbccddeeff"] {
            assert_eq!(mac(text).as_deref(), Ok("aa:bb:cc:dd:ee:ff"), "{text}");
        }
        assert!(mac("aa:bb:cc").is_ok() && mac("printer").is_err() && mac("").is_err() && mac("aa.bb").is_err());
    }
}

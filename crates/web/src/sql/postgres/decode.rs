//! Values as PostgreSQL sends them in binary.

use std::error::Error as StdError;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio_postgres::types::{FromSql, Kind, Type};

use crate::sql::calendar;
use crate::sql::render::Cell;

/// The bytes of a value, whatever its type.
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// Its type has no form that others would know.
    #[error("the column {column:?} is of the type {kind}: cast it in the SQL, as in {column}::text")]
    Type { column: String, kind: String },
    /// The server has sent something else than it says.
    #[error("the column {column:?} of the type {kind} cannot be read")]
    Malformed { column: String, kind: String },
}

impl DecodeError {
    /// With the name of its column.
    pub(super) fn of(self, column: &str) -> Self {
        match self {
            Self::Type { kind, .. } => Self::Type { column: column.to_owned(), kind },
            Self::Malformed { kind, .. } => Self::Malformed { column: column.to_owned(), kind },
        }
    }
}

/// Lists in lists end here.
const DEPTH: usize = 8;

/// A value of a type.
///
/// # Errors
/// When there is no form for it.
pub(super) fn cell<'a>(kind: &Type, bytes: &'a [u8]) -> Result<Cell<'a>, DecodeError> {
    let name = || kind.name().to_owned();
    match read(kind, bytes, DEPTH) {
        Ok(Some(cell)) => Ok(cell),
        Ok(None) => Err(DecodeError::Malformed { column: String::new(), kind: name() }),
        Err(Unknown) => Err(DecodeError::Type { column: String::new(), kind: name() }),
    }
}

/// A type without a form.
struct Unknown;

/// `Ok(None)` where the bytes are too few or wrong.
fn read<'a>(kind: &Type, bytes: &'a [u8], depth: usize) -> Result<Option<Cell<'a>>, Unknown> {
    let depth = depth.checked_sub(1).ok_or(Unknown)?;
    match kind.kind() {
        Kind::Domain(base) => return read(base, bytes, depth),
        Kind::Enum(_) => return Ok(text(bytes)),
        Kind::Array(element) => return list(element, bytes, depth),
        _ => {}
    }
    Ok(match *kind {
        Type::BOOL => bytes.first().map(|byte| Cell::Boolean(*byte != 0)),
        Type::INT2 => array(bytes).map(|bytes| Cell::Integer(i16::from_be_bytes(bytes).into())),
        Type::INT4 => array(bytes).map(|bytes| Cell::Integer(i32::from_be_bytes(bytes).into())),
        Type::INT8 => array(bytes).map(|bytes| Cell::Integer(i64::from_be_bytes(bytes))),
        Type::OID => array(bytes).map(|bytes| Cell::Integer(u32::from_be_bytes(bytes).into())),
        Type::FLOAT4 => array(bytes).map(|bytes| Cell::Single(f32::from_be_bytes(bytes))),
        Type::FLOAT8 => array(bytes).map(|bytes| Cell::Number(f64::from_be_bytes(bytes))),
        Type::NUMERIC => numeric(bytes).map(Cell::Digits),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::XML => text(bytes),
        Type::CHAR => Some(Cell::Made(bytes.first().map(|byte| char::from(*byte).to_string()).unwrap_or_default())),
        Type::JSON => std::str::from_utf8(bytes).ok().map(Cell::Json),
        // A version comes first.
        Type::JSONB => bytes.split_first().and_then(|(_, rest)| std::str::from_utf8(rest).ok()).map(Cell::Json),
        Type::BYTEA => Some(Cell::Bytes(bytes)),
        Type::UUID => array::<16>(bytes).map(uuid),
        Type::DATE => array(bytes).map(|bytes| date(i32::from_be_bytes(bytes))),
        Type::TIME => array(bytes).map(|bytes| Cell::Made(calendar::time(i64::from_be_bytes(bytes)))),
        Type::TIMETZ => timetz(bytes),
        Type::TIMESTAMP => array(bytes).map(|bytes| moment(i64::from_be_bytes(bytes), "")),
        Type::TIMESTAMPTZ => array(bytes).map(|bytes| moment(i64::from_be_bytes(bytes), "Z")),
        Type::INTERVAL => interval(bytes),
        Type::INET | Type::CIDR => inet(bytes, *kind == Type::CIDR),
        Type::MACADDR | Type::MACADDR8 => Some(Cell::Made(hex(bytes, ":"))),
        Type::VOID => Some(Cell::Null),
        _ if matches!(kind.name(), "citext") => text(bytes),
        _ => return Err(Unknown),
    })
}

fn text(bytes: &[u8]) -> Option<Cell<'_>> {
    std::str::from_utf8(bytes).ok().map(Cell::Text)
}

/// All of the bytes, if there are as many.
fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Takes bytes off the beginning.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

fn uuid<'a>(bytes: [u8; 16]) -> Cell<'a> {
    let digits = hex(&bytes, "");
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let parts = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)];
    Cell::Made(parts.join("-"))
}

fn date<'a>(days: i32) -> Cell<'a> {
    Cell::Made(match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => calendar::date(i64::from(days) + calendar::DAYS_TO_2000),
    })
}

fn moment<'a>(micros: i64, zone: &str) -> Cell<'a> {
    Cell::Made(match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => calendar::moment(micros) + zone,
    })
}

/// A time of day, and seconds west of UTC.
fn timetz(mut bytes: &[u8]) -> Option<Cell<'_>> {
    let micros = i64::from_be_bytes(take(&mut bytes)?);
    let west = i32::from_be_bytes(take(&mut bytes)?);
    Some(Cell::Made(calendar::time(micros) + &calendar::zone(-i64::from(west))))
}

fn interval(mut bytes: &[u8]) -> Option<Cell<'_>> {
    let micros = i64::from_be_bytes(take(&mut bytes)?);
    let days = i32::from_be_bytes(take(&mut bytes)?);
    let months = i32::from_be_bytes(take(&mut bytes)?);
    Some(Cell::Made(calendar::interval(months.into(), days.into(), micros)))
}

/// Family, bits, whether it is a network, length, address.
fn inet(mut bytes: &[u8], is_network: bool) -> Option<Cell<'_>> {
    let [_, bits, _, length] = take(&mut bytes)?;
    let (address, all) = match length {
        4 => (Ipv4Addr::from(array::<4>(bytes)?).to_string(), 32),
        16 => (Ipv6Addr::from(array::<16>(bytes)?).to_string(), 128),
        _ => return None,
    };
    Some(Cell::Made(if bits == all && !is_network { address } else { format!("{address}/{bits}") }))
}

/// Groups of four digits: how many, the power of 10000 of the first, the sign, how many digits stand behind the point, the groups.
fn numeric(mut bytes: &[u8]) -> Option<String> {
    let groups = i16::from_be_bytes(take(&mut bytes)?);
    let weight = i16::from_be_bytes(take(&mut bytes)?);
    let sign = u16::from_be_bytes(take(&mut bytes)?);
    let scale = usize::from(u16::from_be_bytes(take(&mut bytes)?));
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let mut digits = Vec::with_capacity(usize::try_from(groups).ok()?);
    for _ in 0..groups {
        digits.push(i16::from_be_bytes(take(&mut bytes)?));
    }
    let group = |power: i32| {
        let at = usize::try_from(i32::from(weight) - power).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    match weight {
        ..0 => text.push('0'),
        weight => {
            for power in (0..=i32::from(weight)).rev() {
                let first = power == i32::from(weight);
                text.push_str(&if first { group(power).to_string() } else { format!("{:04}", group(power)) });
            }
        }
    }
    if scale > 0 {
        let fraction: String = (1..=scale.div_ceil(4)).map(|place| format!("{:04}", group(-(place as i32)))).collect();
        text.push('.');
        text.push_str(fraction.get(..scale)?);
    }
    Some(text)
}

/// Dimensions, flags, the type of the elements; length and first index of each dimension; the elements, each with its length.
fn list<'a>(element: &Type, mut bytes: &'a [u8], depth: usize) -> Result<Option<Cell<'a>>, Unknown> {
    let head = |bytes: &mut &'a [u8]| {
        let dimensions = usize::try_from(i32::from_be_bytes(take(bytes)?)).ok()?;
        let _flags_and_type: [u8; 8] = take(bytes)?;
        let mut lengths = Vec::new();
        for _ in 0..dimensions.min(DEPTH) {
            lengths.push(usize::try_from(i32::from_be_bytes(take(bytes)?)).ok()?);
            let _first: [u8; 4] = take(bytes)?;
        }
        Some(lengths)
    };
    let Some(lengths) = head(&mut bytes) else { return Ok(None) };
    // What is empty has no parts to be read.
    if lengths.is_empty() || lengths.contains(&0) {
        return Ok(Some(Cell::List(Vec::new())));
    }
    dimension(element, &lengths, &mut bytes, depth)
}

fn dimension<'a>(
    element: &Type,
    lengths: &[usize],
    bytes: &mut &'a [u8],
    depth: usize,
) -> Result<Option<Cell<'a>>, Unknown> {
    let Some((length, inner)) = lengths.split_first() else { return Ok(None) };
    let mut cells = Vec::new();
    for _ in 0..*length {
        let cell = match inner.is_empty() {
            true => match take(bytes).map(i32::from_be_bytes) {
                Some(-1) => Some(Cell::Null),
                Some(size) => match usize::try_from(size).ok().and_then(|size| bytes.split_at_checked(size)) {
                    Some((one, rest)) => {
                        *bytes = rest;
                        read(element, one, depth)?
                    }
                    None => None,
                },
                None => None,
            },
            false => dimension(element, inner, bytes, depth)?,
        };
        match cell {
            Some(cell) => cells.push(cell),
            None => return Ok(None),
        }
    }
    Ok(Some(Cell::List(cells)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of PostgreSQL's: groups, weight, sign, scale.
    fn number(groups: &[i16], weight: i16, sign: u16, scale: u16) -> Option<String> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(groups.len() as i16).to_be_bytes());
        bytes.extend_from_slice(&weight.to_be_bytes());
        bytes.extend_from_slice(&sign.to_be_bytes());
        bytes.extend_from_slice(&scale.to_be_bytes());
        groups.iter().for_each(|group| bytes.extend_from_slice(&group.to_be_bytes()));
        numeric(&bytes)
    }

    #[test]
    fn a_decimal_has_all_of_its_digits() {
        for (groups, weight, sign, scale, text) in [
            (&[][..], 0, 0, 0, "0"),
            (&[][..], 0, 0, 2, "0.00"),
            (&[12, 3400][..], 0, 0, 2, "12.34"),
            (&[12, 3400][..], 0, 0x4000, 4, "-12.3400"),
            (&[1][..], 2, 0, 0, "100000000"),
            (&[5][..], -2, 0, 8, "0.00000005"),
            (&[1234, 5678, 9012][..], 1, 0, 3, "12345678.901"),
            (&[][..], 0, 0xc000, 0, "NaN"),
        ] {
            assert_eq!(number(groups, weight, sign, scale).as_deref(), Some(text));
        }
        assert_eq!(number(&[], 0, 1, 0), None);
        assert_eq!(numeric(&[0, 1, 0, 0, 0, 0, 0, 0]), None, "a group is missing");
    }

    #[test]
    fn what_a_server_cuts_short_is_an_error_and_no_panic() {
        let kinds = [
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::JSONB,
            Type::UUID,
            Type::DATE,
            Type::TIME,
            Type::TIMETZ,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::INTERVAL,
            Type::INET,
        ];
        for kind in kinds {
            let error = DecodeError::Malformed { column: String::new(), kind: kind.name().to_owned() };
            assert_eq!(cell(&kind, &[]), Err(error));
        }
        let text = cell(&Type::TEXT, &[0xff]);
        assert!(matches!(text, Err(DecodeError::Malformed { .. })), "{text:?}");
        let lists: [&[u8]; 4] = [
            &[],
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23],
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 127, 255, 255, 255, 0, 0, 0, 1],
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 127, 0, 0, 0],
        ];
        for bytes in lists {
            assert!(matches!(cell(&Type::INT4_ARRAY, bytes), Err(DecodeError::Malformed { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn a_type_without_a_form_is_named_with_what_to_do() {
        let error = cell(&Type::POINT, &[0; 16]).unwrap_err().of("place");
        assert_eq!(
            error.to_string(),
            "the column \"place\" is of the type point: cast it in the SQL, as in place::text"
        );
    }
}

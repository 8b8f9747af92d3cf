//! Output for people: aligned columns, and nothing that a terminal would obey.

use std::io::{self, Write};

use anstyle::Style;
use serde_json::Value as Json;

/// Rows under a header, aligned.
pub(crate) struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that starts with `>` is of numbers, which are set to the right.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            header: columns.iter().map(|name| name.trim_start_matches('>')).collect(),
            right: columns.iter().map(|name| name.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Writes it; without rows, `empty` instead.
    pub(crate) fn write(&self, out: &mut impl Write, empty: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "{empty}");
        }
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(self.header.get(column).map(|name| name.len())).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.header.len()).map(width).collect();
        let bold = Style::new().bold();
        let header: Vec<_> = self.header.iter().map(ToString::to_string).collect();
        writeln!(out, "{bold}{}{bold:#}", self.line(&header, &widths))?;
        self.rows.iter().try_for_each(|row| writeln!(out, "{}", self.line(row, &widths)))
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded =
            cells.iter().zip(widths).zip(&self.right).map(|((cell, width), right)| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Names and values, one a line.
pub(crate) fn write_pairs(out: &mut impl Write, pairs: &[(&str, String)]) -> io::Result<()> {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let bold = Style::new().bold();
    pairs
        .iter()
        .try_for_each(|(name, value)| writeln!(out, "{bold}{:<width$}{bold:#}  {}", printable(name), printable(value)))
}

/// A text without what a terminal would obey: hostnames come from anyone on the network.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A value as a cell: text without quotes, `-` for nothing.
pub(crate) fn cell(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) if text.is_empty() => "-".into(),
        Json::String(text) => text.clone(),
        Json::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            Some(float) if number.is_f64() => format!("{float:.3}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A share from 0 to 1 in percent.
pub(crate) fn percent(value: &Json) -> String {
    value.as_f64().map_or_else(|| "-".into(), |share| format!("{:.1}%", share * 100.0))
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if count.abs() < 1024.0 {
            return if unit == "B" { format!("{count:.0} B") } else { format!("{count:.1} {unit}") };
        }
        count /= 1024.0;
    }
    format!("{count:.1} TiB")
}

/// Seconds in the unit that suits them.
pub(crate) fn time(seconds: f64) -> String {
    match seconds.abs() {
        0.0 => "0 s".into(),
        size if size < 1e-3 => format!("{:.1} us", seconds * 1e6),
        size if size < 1.0 => format!("{:.3} ms", seconds * 1e3),
        _ => format!("{seconds:.3} s"),
    }
}

/// Seconds as a span: `3d 4h`, `12m 5s`.
pub(crate) fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(3);
    let shown = units.iter().skip(first).take(2).scan(seconds, |left, (name, unit)| {
        let count = *left / unit;
        *left %= unit;
        Some(format!("{count}{name}"))
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", ">COUNT"]);
        table.row(["a".into(), "5".into()]);
        table.row(["longer".into(), "1234567".into()]);
        let mut out = Vec::new();
        table.write(&mut out, "none").unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
        assert_eq!(text, "NAME      COUNT\na             5\nlonger  1234567\n");
    }

    #[test]
    fn a_hostname_cannot_drive_the_terminal() {
        let mut table = Table::new(&["HOSTNAME"]);
        table.row(["evil\x1b[2J\r\nname\u{9b}1m".into()]);
        let mut out = Vec::new();
        table.write(&mut out, "none").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("evil\u{fffd}[2J\u{fffd}\u{fffd}name\u{fffd}1m\n"), "{text:?}");
    }

    #[test]
    fn whole_numbers_have_no_decimals() {
        let shown = |text: &str| cell(&serde_json::from_str(text).unwrap());
        assert_eq!(["0.0", "32.0", "7", "-7", "0.03", "null"].map(shown), ["0", "32", "7", "-7", "0.030", "-"]);
    }

    #[test]
    fn a_time_has_its_unit() {
        let shown = [0.0, 2.561e-6, 3.016e-4, 0.0123, 2.5, 1_795_257_928.352].map(time);
        assert_eq!(shown, ["0 s", "2.6 us", "301.6 us", "12.300 ms", "2.500 s", "1795257928.352 s"]);
    }

    #[test]
    fn spans_and_sizes_are_for_reading() {
        assert_eq!((span(0), span(65), span(90_061)), ("0s".into(), "1m 5s".into(), "1d 1h".into()));
        assert_eq!((bytes(512.0), bytes(1536.0), bytes(5e12)), ("512 B".into(), "1.5 KiB".into(), "4.5 TiB".into()));
    }
}

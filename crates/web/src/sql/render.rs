//! Rows as JSON or CSV.
//!
//! Values are written as PostgreSQL's own `to_json` writes them: numbers with all their digits, whatever their size; what JSON has no number
//! for as a text (`"NaN"`, `"Infinity"`); moments as RFC 3339; JSON as itself. Bytes are Base64.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::config::Rows;

/// What an answer is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// CSV.
    Csv,
}

impl Form {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A number of 32 bits, which needs fewer digits.
    Single(f32),
    /// A number by its digits.
    Digits(String),
    /// True or false.
    Boolean(bool),
    /// A text of the database's.
    Text(&'a str),
    /// A text that was made here.
    Made(String),
    /// Bytes.
    Bytes(&'a [u8]),
    /// JSON.
    Json(&'a str),
    /// Several.
    List(Vec<Cell<'a>>),
}

impl Cell<'_> {
    /// Bytes that it takes at least, however it is written.
    fn least_size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Made(text) | Self::Digits(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(cells) => cells.iter().map(Cell::least_size).sum(),
            Self::Null | Self::Integer(_) | Self::Number(_) | Self::Single(_) | Self::Boolean(_) => 0,
        }
    }
}

/// Why rows are no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There are more than may be.
    #[error("there are more than {0} rows")]
    Rows(u32),
    /// They take more bytes than they may.
    #[error("the answer is larger than {0} bytes")]
    Size(usize),
    /// Two columns have one name.
    #[error("two columns are called {0:?}: name them apart (AS)")]
    Twice(String),
}

/// The bounds of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many rows are asked for.
    pub rows: Rows,
    /// Rows at most.
    pub max_rows: u32,
    /// Bytes at most.
    pub max_size: usize,
    /// Whether texts of CSV that spreadsheets take for formulas are made texts for them, too.
    pub escape_formulas: bool,
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Sheet {
    form: Form,
    bounds: Bounds,
    out: Vec<u8>,
    /// Names as JSON, with the colon behind them.
    keys: Vec<Vec<u8>>,
    rows: u32,
    column: usize,
}

/// Whether another row is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// It is.
    Wanted,
    /// It is not: the answer is whole.
    Enough,
}

impl Sheet {
    /// Begins an answer with these columns.
    ///
    /// # Errors
    /// When two columns have one name, and the answer is JSON.
    pub fn new<'n>(form: Form, bounds: Bounds, columns: impl Iterator<Item = &'n str>) -> Result<Self, RenderError> {
        let mut sheet = Self { form, bounds, out: Vec::with_capacity(256), keys: Vec::new(), rows: 0, column: 0 };
        for (index, name) in columns.enumerate() {
            let mut key = Vec::with_capacity(name.len() + 3);
            push_text(&mut key, name);
            key.push(b':');
            if sheet.keys.contains(&key) && form == Form::Json {
                return Err(RenderError::Twice(name.to_owned()));
            }
            sheet.keys.push(key);
            if form == Form::Csv {
                if index > 0 {
                    sheet.out.push(b',');
                }
                push_field(&mut sheet.out, &as_text(name, bounds));
            }
        }
        match (form, bounds.rows) {
            (Form::Csv, _) => sheet.out.extend_from_slice(b"\r\n"),
            (Form::Json, Rows::Many) => sheet.out.push(b'['),
            (Form::Json, Rows::One) => {}
        }
        Ok(sheet)
    }

    /// Begins a row.
    ///
    /// # Errors
    /// When there are too many.
    pub fn row(&mut self) -> Result<(), RenderError> {
        if self.rows == self.bounds.max_rows {
            return Err(RenderError::Rows(self.bounds.max_rows));
        }
        if self.form == Form::Json {
            self.out.extend_from_slice(if self.rows > 0 { b",\n{" } else { b"{" });
        }
        self.column = 0;
        Ok(())
    }

    /// Writes the next value of the row.
    ///
    /// # Errors
    /// When the answer becomes too large with it. What alone is too large is not written.
    pub fn cell(&mut self, cell: &Cell<'_>) -> Result<(), RenderError> {
        self.check(cell.least_size())?;
        if self.column > 0 {
            self.out.push(b',');
        }
        match self.form {
            Form::Json => {
                self.out.extend_from_slice(self.keys.get(self.column).map(Vec::as_slice).unwrap_or_default());
                push_json(&mut self.out, cell);
            }
            Form::Csv => push_csv(&mut self.out, cell, self.bounds),
        }
        self.column += 1;
        self.check(0)
    }

    /// Whether so many bytes more are too many.
    fn check(&self, more: usize) -> Result<(), RenderError> {
        let max_size = self.bounds.max_size;
        if self.out.len().saturating_add(more) > max_size { Err(RenderError::Size(max_size)) } else { Ok(()) }
    }

    /// Ends a row, and says whether another is wanted.
    ///
    /// # Errors
    /// When it is one too many, or the answer has become too large.
    pub fn end_row(&mut self) -> Result<More, RenderError> {
        self.out.extend_from_slice(match self.form {
            Form::Json => b"}",
            Form::Csv => b"\r\n",
        });
        self.rows += 1;
        self.check(0)?;
        Ok(if self.bounds.rows == Rows::One { More::Enough } else { More::Wanted })
    }

    /// The whole answer; `None` where one row was asked for and there is none.
    pub fn finish(mut self) -> Option<Bytes> {
        match (self.form, self.bounds.rows) {
            (_, Rows::One) if self.rows == 0 => return None,
            (Form::Json, Rows::Many) => self.out.extend_from_slice(b"]\n"),
            (Form::Json, Rows::One) => self.out.push(b'\n'),
            (Form::Csv, _) => {}
        }
        self.out.shrink_to_fit();
        Some(self.out.into())
    }
}

/// How many rows a change has touched, as an answer of its own.
pub fn changed(form: Form, count: u64) -> Bytes {
    match form {
        Form::Json => format!("{{\"rows_affected\":{count}}}\n").into(),
        Form::Csv => format!("rows_affected\r\n{count}\r\n").into(),
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // To write to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn not_finite(number: f64) -> &'static str {
    match number {
        number if number.is_nan() => "NaN",
        number if number < 0.0 => "-Infinity",
        _ => "Infinity",
    }
}

fn push_json(out: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Integer(number) => drop(write!(out, "{number}")),
        Cell::Number(number) if number.is_finite() => drop(serde_json::to_writer(out, number)),
        Cell::Number(number) => push_text(out, not_finite(*number)),
        Cell::Single(number) if number.is_finite() => drop(serde_json::to_writer(out, number)),
        Cell::Single(number) => push_text(out, not_finite((*number).into())),
        Cell::Digits(digits) if digits.bytes().any(|byte| byte.is_ascii_digit()) => {
            out.extend_from_slice(digits.as_bytes());
        }
        Cell::Digits(name) => push_text(out, name),
        Cell::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Cell::Text(text) => push_text(out, text),
        Cell::Made(text) => push_text(out, text),
        Cell::Bytes(bytes) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
        Cell::Json(json) => out.extend_from_slice(json.as_bytes()),
        Cell::List(cells) => {
            out.push(b'[');
            for (index, cell) in cells.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_json(out, cell);
            }
            out.push(b']');
        }
    }
}

fn push_csv(out: &mut Vec<u8>, cell: &Cell<'_>, bounds: Bounds) {
    match cell {
        Cell::Null => {}
        Cell::Text(text) => push_field(out, &as_text(text, bounds)),
        Cell::Made(text) => push_field(out, &as_text(text, bounds)),
        Cell::Json(json) => push_field(out, json),
        Cell::Number(number) if !number.is_finite() => out.extend_from_slice(not_finite(*number).as_bytes()),
        Cell::Single(number) if !number.is_finite() => out.extend_from_slice(not_finite((*number).into()).as_bytes()),
        Cell::Digits(digits) => out.extend_from_slice(digits.as_bytes()),
        Cell::Bytes(bytes) => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
        Cell::List(_) => {
            let mut json = Vec::new();
            push_json(&mut json, cell);
            push_field(out, &String::from_utf8_lossy(&json));
        }
        Cell::Integer(_) | Cell::Number(_) | Cell::Single(_) | Cell::Boolean(_) => push_json(out, cell),
    }
}

/// A text that spreadsheets take for a text, where that is asked for: with an apostrophe before what would be a formula.
fn as_text(text: &str, bounds: Bounds) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    match bounds.escape_formulas && is_formula {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

/// A field in quotes where it needs them (RFC 4180 section 2). An empty text has them, so that it is told from NULL.
fn push_field(out: &mut Vec<u8>, text: &str) {
    let plain = !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'));
    if plain {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(form: Form, rows: Rows, cells: &[&[Cell<'_>]]) -> Option<String> {
        let bounds = Bounds { rows, max_rows: 10, max_size: 1000, escape_formulas: false };
        let mut sheet = Sheet::new(form, bounds, ["a", "b \"c\""].into_iter()).unwrap();
        for row in cells {
            sheet.row().unwrap();
            row.iter().for_each(|cell| sheet.cell(cell).unwrap());
            if sheet.end_row().unwrap() == More::Enough {
                break;
            }
        }
        sheet.finish().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn rows_are_objects_or_lines() {
        let rows: &[&[Cell<'_>]] =
            &[&[Cell::Integer(i64::MAX), Cell::Text("x\"\n,")], &[Cell::Null, Cell::Json("{\"y\": [1]}")]];
        assert_eq!(
            sheet(Form::Json, Rows::Many, rows).unwrap(),
            "[{\"a\":9223372036854775807,\"b \\\"c\\\"\":\"x\\\"\\n,\"},\n{\"a\":null,\"b \\\"c\\\"\":{\"y\": [1]}}]\n"
        );
        assert_eq!(
            sheet(Form::Csv, Rows::Many, rows).unwrap(),
            "a,\"b \"\"c\"\"\"\r\n9223372036854775807,\"x\"\"\n,\"\r\n,\"{\"\"y\"\": [1]}\"\r\n"
        );
        assert_eq!(sheet(Form::Json, Rows::Many, &[]).unwrap(), "[]\n");
        assert_eq!(sheet(Form::Json, Rows::One, &[]), None);
        assert_eq!(
            sheet(Form::Json, Rows::One, &[&[Cell::Boolean(true), Cell::Null], &[]]).unwrap(),
            "{\"a\":true,\"b \\\"c\\\"\":null}\n"
        );
    }

    #[test]
    fn numbers_keep_their_digits_and_what_is_none_is_a_text() {
        let text = |cell: Cell<'_>| {
            let (mut json, mut csv) = (Vec::new(), Vec::new());
            push_json(&mut json, &cell);
            let bounds = Bounds { rows: Rows::One, max_rows: 1, max_size: 1000, escape_formulas: false };
            push_csv(&mut csv, &cell, bounds);
            (String::from_utf8(json).unwrap(), String::from_utf8(csv).unwrap())
        };
        let both = |json: &str, csv: &str| (json.to_owned(), csv.to_owned());
        assert_eq!(
            text(Cell::Digits("12345678901234567890.50".into())),
            both("12345678901234567890.50", "12345678901234567890.50")
        );
        assert_eq!(text(Cell::Digits("NaN".into())), both("\"NaN\"", "NaN"));
        assert_eq!(text(Cell::Number(0.1)), both("0.1", "0.1"));
        assert_eq!(text(Cell::Single(0.1)), both("0.1", "0.1"));
        assert_eq!(text(Cell::Number(f64::NEG_INFINITY)), both("\"-Infinity\"", "-Infinity"));
        assert_eq!(text(Cell::Bytes(&[0, 255])), both("\"AP8=\"", "AP8="));
        assert_eq!(text(Cell::Text("")), both("\"\"", "\"\""));
        let list = Cell::List(vec![Cell::Integer(1), Cell::Null, Cell::List(vec![Cell::Text("x,y")])]);
        assert_eq!(text(list), both("[1,null,[\"x,y\"]]", "\"[1,null,[\"\"x,y\"\"]]\""));
    }

    #[test]
    fn texts_that_spreadsheets_would_compute_are_texts_for_them_where_that_is_asked_for() {
        let row = |escape_formulas| {
            let bounds = Bounds { rows: Rows::One, max_rows: 1, max_size: 1000, escape_formulas };
            let mut sheet = Sheet::new(Form::Csv, bounds, ["=a"].into_iter()).unwrap();
            sheet.row().unwrap();
            for text in ["=1+1", "+cmd", "-2", "-x,y", "@sum", "\tz", "a=b", ""] {
                sheet.cell(&Cell::Text(text)).unwrap();
            }
            [Cell::Integer(-1), Cell::Digits("-1.5".into()), Cell::Number(-0.5), Cell::Made("=m".into())]
                .iter()
                .for_each(|cell| sheet.cell(cell).unwrap());
            sheet.end_row().unwrap();
            String::from_utf8(sheet.finish().unwrap().to_vec()).unwrap()
        };
        assert_eq!(row(false), "=a\r\n=1+1,+cmd,-2,\"-x,y\",@sum,\tz,a=b,\"\",-1,-1.5,-0.5,=m\r\n");
        assert_eq!(row(true), "'=a\r\n'=1+1,'+cmd,-2,\"'-x,y\",'@sum,'\tz,a=b,\"\",-1,-1.5,-0.5,'=m\r\n");
    }

    #[test]
    fn an_answer_has_bounds_and_names_that_differ() {
        let bounds = Bounds { rows: Rows::Many, max_rows: 1, max_size: 20, escape_formulas: false };
        let one = |name| Sheet::new(Form::Json, bounds, [name].into_iter()).unwrap();
        let mut rows = one("a");
        rows.row().unwrap();
        rows.end_row().unwrap();
        assert_eq!(rows.row(), Err(RenderError::Rows(1)));
        let mut large = one("a");
        large.row().unwrap();
        assert_eq!(large.cell(&Cell::Text("twenty bytes at least")), Err(RenderError::Size(20)));
        assert!(large.out.len() < 20, "what is too large is not even begun");
        large.cell(&Cell::Text("fits")).unwrap();
        assert_eq!(
            large.cell(&Cell::Text("12345678")),
            Err(RenderError::Size(20)),
            "a row need not end to be too large"
        );
        let twice = |form| Sheet::new(form, bounds, ["a", "a"].into_iter()).err();
        assert_eq!(twice(Form::Json), Some(RenderError::Twice("a".into())));
        assert_eq!(twice(Form::Csv), None, "lines have no names to mix up");
    }
}

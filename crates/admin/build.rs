//! Builds the dashboard where it is missing or older than its sources, and turns `dashboard/dist` into a table of assets
//! that is compiled in: content type, entity tag, and the bytes as they are, with gzip and with brotli.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs, io};

use sha2::{Digest, Sha256};

type Failure = Box<dyn std::error::Error>;

/// What the dashboard is built from.
const SOURCES: [&str; 7] =
    ["src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts", "tsconfig.json"];

fn main() {
    if let Err(failure) = run() {
        println!("cargo::error={}", failure.to_string().replace('\n', " | "));
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let dashboard = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../../dashboard");
    let out = PathBuf::from(variable("OUT_DIR")?);
    if !dashboard.join("package.json").is_file() {
        return Err(format!("{} is missing: the dashboard is part of Outwork", dashboard.display()).into());
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in SOURCES {
        let path = dashboard.join(source);
        println!("cargo::rerun-if-changed={}", path.display());
        newest = newest.max(newest_below(&path)?);
    }
    let dist = dashboard.join("dist");
    let built = fs::metadata(dist.join("index.html")).and_then(|index| index.modified());
    if built.map_or(true, |built| built < newest) {
        let (lock, installed) =
            (dashboard.join("package-lock.json"), dashboard.join("node_modules/.package-lock.json"));
        if !installed.exists() || newest_below(&installed)? < newest_below(&lock)? {
            npm(&dashboard, &["ci", "--no-audit", "--no-fund"])?;
        }
        npm(&dashboard, &["run", "build"])?;
    }
    fs::write(out.join("assets.rs"), table(&dist, &out)?)?;
    Ok(())
}

fn variable(name: &str) -> Result<String, Failure> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

fn newest_below(path: &Path) -> io::Result<SystemTime> {
    if !path.exists() {
        return Ok(SystemTime::UNIX_EPOCH);
    }
    let mut newest = fs::metadata(path)?.modified()?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(newest_below(&entry?.path())?);
        }
    }
    Ok(newest)
}

fn npm(dashboard: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let what = format!("`npm {}` in {}", arguments.join(" "), dashboard.display());
    let output = Command::new("npm").args(arguments).current_dir(dashboard).output().map_err(|error| {
        let advice = "install Node.js and npm: on Debian `apt-get install nodejs npm`";
        match error.kind() {
            io::ErrorKind::NotFound => format!("the dashboard has to be built, and npm is not installed: {advice}"),
            _ => format!("{what}: {error}"),
        }
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stderr, output.stdout].concat();
    let text: Vec<_> = String::from_utf8_lossy(&text).lines().take(30).map(str::to_owned).collect();
    Err(format!("{what} failed:\n{}", text.join("\n")).into())
}

/// The table's source. The bytes are copied beside it, so that a later build of the dashboard takes nothing from under it.
fn table(dist: &Path, out: &Path) -> Result<String, Failure> {
    let mut files = Vec::new();
    list(dist, &mut files)?;
    files.sort();
    let mut table = "&[\n".to_owned();
    for (number, file) in files.iter().enumerate() {
        let name = file.strip_prefix(dist)?.to_str().ok_or("a file name is not UTF-8")?;
        let bytes = fs::read(file)?;
        let hash =
            Sha256::digest(&bytes).iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let smaller = |suffix: &str, compressed: Vec<u8>| -> Result<String, Failure> {
            // Where compression gains less than a tenth, it only costs.
            if compressed.len() * 10 > bytes.len() * 9 {
                return Ok("None".into());
            }
            let path = out.join(format!("asset-{number}.{suffix}"));
            fs::write(&path, compressed)?;
            Ok(format!("Some(include_bytes!({path:?}))"))
        };
        let (gzip, brotli) = (smaller("gz", gzip(&bytes)?)?, smaller("br", brotli(&bytes)?)?);
        // Vite names what is in `assets` by its content, so it never changes.
        let immutable = name.starts_with("assets/");
        let (kind, file) = (content_type(name)?, out.join(format!("asset-{number}")));
        fs::write(&file, &bytes)?;
        writeln!(
            table,
            "Asset {{ path: {name:?}, content_type: {kind:?}, hash: {hash:?}, immutable: {immutable}, \
             identity: include_bytes!({file:?}), gzip: {gzip}, brotli: {brotli} }},"
        )?;
    }
    table.push(']');
    Ok(table)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn content_type(name: &str) -> Result<&'static str, Failure> {
    Ok(match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => return Err(format!("{name}: build.rs knows no content type for it; add one").into()),
    })
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut compressed, 4096, 11, 22);
    encoder.write_all(bytes)?;
    encoder.flush()?;
    drop(encoder);
    Ok(compressed)
}

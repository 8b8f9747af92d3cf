//! What lies in the repository.

use std::path::Path;

use super::root;

/// A source file past this many lines has two subjects.
const LINES: usize = 800;

fn sources(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.is_dir() {
            true => sources(&path, found),
            false
                if path
                    .extension()
                    .is_some_and(|extension| ["rs", "ts", "tsx", "css"].iter().any(|one| extension == *one)) =>
            {
                found.push(path);
            }
            false => {}
        }
    }
}

#[test]
fn no_source_file_has_two_subjects() {
    let mut files = vec![];
    for dir in ["crates", "dashboard/src", "dashboard/e2e"] {
        sources(&root().join(dir), &mut files);
    }
    assert!(!files.is_empty());
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES, "{} has {lines} lines: split it by subject", file.display());
    }
}

#[test]
fn no_test_is_marked_to_be_ignored() {
    let mut files = vec![];
    sources(&root().join("crates"), &mut files);
    let mark = concat!("#[", "ignore");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(mark), "{} has an ignored test: what cannot run fails", file.display());
    }
}

#[test]
fn every_crate_that_logs_has_a_level_of_its_own_and_no_other_has() {
    let mut logging = vec![];
    for entry in std::fs::read_dir(root().join("crates")).unwrap().map(Result::unwrap) {
        let mut files = vec![];
        sources(&entry.path().join("src"), &mut files);
        let logs = |file: &std::path::PathBuf| std::fs::read_to_string(file).unwrap().contains("tracing::");
        logging.extend(files.iter().any(logs).then(|| entry.file_name().into_string().unwrap()));
    }
    // What the binary itself says has the level of everything.
    logging.retain(|name| name != "outwork");
    logging.sort();
    assert_eq!(logging, outwork_telemetry::logs::SERVICES);
}

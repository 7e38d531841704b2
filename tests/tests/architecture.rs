//! The files and functions that ARCHITECTURE.md names exist.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, path::Path};

/// The parts of a text in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Splits a text into paragraphs and list items.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        if line.is_empty() || line.starts_with('|') || (number.len() < line.len() && number.starts_with(". "))
        {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push(' ');
        }
    }
    parts
}

#[test]
fn the_files_and_functions_in_the_architecture_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let prose = text.split("```").step_by(2).collect::<String>();
    let (mut files, mut functions) = (0, 0);
    for part in parts(&prose) {
        let paths: Vec<&str> = quoted(&part).filter(|word| word.contains('/')).collect();
        for path in &paths {
            assert!(root.join(path).exists(), "{path} does not exist: {part}");
        }
        files += paths.len();
        let sources: Vec<String> = paths
            .iter()
            .filter(|path| path.ends_with(".rs"))
            .map(|path| fs::read_to_string(root.join(path)).unwrap())
            .collect();
        for name in quoted(&part).filter_map(|word| word.strip_suffix("()")) {
            let defined = |source: &String| {
                source.contains(&format!("fn {name}(")) || source.contains(&format!("fn {name}<"))
            };
            assert!(sources.iter().any(defined), "no file of this part defines {name}(): {part}");
            functions += 1;
        }
    }
    assert!(files > 60 && functions > 40, "only {files} files and {functions} functions were found");
}

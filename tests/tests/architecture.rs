//! The files and functions that ARCHITECTURE.md names exist, and no modules of the crate `tidegate` import each other
//! in a circle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

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

/// The modules at the root of a crate, and what each of them imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The modules and items that a source names at the root of its crate, outside of its unit tests.
fn imported(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: Vec<_> = source.lines().map(|line| line.split("//").next().unwrap()).collect();
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = BTreeSet::new();
    for rest in code.join("\n").split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut outer) = (0, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ if depth == 0 => outer.push(c),
                _ => {}
            }
        }
        found.extend(outer.split(',').map(|part| word(part.trim())).filter(|word| !word.is_empty()));
    }
    found
}

/// Adds the imports of a file, or of the files below a directory, to those of a module.
fn add_imports(path: &Path, module: &str, imports: &mut Imports) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            add_imports(&entry.unwrap().path(), module, imports);
        }
    } else {
        imports.entry(module.to_owned()).or_default().extend(imported(&fs::read_to_string(path).unwrap()));
    }
}

/// The modules that import themselves by way of others.
fn in_circles(imports: &Imports) -> Vec<&str> {
    let is_in_circle = |start: &&str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![*start]);
        while let Some(module) = next.pop() {
            for other in imports.get(module).into_iter().flatten().filter(|other| *other != module) {
                if other == start {
                    return true;
                }
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        false
    };
    imports.keys().map(String::as_str).filter(is_in_circle).collect()
}

#[test]
fn no_modules_of_the_crate_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates/tidegate/src");
    let mut imports = Imports::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        if module != "lib" {
            add_imports(&path, module, &mut imports);
        }
    }
    assert!(imports.len() > 10, "{imports:?}");
    assert!(
        imports["link"].contains("transport") && imports["admission"].contains("transport"),
        "{imports:?}"
    );
    assert_eq!(in_circles(&imports), [""; 0], "{imports:#?}");
}

#[test]
fn a_circle_of_imports_is_found() {
    let sources = [
        ("a", "use crate::{\n    b::{One, Two},\n    c::Three,\n};\n"),
        ("b", "use crate::c::Four; // crate::a\n"),
        ("c", "fn five() { crate::a::six() }\n"),
        ("d", "use crate::{a::One};\n#[cfg(test)]\nmod tests { use crate::d; }\n"),
    ];
    let imports = |count| -> Imports {
        sources.iter().take(count).map(|(module, source)| ((*module).to_owned(), imported(source))).collect()
    };
    assert_eq!(imports(1)["a"], BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    assert_eq!(in_circles(&imports(2)), [""; 0]);
    assert_eq!(in_circles(&imports(4)), ["a", "b", "c"]);
}

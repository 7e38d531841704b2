//! Every rule of SPEC.md and docs/IMPLEMENTATION.md is named by code and by a test, and the check finds each kind of
//! gap.

use std::path::Path;

use tidegate_tests::spec::{Findings, Source, Sources, check, read, split};

#[test]
fn every_rule_is_named_by_code_and_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let findings = check(&read(root).unwrap());
    assert!(findings.is_clean(), "\n{findings}");
}

/// Invented ids are written with `~` in this file, or the test above would find them here.
fn ids(text: &str) -> String {
    text.replace('~', "-")
}

fn sources(spec: &str, code: &str, tests: &str) -> Sources {
    let source = |text| vec![Source { path: "a.rs".into(), text: ids(text) }];
    Sources { spec: ids(spec), code: source(code), tests: source(tests), other: Vec::new() }
}

const SPEC: &str = "Such as **ZZ~9**.\n\n- **ZA~1** (MUST, both) One.\n  **ZA~3** is no item.\n\
                    - **ZA~2** (MAY, pusher) Two.\n- **Bold.** No.";

#[test]
fn a_clean_tree_is_clean() {
    let findings =
        check(&sources(SPEC, "// ZA~1, and (ZA~2)", "\"ZA~1\" // ZA~2: UTF-8, X-1, ZAB-3, Z~1, za~4"));
    assert_eq!(findings, Findings { rules: 2, ..Findings::default() });
    assert!(findings.is_clean());
}

#[test]
fn a_rule_without_code_is_found() {
    let findings = check(&sources(SPEC, "// ZA~1", "// ZA~1 ZA~2"));
    assert_eq!(findings.without_code, [ids("ZA~2")]);
    assert!(findings.without_test.is_empty() && !findings.is_clean());
    assert!(findings.to_string().contains(&ids("ZA~2 is named by no code")), "{findings}");
}

#[test]
fn a_rule_without_a_test_is_found() {
    let findings = check(&sources(SPEC, "// ZA~1 ZA~2", "// ZA~2 ZA~12"));
    assert_eq!(findings.without_test, [ids("ZA~1")]);
    assert!(findings.without_code.is_empty() && !findings.is_clean());
}

#[test]
fn an_unknown_id_is_found_wherever_it_is() {
    let clean = sources(SPEC, "// ZA~1 ZA~2", "// ZA~1 ZA~2");
    let stray = Source { path: "b.rs".into(), text: ids("// ZA~1\n// see ZA~7, ZA~7") };
    for put in [
        |sources: &mut Sources, stray| sources.code.push(stray),
        |sources: &mut Sources, stray| sources.tests.push(stray),
        |sources: &mut Sources, stray| sources.other.push(stray),
    ] {
        let mut sources = clean.clone();
        put(&mut sources, stray.clone());
        let findings = check(&sources);
        assert_eq!(findings.unknown, [ids("ZA~7 (b.rs:2)")]);
        assert!(!findings.is_clean());
    }
}

#[test]
fn a_rule_that_is_defined_twice_is_found() {
    let spec = format!("{SPEC}\n- **ZA~1** (MAY, puller) Again.");
    let findings = check(&sources(&spec, "// ZA~1 ZA~2", "// ZA~1 ZA~2"));
    assert_eq!(findings.duplicates, [ids("ZA~1")]);
    assert!(!findings.is_clean());
}

#[test]
fn a_rule_without_a_level_or_a_role_is_found() {
    for tag in ["", "(MUST) ", "(MUST, connector) ", "(must, both) ", "(MAY, both)"] {
        let spec = format!("{SPEC}\n- **ZA~4** {tag}Something.");
        let findings = check(&sources(&spec, "// ZA~1 ZA~2 ZA~4", "// ZA~1 ZA~2 ZA~4"));
        assert_eq!(findings.untagged, [ids("ZA~4")], "{tag}");
        assert!(!findings.is_clean());
    }
}

#[test]
fn a_specification_without_rules_is_not_clean() {
    assert!(!check(&sources("* **ZA~1** In another form of list.", "", "")).is_clean());
}

#[test]
fn files_are_sorted_by_kind() {
    const MIXED: &str = "// ZA~1\n#[cfg(test)]\nmod tests {\n    // ZA~2\n}\n";
    for (path, code, tests) in [
        ("crates/tidegate/src/push.rs", "ZA~1", "ZA~2"),
        ("crates/tidegate-proto/src/wire/tests.rs", "", "ZA~1 ZA~2"),
        ("crates/tidegate-cli/src/pull/tests/exec.rs", "", "ZA~1 ZA~2"),
        ("crates/tidegate/tests/tcp.rs", "", "ZA~1 ZA~2"),
        ("tests/tests/daemons.rs", "", "ZA~1 ZA~2"),
        ("examples/python/test_link.py", "", "ZA~1 ZA~2"),
        ("examples/python/link.py", "", ""),
        ("crates/xtask/src/main.rs", "", ""),
        ("tests/src/spec.rs", "", ""),
        ("proto/tidegate/v1/tidegate.proto", "", ""),
        ("README.md", "", ""),
    ] {
        let mut sources = Sources { spec: ids(SPEC), ..Sources::default() };
        let parts: Vec<&str> = path.split('/').collect();
        sources.sort(&parts, ids(MIXED));
        let findings = check(&sources);
        for (owned, missing) in [(code, &findings.without_code), (tests, &findings.without_test)] {
            for id in ["ZA~1", "ZA~2"] {
                assert_eq!(!missing.contains(&ids(id)), owned.contains(id), "{path}: {id}: {findings}");
            }
        }
        assert!(findings.unknown.is_empty(), "{path}: {findings}");
    }
}

#[test]
fn only_code_compiled_for_tests_counts_as_a_test() {
    let text = r####"
/// kept: "#[cfg(test)]" /* this */
const A: &str = "kept #[cfg(test)] mod x { \" { ";
const B: &str = r##"kept " "# { #[cfg(test)]"##;
const C: [char; 4] = ['{', '"', '\'', '\\']; /* kept /* { #[cfg(test)] */ { */
#[cfg(test)]
use super::{only_1, only_2};
fn kept<'a>(for_r: &'a str) -> &'a [u8; 1] { br"\" }
#[cfg(test)]
#[allow(dead_code, reason = "only_3 ; }")]
fn only_4(x: [u8; 3]) -> [u8; 3] { if x[0] == b'}' { x } else { x /* only_5 } */ } }
struct kept { x: u8 }
#[cfg(test)]
mod only_6;
fn kept() {}
#[cfg(test)]
mod only_7 {
    // only_8: it's }
    fn only_9() { let _ = "}"; let _ = '}'; let _ = r"\"; { } }
    #[cfg(test)]
    mod only_10 { }
    // only_11
}
// kept
"####;
    let (code, tests) = split(text);
    assert_eq!((code.matches("kept").count(), code.matches("only").count()), (8, 0), "{code}");
    assert_eq!((tests.matches("kept").count(), tests.matches("only").count()), (0, 11), "{tests}");
    for half in [code, tests] {
        assert_eq!(half.lines().count(), text.lines().count());
    }
}

#[test]
fn a_file_compiled_only_for_tests_counts_as_a_test() {
    let (code, tests) = split("//! ZA\n#![cfg(test)]\nfn a() {}\n");
    assert_eq!(code.trim(), "");
    assert!(tests.contains("ZA") && tests.contains("fn a"));
}

//! All texts are written in plain words and in lines that are not too wide, and commits have subjects of the usual
//! form. The check finds each kind of mistake.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test may stop at once

use std::path::Path;

use tidegate_tests::words::{
    Allow, Ban, Finding, List, Source, check, check_subject, read, read_list, read_subjects,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn the_tree_has_no_banned_words_and_no_wide_lines() {
    let list = read_list(root()).unwrap();
    assert!(list.ban.len() > 20 && list.ban.iter().all(|ban| !ban.instead.is_empty()));
    assert!(list.skip.iter().all(|skip| !skip.reason.is_empty()), "each exception has a reason");
    assert!(list.allow.iter().all(|allow| !allow.reason.is_empty()), "each exception has a reason");
    let sources = read(root(), &list).unwrap();
    for path in ["README.md", "SPEC.md", ".ci/run", ".github/workflows/ci.yml"] {
        assert!(sources.iter().any(|source| source.path == path), "{path} was not read");
    }
    let findings = check(&list, &sources);
    assert!(findings.is_empty(), "tests/words.toml bans:\n{}", lines(&findings));
}

#[test]
fn the_subjects_of_new_commits_have_the_usual_form() {
    let list = read_list(root()).unwrap();
    match read_subjects(root(), &list.first_commit) {
        Ok(subjects) => {
            let bad: Vec<Finding> =
                subjects.iter().flat_map(|(commit, subject)| check_subject(commit, subject)).collect();
            assert!(bad.is_empty(), "\n{}", lines(&bad));
        }
        Err(why) => println!("skipped: {why}"),
    }
}

/// A banned word is written with `~` in this file, or the test above would find it here.
fn plain(text: &str) -> String {
    text.replace('~', "")
}

fn source(path: &str, text: &str) -> Source {
    Source { path: plain(path), text: plain(text) }
}

fn list() -> List {
    let ban = |find: &[&str], instead: &str| Ban {
        find: find.iter().map(|find| plain(find)).collect(),
        instead: instead.to_owned(),
    };
    List {
        width: 40,
        ban: vec![
            ban(&["oct~et*"], "byte"),
            ban(&["so ma~ny !that", "wh~at comes|came of"], "a quantity"),
            ban(&["BIG~GEST_"], "MAX"),
        ],
        ..List::default()
    }
}

/// The findings in one text, as `line: words`.
fn found(path: &str, text: &str) -> Vec<String> {
    let phrase = |finding: &Finding| finding.what.split('"').nth(1).unwrap_or(&finding.what).to_owned();
    let findings = check(&list(), &[source(path, text)]);
    findings.iter().map(|finding| format!("{}: {}", finding.line, phrase(finding))).collect()
}

#[test]
fn a_banned_word_is_found_with_its_place_and_the_better_word() {
    let findings = check(&list(), &[source("a.rs", "fn a() {}\n// One oct~et.\n")]);
    assert_eq!(lines(&findings), plain("a.rs:2: \"oct~et\": write instead: byte\n"));
}

#[test]
fn a_phrase_is_found_in_every_form() {
    for (text, expected) in [
        ("An Oct~et. OCT~ETS", &["1: oct~et", "1: oct~ets"] as &[_]),
        ("fn oct~et_count(OneOct~et: u8)", &["1: oct~et", "1: oct~et"]),
        ("wh~at comes of it, wh~at came of it", &["1: wh~at came of", "1: wh~at comes of"]),
        ("/// up to so\n/// ma~ny bytes", &["1: so ma~ny"]),
        ("bail!(\"so \\\n    ma~ny\")", &["1: so ma~ny"]),
        ("(\"\\nso-ma~ny\")", &["1: so ma~ny"]),
        ("const BIG~GEST_READ: u8", &["1: big~gest"]),
    ] {
        let mut expected: Vec<String> = expected.iter().map(|text| plain(text)).collect();
        let mut found = found("a.rs", text);
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(found("an-oct~et.bin", ""), [plain("0: oct~et")]);
}

#[test]
fn other_words_are_not_found() {
    for text in [
        "doct~et, so. Ma~ny, so, ma~ny, so(ma~ny)",
        "so ma~ny that it blocks",
        "// or so\n\n// ma~ny",
        "// or so\nma~ny()",
        "the big~gest_read, TOO_BIG~GEST_READ, BIG~GEST",
    ] {
        let findings = check(&List { width: 100, ..list() }, &[source("a.rs", text)]);
        assert!(findings.is_empty(), "{text}: {}", lines(&findings));
    }
}

#[test]
fn documentation_that_only_refers_to_another_item_is_found() {
    let code = "/// As [`b`].\nfn a() {}\n\n    /// Sends.\n    ///\n    /// # Errors\n    /// As [`b`].\n";
    assert_eq!(found("a.rs", code), ["1: As […]"]);
}

#[test]
fn a_wide_line_is_found() {
    let (fits, wide) = ("é".repeat(40), "é".repeat(41));
    for path in ["a.rs", "a.py", "a.proto", "a.toml", "a.yml", ".ci/run", "a.md"] {
        let findings = check(&list(), &[source(path, &format!("{fits}\n{wide}\n"))]);
        assert_eq!(lines(&findings), format!("{path}:2: 41 characters: wrap the line at 40\n"));
    }
    assert!(check(&list(), &[source("a.json", &wide)]).is_empty());
}

#[test]
fn tables_code_blocks_and_targets_of_links_may_be_wide() {
    let wide = "x".repeat(50);
    let markdown =
        format!("| {wide} |\n```sh\n{wide}\n```\n[a]({wide}), [b]({wide})\n  - [a]({wide}) {wide}\n{wide}\n");
    let findings = check(&list(), &[source("a.md", &markdown)]);
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn literals_with_data_may_be_wide_but_no_other_code() {
    let wide = "x".repeat(50);
    let code = format!(
        "let a = \"\\n{wide}\";\nlet a = r\"\n{wide}\n\";\nlet a = b\"\\0{wide}\";\n\
         let a = \"{wide}\";\n// \"\\n{wide}\"\nlet a = \"\\n\"; // {wide}\nlet a = \"\\\n{wide}\";\n"
    );
    let findings = check(&list(), &[source("a.rs", &code)]);
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [6, 7, 8, 10]);
}

#[test]
fn an_exception_counts_for_its_line_and_is_reported_when_nothing_needs_it() {
    let allow = Allow { path: "a.md".into(), line: "is 8 bits".into(), reason: "the definition".into() };
    let list = List { allow: vec![allow], ..list() };
    let text = "An oct~et is 8 bits.\nAn oct~et.";
    let findings = check(&list, &[source("a.md", text), source("b.md", text)]);
    let places: Vec<_> = findings.iter().map(|finding| (finding.place.as_str(), finding.line)).collect();
    assert_eq!(places, [("a.md", 2), ("b.md", 1), ("b.md", 2)]);
    let findings = check(&list, &[source("a.md", "A byte is 8 bits.")]);
    assert!(lines(&findings).contains("nothing needs the exception"), "{}", lines(&findings));
}

#[test]
fn a_subject_without_an_area_or_with_too_many_characters_is_found() {
    for subject in [
        "cli: name the option",
        "hot path: count less",
        "SPEC, proto: a rule",
        &format!("cli: {}", "x".repeat(67)),
    ] {
        assert!(check_subject("1234567", subject).is_empty(), "{subject}");
    }
    for (subject, problem) in [
        (format!("cli: {}", "x".repeat(68)), "73 characters, at most 72"),
        ("Name the option".into(), "the form is"),
        ("cli:name the option".into(), "the form is"),
        ("cli: ".into(), "the form is"),
        (": name the option".into(), "the form is"),
        ("This changes the following thing: the option".into(), "the form is"),
    ] {
        let findings = lines(&check_subject("1234567", &subject));
        assert!(
            findings.starts_with("commit 1234567: ") && findings.contains(problem),
            "{subject}: {findings}"
        );
    }
}

#[test]
fn without_a_repository_or_its_history_subjects_are_skipped() {
    let archive = tempfile::tempdir().unwrap();
    let skipped = read_subjects(archive.path(), "HEAD").unwrap_err();
    assert!(skipped.contains("not a git repository"), "{skipped}");
    // In a shallow clone the first commit is unknown.
    let skipped = read_subjects(root(), &"0".repeat(40)).unwrap_err();
    assert!(skipped.contains("does not reach") || skipped.contains("not a git"), "{skipped}");
}

#[test]
fn a_source_archive_is_read_without_git() {
    let archive = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("README.md", "text".as_bytes()),
        (".github/a.yml", b"text"),
        ("src/data", b"\0"),
        ("target/debug/a.rs", b"text"),
        (".cache/a.rs", b"text"),
    ] {
        let path = archive.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let sources = read(archive.path(), &List::default()).unwrap();
    let paths: Vec<_> = sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(paths, [".github/a.yml", "README.md"]);
}

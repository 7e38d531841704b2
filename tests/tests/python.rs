//! The Python peer, written from SPEC.md alone, against the daemons. `cargo xtask test` creates its environment and
//! sets `TIDEGATE_PYTHON`; without that variable these tests are skipped.

// A test may stop at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::process::Stdio;

use tidegate_tests::{certs::Ca, daemons::tidegate, process::Process};

const COUNT: usize = 100_000;

fn python(script: &str, args: &[&str]) -> Option<Process> {
    let Ok(python) = std::env::var("TIDEGATE_PYTHON") else {
        eprintln!("TIDEGATE_PYTHON is not set: run `cargo xtask test`");
        return None;
    };
    let script = format!("{}/../examples/python/{script}", env!("CARGO_MANIFEST_DIR"));
    let args = [&[script.as_str()], args].concat();
    Some(Process::start(python, &args, Stdio::piped(), Stdio::piped()).unwrap())
}

fn input() -> Vec<u8> {
    (0..COUNT).map(|i| format!("{i}\n")).collect::<String>().into_bytes()
}

fn assert_exact(output: &str) {
    let mut all: Vec<usize> = output.lines().map(|line| line.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn python_pushes_and_rust_pulls_exactly() {
    let Some(mut push) = python("push.py", &["--bind", "tcp://127.0.0.1:0", "--expect", "1"]) else { return };
    let at = push.endpoint().unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at, "--window", "50"]);
    push.feed(input());
    assert_exact(&pull.output().unwrap());
    let summary: serde_json::Value = serde_json::from_str(&push.output().unwrap()).unwrap();
    assert_eq!(summary["acked"], COUNT);
    assert!(push.exit().unwrap().success() && pull.exit().unwrap().success());
}

#[test]
fn rust_pushes_and_python_pulls_exactly_with_nacks() {
    let nacks = ["--window", "50", "--nack-every", "100", "--bind", "tcp://127.0.0.1:0", "--expect", "1"];
    let Some(mut pull) = python("pull.py", &nacks) else { return };
    let at = pull.endpoint().unwrap();
    let mut push = tidegate(&["push", "--connect", &at]);
    push.feed(input());
    assert_exact(&pull.output().unwrap());
    push.line_with("1,000 failed attempts").unwrap();
    assert!(push.exit().unwrap().success() && pull.exit().unwrap().success());
}

#[test]
fn python_and_rust_interoperate_over_mutual_tls_with_either_listener() {
    // TL-1, TL-2, TL-3, TL-4: with another TLS library on the other side.
    let (ca, dir) = (Ca::new("test"), tempfile::tempdir().unwrap());
    let ca_file = ca.write(dir.path(), "ca.crt");
    let options = |name: &str| {
        let (certificate, key) = ca.sign(&[name, "127.0.0.1"]).write(dir.path(), name);
        let files = [("--tls-ca", &ca_file), ("--tls-cert", &certificate), ("--tls-key", &key)];
        files.map(|(option, file)| [option.to_owned(), file.to_str().unwrap().to_owned()]).concat()
    };
    let (ours, theirs) = (options("rust"), options("python"));
    let (ours, theirs): (Vec<&str>, Vec<&str>) =
        (ours.iter().map(String::as_str).collect(), theirs.iter().map(String::as_str).collect());
    let listen = ["--bind", "tls://127.0.0.1:0", "--expect", "1"];

    let Some(mut push) = python("push.py", &[&listen[..], &theirs].concat()) else { return };
    let at = push.endpoint().unwrap();
    let mut pull = tidegate(&[&["pull", "--connect", &at], &ours[..]].concat());
    push.feed(input());
    assert_exact(&pull.output().unwrap());
    assert!(push.exit().unwrap().success() && pull.exit().unwrap().success());

    let mut push = tidegate(&[&["push", "-v", "--tls-verify-client"], &listen[..], &ours].concat());
    let at = push.endpoint().unwrap();
    let mut pull = python("pull.py", &[&["--connect", &at], &theirs[..]].concat()).unwrap();
    push.feed(input());
    assert_exact(&pull.output().unwrap());
    push.line_with("(certificate for python)").unwrap();
    assert!(push.exit().unwrap().success() && pull.exit().unwrap().success());
}

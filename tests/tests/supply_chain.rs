//! `unsafe` is forbidden in every crate, and `deny.toml` bans the dependencies that the design excludes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The packages of the workspace.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]).current_dir(root());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"), "the workspace does not forbid unsafe code");
    let mut roots = 0;
    for package in packages() {
        let path = package["manifest_path"].as_str().unwrap();
        let manifest = fs::read_to_string(path).unwrap();
        assert!(
            manifest.contains("\n[lints]\nworkspace = true\n"),
            "{path} does not use the workspace's lints"
        );
        for target in package["targets"].as_array().unwrap() {
            let kinds: Vec<_> = target["kind"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            if kinds.iter().any(|kind| ["lib", "bin", "example"].contains(kind)) {
                let path = target["src_path"].as_str().unwrap();
                let source = fs::read_to_string(path).unwrap();
                assert!(
                    source.lines().any(|line| line == "#![forbid(unsafe_code)]"),
                    "{path} does not forbid unsafe code"
                );
                roots += 1;
            }
        }
    }
    assert!(roots >= 10, "only {roots} crates were found");
}

#[test]
fn dependencies_that_the_design_excludes_are_banned() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    for name in [
        "aws-lc-rs",
        "backoff",
        "bincode",
        "instant",
        "metrics-exporter-prometheus",
        "openssl-sys",
        "paste",
        "rustls-pemfile",
        "serde_yml",
    ] {
        assert!(
            deny.contains(&format!("[[bans.deny]]\ncrate = \"{name}\"\nreason = ")),
            "{name} is not banned"
        );
    }
    for line in ["unknown-registry = \"deny\"", "unknown-git = \"deny\"", "wildcards = \"deny\""] {
        assert!(deny.contains(line), "deny.toml lacks {line}");
    }
}

//! Runs every kept input of the fuzzer, and mutations of them, through its target.
//!
//! `cargo xtask fuzz` searches for new inputs. An input that once failed is kept under a name that describes it.

// A test may stop at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

use fastrand::Rng;
use tidegate_tests::{
    fuzz::{TARGETS, Target, golden, mutate},
    seeds,
};

/// The number of inputs per seed and target.
const INPUTS: usize = 10;
const SEEDS: u64 = 25;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The kept inputs of a target, by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = root().join("corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    entries.map(|entry| read(entry.unwrap())).collect()
}

/// Runs an input, and prints its path if it fails.
fn run(target: &Target, bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        println!("target {} fails with {what}: {} bytes", target.name, bytes.len());
        let file = std::env::temp_dir().join(format!("tidegate-fuzz-{}", target.name));
        if fs::write(&file, bytes).is_ok() {
            println!("the input is in {}; keep it in tests/fuzz/corpus/{}", file.display(), target.name);
        }
        resume_unwind(panic);
    }
}

#[test]
fn every_kept_input_passes() {
    for target in &TARGETS {
        let kept = corpus(target.name);
        assert!(!kept.is_empty(), "{} has no corpus", target.name);
        for (name, bytes) in kept {
            run(target, &bytes, &format!("the kept input {name}"));
        }
    }
}

#[test]
fn mutations_of_kept_inputs_pass() {
    let kept = TARGETS.map(|target| corpus(target.name).into_values().collect::<Vec<_>>());
    seeds::each("--test fuzz_corpus mutations_of_kept_inputs_pass", SEEDS, |seed| {
        for (target, kept) in TARGETS.iter().zip(&kept) {
            let mut random = Rng::with_seed(seed);
            for number in 0..INPUTS {
                let bytes = mutate(&mut random, kept);
                run(target, &bytes, &format!("mutation {number} of seed {seed}"));
            }
        }
    });
}

#[test]
fn the_golden_frames_are_in_the_corpora() {
    let golden = golden();
    for one in &golden {
        let file = root().join("corpus").join(one.target).join(&one.name);
        if std::env::var_os("TIDEGATE_UPDATE_VECTORS").is_some_and(|value| value == "1") {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &one.bytes).unwrap();
        }
        assert_eq!(
            fs::read(&file).ok().as_ref(),
            Some(&one.bytes),
            "{}: set TIDEGATE_UPDATE_VECTORS=1 to write it",
            file.display()
        );
    }
    for target in &TARGETS {
        let wanted = golden.iter().filter(|one| one.target == target.name).count();
        let here = corpus(target.name).into_keys().filter(|name| name.starts_with("golden-")).count();
        assert_eq!(here, wanted, "{}: golden frames that no longer exist in tests/vectors", target.name);
    }
}

#[test]
fn each_target_has_its_file_and_the_corpora_stay_small() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (mut files, mut bytes) = (0, 0);
    for target in &TARGETS {
        let path = format!("fuzz_targets/{}.rs", target.name);
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{path} is not in tests/fuzz/Cargo.toml");
        let source = fs::read_to_string(root().join(&path)).unwrap();
        assert!(source.contains(&format!("fuzz::run(\"{}\"", target.name)), "{path} runs another target");
        let kept = corpus(target.name);
        files += kept.len();
        bytes += kept.values().map(Vec::len).sum::<usize>();
    }
    let targets = fs::read_dir(root().join("fuzz_targets")).unwrap().count();
    assert_eq!(targets, TARGETS.len(), "a file in fuzz_targets is not a target");
    let directories = fs::read_dir(root().join("corpus")).unwrap().count();
    assert_eq!(directories, TARGETS.len(), "a directory in corpus does not belong to a target");
    println!("{files} kept inputs, {bytes} bytes");
    assert!(
        files < 800 && bytes < 1 << 20,
        "{files} files, {bytes} bytes: remove inputs that reach nothing new"
    );
}

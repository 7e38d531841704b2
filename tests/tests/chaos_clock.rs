//! Clocks that jump and clocks that differ. (`chaos_paused` tests the clock of a suspended process.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, path::Path, process::Stdio};

use tidegate_tests::{
    chaos::{Fleet, have, say},
    daemons::{self, by, code, numbers, summary},
    process::Process,
};

const COUNT: usize = 3_000;

/// Checks that every message was delivered once, whatever the clocks show.
fn complete(mut push: Process, mut fleet: Fleet) {
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.again().count(), 0, "no link was closed as silent");
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["redelivered"]), (&COUNT.into(), &0.into()), "{sum}");
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn machines_whose_monotonic_clocks_differ_by_years_work_together() {
    if !have(&["unshare"]) || !Path::new("/proc/self/ns/time").exists() {
        return;
    }
    // A monotonic clock cannot be set, but it starts at the boot of the machine, and a time namespace changes that.
    let since = |seconds: &str| -> Vec<String> {
        ["unshare", "--time", "--monotonic", seconds, "--boottime", seconds, "--fork", "--kill-child"]
            .map(str::to_owned)
            .to_vec()
    };
    let (ten_years, three_days) = (since("315360000"), since("259200"));
    let ten_years: Vec<_> = ten_years.iter().map(String::as_str).collect();
    let three_days: Vec<_> = three_days.iter().map(String::as_str).collect();
    let args = ["push", "--bind", "tcp://127.0.0.1:0", "--expect", "3", "--json"];
    let mut push = by(&ten_years, &args);
    let at = push.endpoint().unwrap();
    let mut fleet = Fleet::default();
    fleet.pull(&at, &["--window", "10"]);
    fleet.pull_by(&three_days, &at, &["--window", "10"]);
    fleet.pull_by(&ten_years, &at, &["--window", "10"]);
    push.feed(numbers(COUNT));
    complete(push, fleet);
}

/// The path of libfaketime, which gives a program a false time of day, as Debian installs it.
fn faketime() -> Option<String> {
    let found = fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok).find_map(|directory| {
        let path = directory.path().join("faketime/libfaketime.so.1");
        path.exists().then(|| path.display().to_string())
    });
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this test must not be skipped, but libfaketime is missing"
        );
        say(format_args!("SKIPPED: this test needs libfaketime"));
    }
    found
}

/// Waits for a process with a correct clock that exits after two seconds.
fn two_seconds() {
    let mut idle = daemons::tidegate(&["pull", "--bind", "tcp://127.0.0.1:0", "--idle-exit", "2s"]);
    assert_eq!(code(&mut idle), 0);
}

#[test]
fn a_wall_clock_that_jumps_by_years_affects_no_link() {
    // LV-3
    let Some(library) = faketime() else { return };
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    let set = |time: &str| {
        // Rename it, so that no process reads an incomplete file.
        let new = dir.path().join("new");
        fs::write(&new, format!("{time}\n")).unwrap();
        fs::rename(&new, &clock).unwrap();
    };
    set("+0d");
    let start = |args: &[&str]| {
        let mut command = daemons::command(&[], args);
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Process::spawn(&mut command).unwrap()
    };
    let args =
        ["push", "--bind", "tcp://127.0.0.1:0", "--expect", "2", "--json", "-v", "--heartbeat", "500ms"];
    let mut push = start(&args);
    let at = push.endpoint().unwrap();
    let mut fleet = Fleet::default();
    for _ in 0..2 {
        let pull = start(&["pull", "--connect", &at, "--json", "--window", "10", "--heartbeat", "500ms"]);
        fleet.add(pull, true);
    }
    let opened = push.line_with("is open").unwrap();
    let year = |line: &str| line.split('-').next().unwrap().parse::<u32>().unwrap();
    let jumps = ["+9000d", "-9000d", "+1d", "-1h", "+3650d"];
    for (index, jump) in jumps.iter().enumerate() {
        set(jump);
        for number in COUNT * index / jumps.len()..COUNT * (index + 1) / jumps.len() {
            push.write_line(&number.to_string());
        }
        fleet.see(COUNT * (index + 1) / jumps.len());
        if jump.starts_with('-') {
            // A timer on the wall clock would now wait for years, and the peer would close the link as silent.
            two_seconds();
        }
    }
    push.close_input();
    let ended = push.line_with("has ended").unwrap();
    assert!(year(&ended) >= year(&opened) + 9, "the clock did not jump: {opened}; {ended}");
    complete(push, fleet);
}

//! Runs every benchmark with a small size, and checks its checks and its output. No speed is asserted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::process::Stdio;

use serde_json::Value;
use tidegate_tests::process::Process;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate-under-test");
const TIDEGATE_BENCH: &str = env!("CARGO_BIN_EXE_tidegate-bench-under-test");

/// What a program that succeeds prints.
fn output(program: &str, args: &[&str]) -> String {
    let mut process = Process::start(program, args, Stdio::piped(), Stdio::piped()).unwrap();
    let output = process.output().unwrap();
    assert!(process.exit().unwrap().success(), "{args:?}: {output}");
    output
}

fn object(program: &str, args: &[&str]) -> Value {
    let text = output(program, &[args, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `tidegate bench`.
fn command(args: &[&str]) -> Value {
    object(TIDEGATE, &[&["bench"], args].concat())
}

/// `tidegate-bench`.
fn bench(args: &[&str]) -> Value {
    object(TIDEGATE_BENCH, args)
}

fn positive(value: &Value, path: &str) {
    let found = path.split('.').fold(value, |value, name| &value[name]);
    assert!(found.as_f64().is_some_and(|number| number > 0.0), "{path}: {value}");
}

#[test]
fn throughput_counts_every_form_of_sending_and_receiving() {
    for form in [
        &["--batch", "16"][..],
        &["--borrowed"],
        &["--tls"],
        &["--threads", "2", "--tasks", "3"],
        &["--window", "50"],
        &["--io-thread"],
        &["--blocking", "--borrowed"],
    ] {
        let value = command(&[&["throughput", "--count", "20000"], form].concat());
        positive(&value, "msgs_per_s");
        positive(&value, "push.cpu_seconds");
        assert_eq!(value["received"], serde_json::json!([20000]), "{form:?}: {value}");
    }
}

#[test]
fn many_sides_get_every_message_once() {
    let fanout = bench(&["fanout", "--count", "20000", "--pullers", "3"]);
    let received: u64 = fanout["received"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!((received, &fanout["pullers"]), (20_000, &3.into()), "{fanout}");
    let fanin = bench(&["fanin", "--count", "20000", "--pushers", "3"]);
    assert_eq!(fanin["received"], serde_json::json!([20000]), "{fanin}");
    positive(&fanin, "msgs_per_s");
}

#[test]
fn latency_has_percentiles_for_round_trips_echoes_and_a_steady_load() {
    let value = command(&["latency", "--count", "200", "--with-tcp", "--busy-poll", "100us"]);
    for path in ["latency.p50", "latency.p99", "tokio_echo.p50", "blocking_echo.p99", "busy_poll_us"] {
        positive(&value, path);
    }
    for form in [&[][..], &["--io-thread"], &["--blocking"]] {
        let value = command(&[&["latency", "--count", "500", "--rate", "5000"], form].concat());
        positive(&value, "latency.p999");
        assert_eq!(value["rate"], 5000);
        positive(&command(&[&["latency", "--count", "200"], form].concat()), "latency.p99");
    }
}

#[test]
fn the_makespan_is_reported_with_its_ideal() {
    let value = bench(&[
        "makespan",
        "--workers",
        "1,2",
        "--seconds",
        "1",
        "--longest",
        "5ms",
        "--quick",
        "500",
        "--long-share",
        "0.1",
    ]);
    for path in ["seconds", "ideal_seconds", "ratio", "jobs"] {
        positive(&value, path);
    }
    let jobs: u64 = value["workers"].as_array().unwrap().iter().map(|w| w["jobs"].as_u64().unwrap()).sum();
    assert_eq!(value["jobs"], jobs, "each job ran once");
}

#[test]
fn a_soak_survives_its_killed_pullers_and_its_report_can_be_plotted() {
    let soak = ["soak", "--duration", "2s", "--kill-every", "500ms", "--pullers", "2"];
    let value = bench(&soak);
    for path in ["acked", "killed"] {
        positive(&value, path);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results.json");
    let lines = [value, command(&["throughput", "--count", "5000"])].map(|value| value.to_string());
    std::fs::write(&file, lines.join("\n")).unwrap();
    let page = output(TIDEGATE_BENCH, &["report", file.to_str().unwrap()]);
    assert!(page.contains("<h2>Soak</h2>") && page.contains("<svg"), "{page}");
}

#[test]
fn the_memory_of_links_and_of_a_stopped_puller_is_reported() {
    let links = bench(&["links", "--links", "50"]);
    positive(&links, "bytes_per_link");
    let stopped = bench(&["stopped", "--warm-up", "2000"]);
    positive(&stopped, "held_kib");
    positive(&stopped, "acked");
}

#[test]
fn plain_tcp_is_measured_by_itself_and_beside_tidegate() {
    let alone = bench(&["tcp", "--size", "1KiB", "--count", "20000"]);
    let beside = command(&["throughput", "--size", "1KiB", "--count", "20000", "--with-tcp"]);
    for path in ["msgs_per_s", "tcp_chunks.write", "tcp_chunks.read"] {
        positive(&alone, path);
    }
    for path in ["msgs_per_s", "tcp_msgs_per_s", "tcp_mib_per_s", "ratio", "tcp_chunks.read"] {
        positive(&beside, path);
    }
    assert_eq!((&alone["bench"], &beside["bench"]), (&"tcp".into(), &"throughput".into()));
}

#[test]
fn links_that_cannot_all_be_opened_are_an_error() {
    // Without it, the benchmark would wait for them for ever.
    let line = "ulimit -n 250 && exec \"$0\" links --links 50";
    let args = ["-c", line, TIDEGATE_BENCH];
    let mut process = Process::start("sh", &args, Stdio::piped(), Stdio::piped()).unwrap();
    process.line_with("--links 50 needs 286 open files").unwrap();
    assert_eq!(process.exit().unwrap().code(), Some(1));
}

#[test]
fn the_help_of_the_command_says_where_the_other_benchmarks_are() {
    let help = output(TIDEGATE, &["bench", "--help"]);
    assert!(help.contains("cargo build --release -p tidegate-bench"), "{help}");
    let others = output(TIDEGATE_BENCH, &["--help"]);
    for name in ["fanout", "fanin", "makespan", "soak", "links", "stopped", "tcp", "report"] {
        assert!(others.contains(name), "{name}: {others}");
        let mut process = Process::start(TIDEGATE, &["bench", name], Stdio::piped(), Stdio::piped()).unwrap();
        assert_eq!(process.exit().unwrap().code(), Some(2), "{name}");
    }
}

//! `pull --exec`: which failures belong to the message and which to the daemon, and how they are reported.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, io::BufRead, io::Read, path::Path};

use tidegate_tests::daemons::{by, code, line, numbers, push, sorted, summary, tidegate};

/// Starts a daemon with a limit on its file descriptors.
fn with_files(limit: &str, args: &[&str]) -> tidegate_tests::process::Process {
    by(&["sh", "-c", r#"ulimit -n "$0"; exec "$@""#, limit], args)
}

/// The path of a file in `dir` that nobody may execute: a shell that tries it exits with 126.
fn not_executable(dir: &Path) -> String {
    let file = dir.join("not-executable");
    fs::write(&file, "").unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_command_that_cannot_be_run_is_a_failed_attempt_once_another_has_succeeded() {
    for jobs in ["1", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let (dead, file) = (dir.path().join("dead"), not_executable(dir.path()));
        let (mut push, at) =
            push(1, &["--max-attempts", "3", "--dead-letter", dead.to_str().unwrap(), "--json"]);
        // With several jobs the others end first, and must wait for this one.
        let command = r#"read c; [ "$c" = true ] && sleep 0.2; $c"#;
        let mut pull = tidegate(&["pull", "--connect", &at, "--jobs", jobs, "--exec", command]);
        push.feed(format!("true\nnosuch\n{file}\ntrue\n").into_bytes());
        assert_eq!((code(&mut push), code(&mut pull)), (3, 0), "{jobs} jobs");
        for status in ["126", "127"] {
            pull.line_with_all(&["WARN", &format!("it cannot be started (exit status {status}")]).unwrap();
        }
        let sum = summary(&mut push);
        assert_eq!(
            (&sum["acked"], &sum["rejected"], &sum["nacked"]),
            (&2.into(), &2.into(), &6.into()),
            "{sum}"
        );
        let dead = fs::read_to_string(dead).unwrap();
        let mut dead: Vec<_> = dead.lines().collect();
        dead.sort_unstable();
        assert_eq!(dead, [&file, "nosuch"]);
    }
}

#[test]
fn a_command_that_cannot_be_run_stops_the_daemon_before_any_has_succeeded_and_counts_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let file = not_executable(dir.path());
    for (jobs, command, status) in [
        ("1", "/no/such/command", "127"),
        ("4", "/no/such/command", "127"),
        ("1", &file, "126"),
        ("4", &file, "126"),
    ] {
        let (mut push, at) = push(1, &["--json"]);
        push.feed(numbers(10));
        let mut pull = tidegate(&["pull", "--connect", &at, "--jobs", jobs, "--exec", command]);
        pull.line_with(&format!("it cannot be started (exit status {status}")).unwrap();
        assert_eq!(code(&mut pull), 1);
        let mut other = tidegate(&["pull", "--connect", &at, "--json"]);
        assert_eq!(other.output().unwrap().matches("\"attempt\":1,").count(), 10, "no attempt was counted");
        assert_eq!((code(&mut push), code(&mut other)), (0, 0));
    }
}

#[test]
fn the_first_failure_is_a_warning_with_the_last_line_of_stderr_and_the_others_are_counted() {
    for jobs in ["1", "2"] {
        let (mut push, at) = push(1, &["--max-attempts", "1"]);
        let command = r"printf 'first\nno such \033[31mdisk\n\n' >&2; exit 7";
        let mut pull = tidegate(&["pull", "--connect", &at, "--jobs", jobs, "--exec", command]);
        push.feed(numbers(20));
        let line = pull.line_with_all(&["WARN", "exited with 7"]).unwrap();
        assert!(line.contains("no such \\u{1b}[31mdisk"), "{line}");
        assert_eq!((code(&mut push), code(&mut pull)), (3, 0));
        pull.line_with("pulled 20 messages").unwrap();
        let lines = pull.lines_seen();
        assert_eq!(lines.iter().filter(|line| line.contains("WARN")).count(), 1, "{lines:?}");
        assert_eq!(lines.iter().filter(|line| *line == "first").count(), 20, "stderr itself is forwarded");
    }
}

#[test]
fn a_command_that_hangs_is_stopped_with_all_its_child_processes() {
    for jobs in ["1", "2"] {
        let (mut push, at) = push(1, &["--max-attempts", "2", "--json"]);
        // Its child process ignores SIGTERM, and holds the command's stdout open.
        let command =
            r#"read -r n; [ "$n" = 0 ] || exit 0; (trap '' TERM; exec sleep 1000) & wait; sleep 1000"#;
        let mut pull =
            tidegate(&["pull", "--connect", &at, "--jobs", jobs, "--timeout", "100ms", "--exec", command]);
        push.feed(numbers(3));
        pull.line_with("longer than --timeout 100ms").unwrap();
        assert_eq!((code(&mut push), code(&mut pull)), (3, 0));
        assert_eq!(pull.output().unwrap(), "", "no process holds it open any more");
        let sum = summary(&mut push);
        assert_eq!((&sum["acked"], &sum["nacked"]), (&2.into(), &2.into()), "{sum}");
    }
}

#[test]
fn a_lack_of_descriptors_names_jobs_and_the_limit_and_waits_until_a_job_has_ended() {
    let (mut push, at) = push(1, &["--json"]);
    let mut pull = with_files(
        "48",
        &["pull", "--connect", &at, "--jobs", "100", "--exec", "read -r n; sleep 0.1; echo $n"],
    );
    push.feed(numbers(300));
    let text = pull.output().unwrap();
    let line = pull.line_with("cannot start").unwrap();
    assert!(line.contains("--jobs 100") && line.contains("limit of 48 file descriptors"), "{line}");
    assert_eq!(sorted(&[text]), (0..300).collect::<Vec<_>>());
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    assert_eq!(summary(&mut push)["nacked"], 0, "waiting counts as a failed attempt");
}

#[test]
fn a_daemon_that_waits_for_descriptors_still_obeys_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let (mut push, at) = push(1, &[]);
    let command = format!("echo begun; until [ -e {} ]; do sleep 0.01; done", go.display());
    let mut pull = with_files("32", &["pull", "--connect", &at, "--jobs", "50", "--exec", &command]);
    push.feed(numbers(60));
    pull.line_with("cannot start").unwrap();
    pull.signal("TERM").unwrap();
    pull.line_with("SIGTERM").unwrap();
    fs::write(go, "").unwrap();
    assert_eq!(code(&mut pull), 0);
    let mut other = tidegate(&["pull", "--connect", &at, "--json"]);
    let begun = pull.output().unwrap().lines().count();
    let rest = other.output().unwrap();
    assert_eq!(begun + rest.lines().count(), 60, "messages that were not started were released");
    assert!(rest.lines().all(|line| line.contains("\"attempt\":1,")), "{rest}");
    assert_eq!((code(&mut push), code(&mut other)), (0, 0));
}

#[test]
fn the_daemon_raises_its_limit_on_descriptors_and_its_commands_get_the_old_one() {
    let (mut push, at) = push(1, &[]);
    let args =
        ["pull", "--connect", &at, "--exec", "cat >&2; ulimit -S -n; grep 'open files' /proc/$PPID/limits"];
    let mut pull = by(&["sh", "-c", r#"ulimit -S -n 40; ulimit -H -n 50; exec "$@""#, "sh"], &args);
    push.feed(numbers(1));
    let text = pull.output().unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["40", "Max", "open", "files", "50", "50", "files"], "{text}");
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_command_inherits_a_closed_stdout_and_gets_no_token() {
    let (mut push, at) = push(1, &["--max-attempts", "1"]);
    let command = r#"[ -z "${TIDEGATE_TOKEN+set}" ] || exit 9; cat"#;
    let args = ["pull", "--connect", &at, "--exec", command];
    let mut pull = by(&["sh", "-c", r#"TIDEGATE_TOKEN=secret exec "$@" >&-"#, "sh"], &args);
    push.feed(numbers(1));
    let line = pull.line_with_all(&["WARN", "exited with"]).unwrap();
    assert!(!line.contains("exited with 9"), "the token is in the environment: {line}");
    assert_eq!(code(&mut push), 3, "cat cannot write");
}

#[test]
fn the_daemon_waits_for_a_running_command_after_sighup_and_sigquit() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["HUP", "QUIT"] {
        let go = dir.path().join(signal);
        let (mut push, at) = push(1, &["--json"]);
        let command = format!("echo begun; until [ -e {} ]; do sleep 0.01; done; echo done", go.display());
        // The tests may run with hangups ignored, as under `nohup`.
        let mut pull = by(&["env", "--default-signal=HUP"], &["pull", "--connect", &at, "--exec", &command]);
        let mut output = pull.stdout().unwrap();
        push.feed(numbers(1));
        assert_eq!(line(&mut output), "begun");
        pull.signal(signal).unwrap();
        pull.line_with(&format!("SIG{signal}")).unwrap();
        fs::write(go, "").unwrap();
        assert_eq!(line(&mut output), "done");
        assert_eq!((code(&mut pull), code(&mut push)), (0, 0));
        assert_eq!(summary(&mut push)["acked"], 1);
        assert_eq!(output.lines().count(), 0);
    }
}

#[test]
fn a_stderr_that_is_not_read_stops_no_job() {
    let (reader, writer) = std::io::pipe().unwrap();
    for jobs in ["1", "2"] {
        let (mut push, at) = push(1, &[]);
        let command = "read -r n; head -c 100000 /dev/zero >&2; echo $n";
        let mut pull = tidegate_tests::daemons::command(
            &[],
            &["pull", "--connect", &at, "--jobs", jobs, "--exec", command],
        )
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(writer.try_clone().unwrap())
        .spawn()
        .unwrap();
        push.feed(numbers(50));
        let mut text = String::new();
        pull.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(sorted(&[text]), (0..50).collect::<Vec<_>>());
        assert_eq!(code(&mut push), 0);
        assert!(pull.wait().unwrap().success());
    }
    drop(reader);
}

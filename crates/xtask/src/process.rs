//! Runs a command, passes its output on as it arrives, and reads it too.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};

/// The stream of a command that is read. The other one is inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be started, or does not end with success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end and returns its status.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot start {}", shown(command)))
}

/// Runs a command to its end. Passes each line of `stream` to `to` and then to `on_line`.
///
/// # Errors
/// As for [`run`], and if the output cannot be passed on, which also kills the command.
pub(crate) fn run_reading(
    command: &mut Command,
    stream: Stream,
    to: &mut dyn Write,
    mut on_line: impl FnMut(&str),
) -> Result<()> {
    match stream {
        Stream::Stdout => command.stdout(Stdio::piped()),
        Stream::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let passed = match (child.stdout.take(), child.stderr.take()) {
        (Some(output), _) => pass_on(output, to, &mut on_line),
        (None, Some(output)) => pass_on(output, to, &mut on_line),
        (None, None) => Ok(()),
    };
    if passed.is_err() {
        // Its output is no longer read, and an error of its own would hide the cause.
        let _ = child.kill();
    }
    let status = child.wait().with_context(|| format!("cannot wait for {}", shown(command)))?;
    passed.with_context(|| format!("cannot pass on the output of {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

fn pass_on(from: impl Read, to: &mut dyn Write, on_line: &mut impl FnMut(&str)) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

/// The command as a user would type it, without the directory of the program.
fn shown(command: &Command) -> String {
    let program = command.get_program();
    let program = Path::new(program).file_name().unwrap_or(program);
    let words = std::iter::once(program).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_are_read_from_the_selected_stream() {
        for (stream, expected) in [(Stream::Stdout, ["a", "b"]), (Stream::Stderr, ["c", "d"])] {
            let (mut lines, mut passed_on) = (Vec::new(), Vec::new());
            let mut command = shell("echo a; echo c >&2; printf b; printf d >&2");
            command.stdout(Stdio::null()).stderr(Stdio::null());
            run_reading(&mut command, stream, &mut passed_on, |line| lines.push(line.to_owned())).unwrap();
            assert_eq!(lines, expected);
            assert_eq!(passed_on, expected.join("\n").as_bytes());
        }
    }

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let error = run(&mut shell("exit 3")).unwrap_err().to_string();
        assert!(error.contains("`sh -c exit 3`") && error.contains('3'), "{error}");
        let error = run_reading(&mut shell("exit 4"), Stream::Stdout, &mut io::sink(), |_| {})
            .unwrap_err()
            .to_string();
        assert!(error.contains("`sh -c exit 4`"), "{error}");
        let error = run(&mut Command::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(error.contains("cannot start `all`"), "{error}");
    }
}

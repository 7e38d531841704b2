//! The project's performance goals, each next to the value that this run measured.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::peers::Peer;
use crate::table::Runs;

/// One line of the table.
struct Row {
    what: String,
    goal: String,
    measured: String,
    met: bool,
}

/// Runs `tidegate bench …` and `tidegate-bench …`, whose directory is `programs`, for every goal that is not a
/// comparison with a peer, and returns the table.
///
/// # Errors
/// When a program cannot be run.
pub fn table(runs: &Runs, programs: &Path, rounds: usize, makespan: u32) -> Result<String> {
    let bench = Bench { programs, rounds };
    let mut rows = ratios(runs);
    bench.latency(&mut rows)?;
    bench.forms(&mut rows)?;
    bench.memory(&mut rows)?;
    if makespan > 0 {
        bench.makespan(&mut rows, makespan)?;
    }
    let mut text =
        String::from("| goal | at least / at most | measured | met |\n| --- | --- | --- | --- |\n");
    for Row { what, goal, measured, met } in rows {
        let _ = writeln!(text, "| {what} | {goal} | {measured} | {} |", if met { "yes" } else { "**no**" });
    }
    Ok(text)
}

/// The goals that follow from the comparison.
fn ratios(runs: &Runs) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |what: &str, ours: Peer, size: usize, goals: &[(Peer, f64)], goal: &str| {
        let Some(own) = runs.median(ours, size) else { return };
        let found: Vec<_> = goals
            .iter()
            .filter_map(|(peer, least)| Some((own / runs.median(*peer, size)?, *least)))
            .collect();
        if found.len() == goals.len() {
            let measured: Vec<_> = found.iter().map(|(ratio, _)| format!("{ratio:.2}")).collect();
            let met = found.iter().all(|(ratio, least)| ratio >= least);
            rows.push(Row {
                what: what.to_owned(),
                goal: goal.to_owned(),
                measured: measured.join(", "),
                met,
            });
        }
    };
    use Peer::{Libzmq, Omq, Tcp, Tidegate, TidegateBorrowed, TidegateWindow1000, Zeromq};
    add("64 B, one `send` of `Bytes`, `recv` and `ack` each", Tidegate, 64, &[(Libzmq, 2.7)], "2.7 × libzmq");
    add(
        "64 B, one `send` of a slice, `recv` and `ack` each",
        TidegateBorrowed,
        64,
        &[(Libzmq, 4.0), (Omq, 3.3), (Tcp, 0.22)],
        "4 × libzmq, 3.3 × omq-tokio, 0.22 × TCP",
    );
    add("64 B, fixed window 1,000", TidegateWindow1000, 64, &[(Omq, 1.1)], "1.1 × omq-tokio");
    add(
        "1 KiB",
        Tidegate,
        1024,
        &[(Libzmq, 1.4), (Omq, 1.4), (Zeromq, 1.4)],
        "1.4 × libzmq, omq-tokio, zeromq crate",
    );
    add(
        "64 KiB",
        Tidegate,
        65536,
        &[(Zeromq, 1.15), (Libzmq, 1.15), (Omq, 1.15), (Tcp, 0.85)],
        "1.15 × zeromq crate, libzmq, omq-tokio; 0.85 × TCP",
    );
    if let (Some(row), Some(own), Some(other)) =
        (rows.last_mut(), runs.range(Tidegate, 65536), runs.range(Zeromq, 65536))
        && row.what == "64 KiB"
    {
        let _ = write!(row.measured, "; {own} beside {other} of the zeromq crate");
    }
    rows
}

/// Messages of a size in another form, beside the same messages in the plain form: one pusher and one puller, with one
/// task and one thread each.
struct FormGoal {
    what: &'static str,
    least: f64,
    arguments: &'static [&'static str],
}

const FORMS: [(&[&str], &[FormGoal]); 3] = [
    (
        &["throughput"],
        &[
            FormGoal {
                what: "64 B, runtimes with two threads, loops spawned",
                least: 0.6,
                arguments: &["throughput", "--threads", "2"],
            },
            FormGoal { what: "64 B, `io_thread`", least: 0.45, arguments: &["throughput", "--io-thread"] },
            FormGoal {
                what: "64 B, 1 pusher → 8 pullers",
                least: 0.7,
                arguments: &["fanout", "--pullers", "8"],
            },
            FormGoal {
                what: "64 B, 8 pushers → 1 puller",
                least: 0.7,
                arguments: &["fanin", "--pushers", "8"],
            },
            FormGoal {
                what: "64 B, four tasks on one `Push` and four on one `Pull`",
                least: 0.85,
                arguments: &["throughput", "--tasks", "4"],
            },
        ],
    ),
    (
        &["throughput", "--size", "64KiB"],
        &[FormGoal {
            what: "64 KiB, TLS",
            least: 0.5,
            arguments: &["throughput", "--size", "64KiB", "--tls"],
        }],
    ),
    (
        &["throughput", "--size", "1KiB"],
        &[FormGoal { what: "1 KiB, TLS", least: 0.7, arguments: &["throughput", "--size", "1KiB", "--tls"] }],
    ),
];

struct Bench<'a> {
    /// The directory of both programs.
    programs: &'a Path,
    rounds: usize,
}

impl Bench<'_> {
    fn run(&self, arguments: &[&str]) -> Result<Value> {
        let (name, first) = match arguments {
            ["throughput" | "latency", ..] => ("tidegate", Some("bench")),
            _ => ("tidegate-bench", None),
        };
        let program = self.programs.join(name);
        let mut command = Command::new(&program);
        command.args(first).args(arguments).arg("--json");
        let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
        ensure!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("{name} {arguments:?}"))
    }

    /// The medians of the values that `numbers` extracts from several runs.
    fn medians<const N: usize>(
        &self,
        arguments: &[&str],
        numbers: impl Fn(&Value) -> [f64; N],
    ) -> Result<[f64; N]> {
        let mut all = vec![Vec::new(); N];
        for _ in 0..self.rounds {
            let found = numbers(&self.run(arguments)?);
            all.iter_mut().zip(found).for_each(|(list, number)| list.push(number));
        }
        let mut result = [0.0; N];
        result.iter_mut().zip(&mut all).for_each(|(value, list)| *value = median(list));
        Ok(result)
    }

    fn latency(&self, rows: &mut Vec<Row>) -> Result<()> {
        let numbers = |value: &Value| {
            let of = |who: &str, what: &str| number(&value[who][what]);
            let [p50, p99] = [of("latency", "p50"), of("latency", "p99")];
            let tokio = [p50 / of("tokio_echo", "p50"), p99 / of("tokio_echo", "p99")];
            let blocking = [p50 / of("blocking_echo", "p50"), p99 / of("blocking_echo", "p99")];
            [p50, p99, tokio[0], tokio[1], blocking[0], blocking[1]]
        };
        let [p50, p99, to50, to99, ..] = self.medians(&["latency", "--with-tcp"], numbers)?;
        rows.push(Row {
            what: "round trip of 64 B, p50 and p99".to_owned(),
            goal: "1.1 × a bare tokio echo".to_owned(),
            measured: format!("{p50:.1} and {p99:.1} µs: {to50:.2}, {to99:.2}"),
            met: to50 <= 1.1 && to99 <= 1.1,
        });
        let [p50, p99, _, _, to50, to99] =
            self.medians(&["latency", "--with-tcp", "--busy-poll", "1ms"], numbers)?;
        rows.push(Row {
            what: "the same with `busy_poll`".to_owned(),
            goal: "below a blocking TCP echo".to_owned(),
            measured: format!("{p50:.1} and {p99:.1} µs: {to50:.2}, {to99:.2}"),
            met: to50 < 1.0 && to99 < 1.0,
        });
        Ok(())
    }

    /// Compares forms with the plain one, in alternating runs.
    fn forms(&self, rows: &mut Vec<Row>) -> Result<()> {
        for (plain, forms) in FORMS {
            let mut rates = vec![Vec::new(); 1 + forms.len()];
            for _ in 0..self.rounds {
                let all = std::iter::once(plain).chain(forms.iter().map(|form| form.arguments));
                for (arguments, rates) in all.zip(&mut rates) {
                    rates.push(number(&self.run(arguments)?["msgs_per_s"]));
                }
            }
            let mut medians = rates.iter_mut().map(|rates| median(rates));
            let one = medians.next().unwrap_or_default();
            for (form, rate) in forms.iter().zip(medians) {
                let ratio = rate / one;
                rows.push(Row {
                    what: form.what.to_owned(),
                    goal: format!("{} × the plain form", form.least),
                    measured: format!("{ratio:.2}"),
                    met: ratio >= form.least,
                });
            }
        }
        Ok(())
    }

    fn memory(&self, rows: &mut Vec<Row>) -> Result<()> {
        let links = self.run(&["links", "--links", "5000"])?;
        let bytes = number(&links["bytes_per_link"]);
        rows.push(Row {
            what: "pusher memory of an idle link (5,000 of them)".to_owned(),
            goal: "8 KiB".to_owned(),
            measured: format!("{:.1} KiB", bytes / 1024.0),
            met: bytes <= 8_192.0,
        });
        let stopped = self.run(&["stopped", "--size", "1KiB"])?;
        let more = number(&stopped["more_kib"]);
        rows.push(Row {
            what: "stopped consumer, 1 KiB messages, HWM 1,000: pusher memory beyond what it holds"
                .to_owned(),
            goal: "4 MiB".to_owned(),
            measured: format!("{:.1} MiB", more / 1024.0),
            met: more <= 4096.0,
        });
        Ok(())
    }

    fn makespan(&self, rows: &mut Vec<Row>, seconds: u32) -> Result<()> {
        let seconds = seconds.to_string();
        let variants: [(&str, &[&str], &'static str, f64); 3] = [
            (
                "makespan, speeds 1:2:4:8, jobs of 1 to 50 ms",
                &[],
                "1.05 × a dispatcher without latency",
                1.05,
            ),
            ("the same, with a tenth of the jobs 20 times longer", &["--long-share", "0.1"], "1.1 ×", 1.1),
            ("the first, after a million quick jobs", &["--quick", "1000000"], "1.05 ×", 1.05),
        ];
        for (what, more, goal, most) in variants {
            let arguments = [&["makespan", "--seconds", seconds.as_str()], more].concat();
            let ratio = number(&self.run(&arguments)?["ratio"]);
            rows.push(Row {
                what: what.to_owned(),
                goal: goal.to_owned(),
                measured: format!("{ratio:.3}"),
                met: ratio <= most,
            });
        }
        Ok(())
    }
}

/// The middle value, or the higher one of the two in the middle; 0 if there is none.
fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(list.len() / 2).copied().unwrap_or(0.0)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

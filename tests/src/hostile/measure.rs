//! Measures the throughput of a well-behaved link during a flood, compared with the same flood against a plain server.

use std::{
    error::Error,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::{ChildStdout, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::attack::{Attack, HONEST, Target};
use crate::process::Process;

/// The parameters of a measurement.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The program that every process of the measurement runs: this one.
    pub program: PathBuf,
    /// The duration of each measurement.
    pub time: Duration,
    /// The payload size in bytes.
    pub size: usize,
}

/// The result of one attack.
#[derive(Clone, Debug)]
pub struct AttackResult {
    /// The attack.
    pub attack: &'static Attack,
    /// The socket that was attacked.
    pub target: Target,
    /// Messages per second of the well-behaved link while a plain server is attacked, or beside a second well-behaved
    /// link.
    pub plain: f64,
    /// Messages per second while its own socket is attacked.
    pub attacked: f64,
    /// Peak memory of the process with that socket in the baseline, in KiB.
    pub calm_kib: u64,
    /// Its peak memory under attack, in KiB.
    pub peak_kib: u64,
    /// Connections that the attacker opened.
    pub connections: u64,
}

impl AttackResult {
    /// The throughput under attack, divided by the baseline.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.attacked / self.plain
    }

    /// The result for `--json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rules: Vec<_> = self.attack.rules.iter().map(|rule| rule.id()).collect();
        json!({
            "attack": self.attack.name,
            "rules": rules.join(", "),
            "target": name(self.target),
            "msgs_per_s_beside_plain": self.plain,
            "msgs_per_s_attacked": self.attacked,
            "ratio": self.ratio(),
            "peak_kib_calm": self.calm_kib,
            "peak_kib_attacked": self.peak_kib,
            "connections": self.connections,
        })
    }
}

/// The target's name in the tables.
#[must_use]
pub fn name(target: Target) -> &'static str {
    match target {
        Target::Pusher => "pusher",
        Target::Puller => "puller",
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct SideProcess {
    process: Process,
    out: BufReader<ChildStdout>,
}

impl SideProcess {
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        if line.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(line.trim_end().to_owned())
        }
    }
}

impl Measure {
    fn start(&self, args: &[&str]) -> Result<SideProcess> {
        let args = [&["side"], args].concat();
        let mut process = Process::start(&self.program, &args, Stdio::piped(), Stdio::piped())?;
        let out = process.raw_stdout().ok_or("no standard output")?;
        Ok(SideProcess { process, out: BufReader::new(out) })
    }

    /// Measures the baseline and the attack.
    ///
    /// # Errors
    /// A process fails.
    pub fn run(&self, attack: &'static Attack, target: Target) -> Result<AttackResult> {
        let compared = if attack.shares { &HONEST } else { attack };
        let (plain, calm_kib, _) = self.once(compared, target, !attack.shares)?;
        let (attacked, peak_kib, connections) = self.once(attack, target, false)?;
        Ok(AttackResult { attack, target, plain, attacked, calm_kib, peak_kib, connections })
    }

    fn once(&self, attack: &Attack, target: Target, plain: bool) -> Result<(f64, u64, u64)> {
        let (size, seconds) = (self.size.to_string(), self.time.as_secs_f64().to_string());
        let mut socket = match target {
            Target::Pusher => self.start(&["pusher", &size])?,
            Target::Puller => self.start(&["puller"])?,
        };
        let at = socket.line()?;
        let mut good = match target {
            Target::Pusher => self.start(&["good-puller", &at, &seconds])?,
            Target::Puller => self.start(&["good-pusher", &at, &seconds, &size])?,
        };
        good.line()?;
        let mut discarder = self.start(&["discarder"])?;
        let discarding_at = discarder.line()?;
        let (to, kind) = if plain { (&discarding_at, "plain") } else { (&at, "tidegate") };
        // The attack starts half a second before the measurement and ends half a second after it.
        let all = (self.time.as_secs_f64() + 1.0).to_string();
        let mut attacker = self.start(&["attacker", attack.name, to, name(target), kind, &all])?;
        attacker.line()?;
        std::thread::sleep(Duration::from_millis(500));
        good.process.write_line("go");
        let rate: f64 = good.line()?.parse()?;
        let peak = socket.process.peak_memory().ok_or("the attacked process has ended")?;
        let connections = attacker.line()?.split(' ').next().unwrap_or_default().parse()?;
        Ok((rate, peak, connections))
    }
}

//! The results: medians, and tidegate's ratio to each peer.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tidegate_load::tcp::Chunks;

use crate::peers::Peer;

/// All runs of one peer with one size.
#[derive(Serialize)]
struct Cell {
    peer: Peer,
    size: usize,
    msgs_per_s: Vec<f64>,
    median: f64,
}

pub struct Runs {
    peers: Vec<Peer>,
    sizes: Vec<usize>,
    cells: Vec<Cell>,
    /// The pairs of sizes with which raw TCP is measured, by message size.
    chunks: Vec<(usize, Chunks)>,
}

impl Runs {
    pub fn new(peers: &[Peer], sizes: &[usize]) -> Self {
        Self { peers: peers.to_vec(), sizes: sizes.to_vec(), cells: Vec::new(), chunks: Vec::new() }
    }

    pub fn set_chunks(&mut self, size: usize, chunks: Chunks) {
        self.chunks.push((size, chunks));
    }

    /// The sizes of the writes and reads of raw TCP for messages of `size` bytes.
    pub fn chunks(&self, size: usize) -> Chunks {
        self.chunks.iter().find(|(other, _)| *other == size).map(|(_, chunks)| *chunks).unwrap_or_default()
    }

    pub fn add(&mut self, peer: Peer, size: usize, rate: f64) {
        let cell = match self.cells.iter_mut().find(|cell| cell.peer == peer && cell.size == size) {
            Some(cell) => cell,
            None => {
                self.cells.push(Cell { peer, size, msgs_per_s: Vec::new(), median: 0.0 });
                let last = self.cells.len() - 1;
                &mut self.cells[last]
            }
        };
        cell.msgs_per_s.push(rate);
        let mut sorted = cell.msgs_per_s.clone();
        sorted.sort_by(f64::total_cmp);
        cell.median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    }

    /// The median of one peer with one size.
    pub fn median(&self, peer: Peer, size: usize) -> Option<f64> {
        self.cells.iter().find(|cell| cell.peer == peer && cell.size == size).map(|cell| cell.median)
    }

    /// The slowest and the fastest run of one peer with one size, as text.
    pub fn range(&self, peer: Peer, size: usize) -> Option<String> {
        let rates = &self.cells.iter().find(|cell| cell.peer == peer && cell.size == size)?.msgs_per_s;
        let least = rates.iter().copied().reduce(f64::min)?;
        let most = rates.iter().copied().reduce(f64::max)?;
        Some(format!("{} to {} messages/s", grouped(least), grouped(most)))
    }

    /// # Errors
    /// Serialization fails, which does not happen with these types.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.cells)?)
    }

    pub fn markdown(&self, rounds: usize) -> String {
        let mut text = format!("Medians of {rounds} alternating runs, {}, {}.\n\n", machine(), today());
        text += "| messages per second |";
        for size in &self.sizes {
            let _ = write!(text, " {} B | tidegate / it |", grouped(*size as f64));
        }
        text += "\n| --- |";
        for _ in &self.sizes {
            text += " ---: | ---: |";
        }
        text.push('\n');
        for &peer in &self.peers {
            let _ = write!(text, "| {} |", peer.title());
            for &size in &self.sizes {
                let Some(median) = self.median(peer, size) else {
                    text += " | |";
                    continue;
                };
                let ratio = self.median(Peer::Tidegate, size).map(|ours| format!("{:.2}", ours / median));
                let _ = write!(text, " {} | {} |", grouped(median), ratio.unwrap_or_default());
            }
            text.push('\n');
        }
        let pairs: Vec<_> = self.chunks.iter().map(|(size, chunks)| pair(*size, *chunks)).collect();
        if !pairs.is_empty() {
            let _ = writeln!(text, "\nThe best pairs of raw TCP: {}.", pairs.join("; "));
        }
        text
    }
}

fn pair(size: usize, chunks: Chunks) -> String {
    let (write, read) = (chunks.write >> 10, chunks.read >> 10);
    format!("{} B, writes of {write} KiB and reads of {read} KiB", grouped(size as f64))
}

/// Puts a table between the marks of its name in a file.
///
/// # Errors
/// The file cannot be read or written, or has no marks.
pub fn replace(file: &Path, name: &str, table: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parts = old.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?.1)));
    let (head, tail) = parts.with_context(|| format!("{} has no {begin} and {end}", file.display()))?;
    std::fs::write(file, format!("{head}{begin}\n{table}{end}{tail}"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A description of this machine.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|part| part.1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {}, Linux {}", name.unwrap_or("an unknown processor"), kernel.trim())
}

/// The date, in UTC.
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut days = since.map_or(0, |time| time.as_secs() / 86_400);
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

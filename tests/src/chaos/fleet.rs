//! A pusher with numbered input, and pullers whose output lines are collected in one account.

use std::{
    io::BufRead,
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use super::{Account, Sighting};
use crate::{
    daemons,
    process::{LONG, Process},
};

/// The length of each record of [`records`], in bytes.
pub const WIDTH: usize = 512;

/// One event in a puller's output.
enum Report {
    Seen(Sighting),
    /// The output has ended.
    Over,
}

/// Puller processes, and the account of the messages that they have seen.
pub struct Fleet {
    /// The pullers, in the order in which they were started.
    pub pulls: Vec<Process>,
    /// The messages that they have seen.
    pub account: Account,
    sender: Sender<Report>,
    reports: Receiver<Report>,
    /// The number of outputs that have not ended.
    open: usize,
}

impl Default for Fleet {
    fn default() -> Self {
        let (sender, reports) = mpsc::channel();
        Self { pulls: Vec::new(), account: Account::default(), sender, reports, open: 0 }
    }
}

impl Fleet {
    /// Starts a puller named `p0`, `p1` and so on, and returns its index.
    pub fn pull(&mut self, at: &str, args: &[&str]) -> usize {
        self.pull_by(&[], at, args)
    }

    /// Like [`Fleet::pull`], but started through another program (see [`daemons::by`]).
    pub fn pull_by(&mut self, starter: &[&str], at: &str, args: &[&str]) -> usize {
        let name = format!("p{}", self.pulls.len());
        let args = [&["pull", "--connect", at, "--json", "--name", &name], args].concat();
        self.add(daemons::by(starter, &args), true)
    }

    /// Adds a puller. With `read`, starts reading its lines.
    pub fn add(&mut self, process: Process, read: bool) -> usize {
        self.pulls.push(process);
        let index = self.pulls.len() - 1;
        if read {
            self.read(index);
        }
        index
    }

    /// Starts reading the lines of a puller.
    pub fn read(&mut self, index: usize) {
        let output = self.pulls[index].stdout().expect("its output is read only once");
        self.open += 1;
        let sender = self.sender.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // A killed process may leave an incomplete line.
                let Some(sighting) = Sighting::read(index, &line) else { break };
                if sender.send(Report::Seen(sighting)).is_err() {
                    return;
                }
            }
            let _ = sender.send(Report::Over);
        });
    }

    /// Waits for one more sighting; `None` when all outputs have ended.
    pub fn one_more(&mut self) -> Option<Sighting> {
        while self.open > 0 {
            match self.reports.recv_timeout(LONG) {
                Ok(Report::Seen(sighting)) => {
                    self.account.note(sighting.clone());
                    return Some(sighting);
                }
                Ok(Report::Over) => self.open -= 1,
                Err(_) => {
                    panic!("no message within the time limit; {} have been seen", self.account.distinct())
                }
            }
        }
        None
    }

    /// Waits until `distinct` different numbers have been seen.
    pub fn see(&mut self, distinct: usize) {
        while self.account.distinct() < distinct {
            assert!(
                self.one_more().is_some(),
                "all outputs have ended, and only {} numbers were seen",
                self.account.distinct()
            );
        }
    }

    /// Waits until this puller has seen `count` more messages.
    pub fn see_by(&mut self, puller: usize, count: usize) {
        let mut seen = self.account.by(puller).count();
        while seen < count {
            let sighting = self.one_more().expect("an output is still open");
            seen += usize::from(sighting.by == puller);
        }
    }

    /// Waits until all outputs have ended.
    pub fn see_the_rest(&mut self) {
        while self.one_more().is_some() {}
    }
}

/// The numbers of a range as records of [`WIDTH`] bytes, so that a full pipe never splits a record.
#[must_use]
pub fn records(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|number| format!("{number:0width$}\n", width = WIDTH - 1)).collect::<String>().into_bytes()
}

//! An observer's record of the applications: which message ran where, and which outcome its sender received.

use super::bounds::Bounds;

/// All messages of all pushers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    messages: Vec<Vec<Record>>,
    /// How often each pusher has reported that it is drained.
    pub drained: Vec<u8>,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    pub last: Option<Run>,
    /// Whether an application has acked it.
    pub acked: bool,
    pub rejected: bool,
    /// The pullers, with their lives, that have acked or rejected it.
    pub done: Vec<(usize, u8)>,
    /// The outcome that the sender received: true if acked.
    pub outcome: Option<bool>,
}

/// One delivery of a message to an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pub attempt: u32,
    pub wire: u8,
    /// The puller, and the life of its process.
    pub puller: (usize, u8),
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Held,
    Acked,
    Nacked,
    Rejected,
    Released,
}

impl Ledger {
    pub fn new(pushers: usize) -> Self {
        Self { messages: vec![Vec::new(); pushers], drained: vec![0; pushers] }
    }

    pub fn of(&self, push: usize) -> &[Record] {
        &self.messages[push]
    }

    /// Whether every message has a final outcome from an application.
    pub fn is_settled(&self) -> bool {
        self.messages.iter().flatten().all(|record| record.acked || record.rejected)
    }

    pub fn sent(&mut self, push: usize) {
        self.messages[push].push(Record::default());
    }

    /// Records that an application received a delivery. `alive`: whether a wire is still in use at its pusher's end.
    ///
    /// # Errors
    /// Nothing explains another delivery of this message, or its attempt number is wrong.
    pub fn ran(
        &mut self,
        push: usize,
        number: u64,
        run: Run,
        bounds: &Bounds,
        alive: impl Fn(u8) -> bool,
    ) -> Result<(), String> {
        let once = bounds.runs_once();
        let record = self.record(push, number)?;
        if record.done.contains(&run.puller) {
            return Err(format!(
                "message {number} of pusher {push} runs again at {:?}, which has settled it",
                run.puller
            ));
        }
        if once && let Some(before) = &record.last {
            return Err(format!(
                "message {number} of pusher {push} runs twice, the first time as {before:?}"
            ));
        }
        if !alive(run.wire) && !once {
            return Ok(()); // its pusher has already requeued this message, which the puller does not know
        }
        let attempt = run.attempt;
        let Some(before) = record.last.replace(run) else { return Ok(()) };
        let reason = match before.fate {
            Fate::Nacked => "a nack",
            // OC-8, unless the next delivery was lost before an application received it.
            Fate::Released if attempt == before.attempt => return Ok(()),
            Fate::Released if attempt > before.attempt && bounds.loses_links() => return Ok(()),
            Fate::Released => "a release",
            _ if alive(before.wire) => {
                return Err(format!(
                    "message {number} of pusher {push} runs again (attempt {attempt}), but its attempt {} was {:?} on \
                     wire {}, which is still in use",
                    before.attempt, before.fate, before.wire
                ));
            }
            _ => "a lost link",
        };
        if attempt <= before.attempt || before.fate == Fate::Released {
            return Err(format!(
                "message {number} of pusher {push} runs as attempt {attempt} after {reason} of attempt {}",
                before.attempt
            ));
        }
        Ok(())
    }

    /// Records an application's outcome for a delivery. `again`: the application may get the message once more.
    ///
    /// # Errors
    /// The message was never sent.
    pub fn decided(&mut self, push: usize, number: u64, run: Run, again: bool) -> Result<(), String> {
        let record = self.record(push, number)?;
        let Run { attempt, wire, puller, fate } = run;
        if !again && matches!(fate, Fate::Acked | Fate::Rejected) && !record.done.contains(&puller) {
            record.done.push(puller);
            record.done.sort_unstable();
        }
        record.acked |= fate == Fate::Acked;
        record.rejected |= fate == Fate::Rejected;
        if let Some(run) = record.last.as_mut().filter(|run| run.wire == wire && run.attempt == attempt) {
            run.fate = fate;
        }
        Ok(())
    }

    /// Records the outcome that the sender of a tracked message received.
    ///
    /// # Errors
    /// It is a second outcome, or no application gave it.
    pub fn told(&mut self, push: usize, number: u64, acked: bool) -> Result<(), String> {
        let record = self.record(push, number)?;
        if let Some(before) = record.outcome.replace(acked) {
            return Err(format!(
                "message {number} of pusher {push} has two outcomes: acked {before}, then {acked}"
            ));
        }
        if !(if acked { record.acked } else { record.rejected }) {
            let what = if acked { "acked" } else { "rejected" };
            return Err(format!(
                "message {number} of pusher {push} counts as {what}, but no application gave this outcome"
            ));
        }
        Ok(())
    }

    fn record(&mut self, push: usize, number: u64) -> Result<&mut Record, String> {
        self.messages
            .get_mut(push)
            .and_then(|all| all.get_mut(usize::try_from(number).ok()?))
            .ok_or_else(|| format!("message {number} of pusher {push} was never sent"))
    }
}

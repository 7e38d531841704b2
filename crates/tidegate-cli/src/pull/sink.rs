//! Messages to stdout or a file: acked once they have been written.

use tidegate::Delivery;

use super::envelope::Rendering;
use super::output::Output;
use super::separators::{self, Separators};
use super::source::{Next, Source};
use super::stopper::Stopper;
use crate::exit::Exit;

/// A batch is written when it has this size, in bytes, or when no message is waiting.
const MAX_BATCH_BYTES: usize = 256 * 1024;
/// Maximum number of messages in a batch, so that acks of small messages are not delayed.
const MAX_BATCH_MESSAGES: u64 = 4096;

/// Writes messages until the daemon has a reason to stop. Returns the exit code if the linger time expired or
/// a second signal came during a write.
///
/// # Errors
/// If a write or the source fails. Messages that were not written are nacked.
pub(crate) async fn run(
    output: &Output,
    rendering: Rendering,
    separators: &Separators,
    source: &mut Source,
    stopper: &mut Stopper,
    count: Option<u64>,
) -> anyhow::Result<Option<Exit>> {
    let mut left = count.unwrap_or(u64::MAX);
    let mut buffer = Vec::with_capacity(MAX_BATCH_BYTES);
    let mut batch = RecordBatch::default();
    while left > 0 {
        let first = tokio::select! {
            biased;
            () = stopper.requested() => return Ok(None),
            next = source.next(false) => match next? {
                Next::Message(delivery) => delivery,
                Next::Ended | Next::Idle => return Ok(None),
            },
        };
        batch.add(first, rendering, separators, &mut buffer)?;
        while buffer.len() < MAX_BATCH_BYTES && batch.len() < left.min(MAX_BATCH_MESSAGES) {
            match source.try_next()? {
                Some(delivery) => batch.add(delivery, rendering, separators, &mut buffer)?,
                None => break,
            }
        }
        if batch.len() == 0 {
            continue;
        }
        let mut stopping = false;
        let writing = output.write(std::mem::take(&mut buffer));
        tokio::pin!(writing);
        buffer = loop {
            tokio::select! {
                biased;
                written = &mut writing => break written?,
                given_up = stopper.step() => match given_up {
                    None => stopping = true,
                    some => return Ok(some),
                },
            }
        };
        left -= batch.len();
        batch.ack();
        source.touch();
        if stopping {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Deliveries whose records are about to be written. If the batch is dropped before they are acked, they are
/// nacked: some of them may have been written, and the next reader of such a message should see that from its
/// attempt.
#[derive(Default)]
struct RecordBatch {
    deliveries: Vec<Delivery>,
}

impl RecordBatch {
    /// Adds a record, or rejects its message.
    fn add(
        &mut self,
        delivery: Delivery,
        rendering: Rendering,
        separators: &Separators,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        if !rendering.json && !separators.allow(rendering.framing, delivery.payload()) {
            delivery.reject(separators::REASON);
            return Ok(());
        }
        rendering.put(buffer, &delivery)?;
        self.deliveries.push(delivery);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.deliveries.len() as u64
    }

    fn ack(&mut self) {
        self.deliveries.drain(..).for_each(Delivery::ack);
    }
}

impl Drop for RecordBatch {
    fn drop(&mut self) {
        for delivery in self.deliveries.drain(..) {
            delivery.nack_with(None, "the write failed");
        }
    }
}

//! What is un-acked on one link. The frames that were written are the retained copies of their messages, so that
//! keeping them costs no second copy, and acking a whole frame costs nothing per message.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::{Pending, working::Working};
use crate::{
    message::Message,
    time::Time,
    violation::{Code, Violation},
    wire::{Sealed, message_span, read_message},
};

/// Ranges of skipped ids that are remembered to refuse outcomes for them (OC-2); older ones are forgotten.
const SKIPS: usize = 64;
/// Frames that keep less than this are not worth copying survivors out of: it is little more than what a message takes anyway.
const SMALL: usize = 1_024;
/// What is left of a frame may keep memory of this many times its bytes (LM-5).
const PINNED: u64 = 4;
/// Nor are so few entries.
const FEW: usize = 16;

/// The un-acked messages of one link, by delivery id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    frames: VecDeque<Frame>,
    /// Frames in `frames` with nothing left in them: dropped when they are at the front, or are many.
    empty: usize,
    /// What few messages have.
    extras: BTreeMap<u64, Extra>,
    /// Those that are being worked on (OC-13).
    working: Working,
    /// Frames that begin below this id have been out for a settle time-out: what they still have is in `working`.
    fresh: u64,
    skipped: VecDeque<(u64, u64)>,
    messages: usize,
    bytes: u64,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Frame {
    first_id: u64,
    entries: Vec<Entry>,
    /// How many ids it has, and the places of those with an entry, once it has none for most of the settled ones.
    ids: u64,
    places: Vec<u32>,
    /// Entries that are not settled, and their size.
    live: usize,
    live_bytes: u64,
    /// Once none is live: how many frames from here on are known to have none, so that an outcome which comes again and
    /// again does not walk over them (OC-3).
    run: usize,
    /// Bytes of memory that `room` keeps.
    memory: usize,
    /// Whether some of its messages have an [`Extra`].
    special: bool,
    /// The same when it was last seen whether `room` could be smaller; 0 before that.
    looked: (usize, u64),
    room: Bytes,
    tail: Option<Bytes>,
    /// Where it ends among the bytes given to the driver, and when it was given; `None` until then.
    ends_at: Option<u64>,
    sent_at: Time,
    /// A puller has said of some of its messages that they are being worked on.
    worked_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    number: u64,
    /// Where in the frame's buffer it is. Once it is settled: how many entries from here on are known to be settled, so
    /// that an outcome which comes again and again does not walk over them (OC-3).
    at: u32,
    size: u32,
}

/// Sizes are below 2^31 (HS-7), so that the highest bit is free.
const SETTLED: u32 = 1 << 31;

impl Entry {
    fn is_live(&self) -> bool {
        self.size & SETTLED == 0
    }
}

/// What only few messages have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Extra {
    /// Lost links on which the message was in flight, and those whose pullers did not come back (RD-4).
    pub(super) losses: u32,
    pub(super) deaths: u32,
    /// It has been given up once, and may have been processed all the same (OC-12).
    pub(super) timed_out: bool,
    /// The puller had it before, on a lost link, and has until then (RD-8).
    pub(super) owed: Option<Time>,
    /// Somebody waits for its outcome.
    pub(super) tracked: bool,
}

/// What a settling took out of flight.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Tracked messages that were acked, by number.
    pub(super) tracked: Vec<u64>,
    /// The messages themselves, if asked for.
    pub(super) pending: Vec<Pending>,
    /// Frames that were looked at: the work that outcomes cause, whatever they settle.
    pub(super) looks: u64,
}

impl Flight {
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a message; `new_frame` if it begins a batch.
    #[inline]
    pub(super) fn push(&mut self, id: u64, number: u64, at: u32, size: u64, extra: Extra, new_frame: bool) {
        if new_frame || self.frames.is_empty() {
            self.frames.push_back(Frame { first_id: id, ..Frame::default() });
        }
        self.messages += 1;
        self.bytes += size;
        let Some(frame) = self.frames.back_mut() else { return };
        frame.entries.push(Entry { number, at, size: size as u32 });
        frame.ids += 1;
        frame.live += 1;
        frame.live_bytes += size;
        if extra != Extra::default() {
            frame.special = true;
            self.extras.insert(id, extra);
        }
    }

    /// The last frame is whole.
    pub(super) fn seal(&mut self, sealed: &Sealed) {
        if let Some(frame) = self.frames.back_mut() {
            frame.room = sealed.room.clone();
            frame.memory = sealed.memory;
            frame.tail.clone_from(&sealed.tail);
        }
    }

    /// The frame that begins with `first_id` has been given to the driver and ends at this byte.
    pub(super) fn handed_over(&mut self, now: Time, first_id: u64, ends_at: u64) {
        let index = self.frames.partition_point(|frame| frame.first_id < first_id);
        if let Some(frame) = self.frames.get_mut(index)
            && frame.first_id == first_id
        {
            (frame.ends_at, frame.sent_at) = (Some(ends_at), now);
        }
    }

    /// Remembers ids that will never be sent (OC-2).
    pub(super) fn skip(&mut self, from: u64, to: u64) {
        if from < to {
            self.skipped.push_back((from, to));
            if self.skipped.len() > SKIPS {
                self.skipped.pop_front();
            }
        }
    }

    /// Whether outcomes for these ids are possible (OC-2, OC-10). `next_id` is the first id that the driver has not
    /// been given: so only frames that are sealed are ever settled.
    pub(super) fn check(&self, first: u64, count: u64, next_id: u64) -> Result<(), Violation> {
        let Some(end) = first.checked_add(count).filter(|_| count > 0) else {
            let detail = format!("an outcome for {count} deliveries from {first} on");
            return Err(Violation::new(Code::Malformed, "OC-10", detail));
        };
        // They are in order.
        let next = self.skipped.partition_point(|(_, to)| *to <= first);
        let skipped = self.skipped.get(next).filter(|(from, _)| *from < end);
        if end > next_id || skipped.is_some() {
            let detail = match skipped {
                Some((from, _)) => format!("an outcome for delivery {}, which was skipped", first.max(*from)),
                None => format!("an outcome for delivery {}, but {next_id} is the next to be sent", end - 1),
            };
            return Err(Violation::new(Code::UnknownDelivery, "OC-2", detail));
        }
        Ok(())
    }

    /// Settles a range. Ids that are settled already are passed over (OC-3). With `keep` the messages are given
    /// back, for another attempt or to be reported.
    pub(super) fn settle(&mut self, first: u64, count: u64, keep: bool, taken: &mut Taken) {
        let end = first + count;
        let begin = self.frames.partition_point(|f| f.first_id + f.ids <= first);
        let mut index = begin;
        while let Some(frame) = self.frames.get_mut(index).filter(|frame| frame.first_id < end) {
            taken.looks += 1;
            if frame.live == 0 {
                index += frame.run.max(1);
                continue;
            }
            index += 1;
            let from = frame.index(first.saturating_sub(frame.first_id));
            let to = frame.index((end - frame.first_id).min(frame.ids));
            let (messages, bytes) = (frame.live, frame.live_bytes);
            if !keep && !frame.special && !frame.worked_on && from == 0 && to == frame.entries.len() {
                (frame.live, frame.live_bytes) = (0, 0);
            } else {
                frame.settle_each(from..to, keep, &mut self.extras, &mut self.working, taken);
            }
            taken.messages += (messages - frame.live) as u64;
            taken.bytes += bytes - frame.live_bytes;
            self.messages -= messages - frame.live;
            self.bytes -= bytes - frame.live_bytes;
            if frame.live == 0 {
                // Its place in the order is all that is left of it.
                (frame.room, frame.tail, frame.entries) = (Bytes::new(), None, Vec::new());
                (frame.ids, frame.places, frame.memory) = (0, Vec::new(), 0);
                self.empty += 1;
            } else {
                frame.forget_settled();
                frame.copy_survivors();
            }
        }
        self.join_runs(begin, index);
        self.drop_empty();
    }

    /// All frames from `begin` to `end` were in the range of an outcome: but for the first and the last one they are empty,
    /// and one step leads over them from now on.
    fn join_runs(&mut self, begin: usize, end: usize) {
        let is_live = |index: usize| self.frames.get(index).is_some_and(|frame| frame.live > 0);
        let end = end - usize::from(end > begin && is_live(end - 1));
        let mut index = begin + usize::from(is_live(begin));
        while let Some(frame) = self.frames.get_mut(index).filter(|_| index < end) {
            let next = index + frame.run.max(1);
            frame.run = next.max(end) - index;
            index = next;
        }
    }

    /// The puller works on this delivery (OC-13). One that is settled is passed over. With `most`, this counts for no later than
    /// so long after the delivery was sent.
    pub(super) fn worked_on(&mut self, now: Time, id: u64, most: Option<Duration>) {
        let index = self.frames.partition_point(|f| f.first_id + f.ids <= id);
        let Some(frame) = self.frames.get_mut(index).filter(|frame| frame.first_id <= id) else { return };
        if frame.live_index(id - frame.first_id).is_none() {
            return;
        }
        frame.worked_on = true;
        let at = most.map_or(now, |most| now.min(frame.sent_at + most));
        self.working.sign(id, at);
    }

    /// When to look for deliveries that have been out for `timeout` without an outcome or a sign of work (OC-12): at the latest
    /// when the first one has. Asked in every round of a driver, so that nothing is searched through.
    pub(super) fn next_overdue(&self, timeout: Duration) -> Option<Time> {
        let fresh = self.frames.get(self.first_fresh()).filter(|frame| frame.ends_at.is_some());
        let since = [fresh.map(|frame| frame.sent_at), self.working.oldest()];
        since.into_iter().flatten().min().map(|since| since + timeout)
    }

    /// Settles what is overdue, and gives the messages back (OC-12).
    pub(super) fn take_overdue(&mut self, now: Time, timeout: Duration, taken: &mut Taken) {
        let mut ids = self.working.overdue(now, timeout);
        let sent = self.frames.range(self.first_fresh()..).take_while(|frame| frame.ends_at.is_some());
        for frame in sent.take_while(|frame| frame.sent_at + timeout <= now) {
            self.fresh = frame.first_id + 1;
            ids.extend(frame.live_ids().filter(|id| !frame.worked_on || !self.working.has(*id)));
        }
        ids.sort_unstable();
        for id in ids {
            self.settle(id, 1, true, taken);
        }
    }

    /// The place of the first frame that has not been out for a settle time-out.
    fn first_fresh(&self) -> usize {
        self.frames.partition_point(|frame| frame.first_id < self.fresh)
    }

    fn drop_empty(&mut self) {
        while self.frames.front().is_some_and(|frame| frame.live == 0) {
            self.frames.pop_front();
            self.empty = self.empty.saturating_sub(1);
        }
        if self.empty * 2 > self.frames.len() + 16 {
            self.frames.retain(|frame| frame.live > 0);
            self.empty = 0;
        }
    }

    /// Takes everything out, in the order of delivery ids. `written` is how many bytes the driver has written: a
    /// message whose frame is among them may have been seen (RD-3).
    pub(super) fn take_all(&mut self, written: u64) -> Vec<(Pending, bool)> {
        let mut all = Vec::with_capacity(self.messages);
        let Self { frames, mut extras, mut working, .. } = std::mem::take(self);
        for mut frame in frames {
            let seen = frame.ends_at.is_some_and(|end| end <= written);
            let mut taken = Taken::default();
            frame.settle_each(0..frame.entries.len(), true, &mut extras, &mut working, &mut taken);
            all.extend(taken.pending.into_iter().map(|pending| (pending, seen)));
        }
        all
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("first_id", &self.first_id)
            .field("live", &self.live)
            .field("live_bytes", &self.live_bytes)
            .finish_non_exhaustive()
    }
}

impl Frame {
    fn live_ids(&self) -> impl Iterator<Item = u64> + '_ {
        let live = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_live());
        live.map(|(index, _)| self.first_id + self.place(index))
    }

    /// The first entry of this place among the ids, or of a later one.
    fn index(&self, place: u64) -> usize {
        if self.places.is_empty() {
            return place as usize;
        }
        self.places.partition_point(|other| u64::from(*other) < place)
    }

    fn place(&self, index: usize) -> u64 {
        self.places.get(index).map_or(index as u64, |place| (*place).into())
    }

    fn live_index(&self, place: u64) -> Option<usize> {
        let index = self.index(place);
        (self.place(index) == place && self.entries.get(index)?.is_live()).then_some(index)
    }

    fn settle_each(
        &mut self,
        range: std::ops::Range<usize>,
        keep: bool,
        extras: &mut BTreeMap<u64, Extra>,
        working: &mut Working,
        taken: &mut Taken,
    ) {
        let special = self.special;
        let (from, to) = (range.start, range.end);
        let mut next = from;
        while next < to {
            let index = next;
            let id = self.first_id + self.place(index);
            let Some(entry) = self.entries.get_mut(index) else { break };
            if !entry.is_live() {
                next += entry.at as usize;
                continue;
            }
            next += 1;
            let (size, at, number) = (entry.size, entry.at, entry.number);
            (entry.size, entry.at) = (size | SETTLED, 1);
            self.live -= 1;
            self.live_bytes -= u64::from(size);
            let extra = if special { extras.remove(&id).unwrap_or_default() } else { Extra::default() };
            if self.worked_on {
                working.forget(id);
            }
            if !keep {
                if extra.tracked {
                    taken.tracked.push(number);
                }
            } else if let Some((message, attempt)) = take_message(&self.room, self.tail.as_ref(), at) {
                let Extra { losses, deaths, timed_out, owed, tracked, .. } = extra;
                taken.pending.push(Pending {
                    number,
                    attempt,
                    timed_out,
                    owed,
                    losses,
                    deaths,
                    tracked,
                    message,
                });
            }
        }
        // All of the range is settled now.
        let mut index = from;
        while let Some(entry) = self.entries.get_mut(index).filter(|_| index < to) {
            let next = index + entry.at as usize;
            entry.at = (next.max(to) - index) as u32;
            index = next;
        }
    }

    /// Nor must it keep an entry for each of many settled ones.
    fn forget_settled(&mut self) {
        if self.entries.len() < FEW || self.live * 8 > self.entries.len() {
            return;
        }
        let (mut entries, mut places) = (Vec::with_capacity(self.live), Vec::with_capacity(self.live));
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.is_live()) {
            entries.push(*entry);
            places.push(self.place(index) as u32);
        }
        (self.entries, self.places) = (entries, places);
    }

    /// One un-acked message must not keep a large buffer for long.
    fn copy_survivors(&mut self) {
        if self.memory < SMALL || self.live_bytes * PINNED > self.memory as u64 {
            return;
        }
        // Not after every outcome: only half of them, or of their bytes, can make it worth while.
        let (live, live_bytes) = self.looked;
        if live > 0 && self.live * 2 > live && self.live_bytes * 2 >= live_bytes {
            return;
        }
        self.looked = (self.live, self.live_bytes);
        let live = self.entries.iter().filter(|entry| entry.is_live());
        let spans: Option<Vec<_>> =
            live.map(|entry| message_span(&self.room, self.tail.as_ref(), entry.at)).collect();
        let Some(spans) = spans else { return };
        let length: usize = spans.iter().map(ExactSizeIterator::len).sum();
        if length * 2 > self.memory {
            return;
        }
        let mut small = BytesMut::with_capacity(length);
        for (entry, span) in self.entries.iter_mut().filter(|entry| entry.is_live()).zip(spans) {
            entry.at = small.len() as u32;
            small.extend_from_slice(&self.room[span]);
        }
        (self.room, self.memory) = (small.freeze(), length);
    }
}

/// A message for another attempt, or for a report. It may be kept for long after the rest of its frame is settled, so that it
/// gets memory of its own unless it is most of the frame (LM-5).
fn take_message(room: &Bytes, tail: Option<&Bytes>, at: u32) -> Option<(Message, u32)> {
    let span = message_span(room, tail, at)?;
    if span.len() * 2 > room.len() {
        return read_message(room, tail, at);
    }
    read_message(&Bytes::copy_from_slice(room.get(span)?), tail, 0)
}

#[cfg(test)]
mod tests;

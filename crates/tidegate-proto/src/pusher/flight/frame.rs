//! One encoded frame of un-acked messages, with an entry for each of them.

use std::{collections::BTreeMap, fmt};

use bytes::{Bytes, BytesMut};

use super::Taken;
use crate::{
    amount::Amount,
    delivery_id::DeliveryId,
    message::Message,
    message_number::MessageNumber,
    pusher::{
        pending::{Extra, Pending},
        working::Working,
    },
    time::Time,
    wire::{message_span, read_message},
};

/// Live messages are not copied out of frames that keep less memory than this, which is little more than what a message
/// needs anyway.
pub(super) const MIN_COPIED_FRAME: usize = 1_024;
/// A frame may keep this many times the bytes of its live messages (LM-5).
const MAX_MEMORY_FACTOR: u64 = 4;
/// A frame with fewer entries keeps the settled ones.
pub(super) const MIN_COMPACTED_ENTRIES: usize = 16;

#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct FlightFrame {
    pub(super) first_id: DeliveryId,
    pub(super) entries: Vec<FlightEntry>,
    /// The number of its ids. `id_offsets` has the offsets of the ids with an entry, after the other entries were
    /// dropped.
    pub(super) ids: u64,
    pub(super) id_offsets: Vec<u32>,
    /// The messages whose entries are not settled.
    pub(super) live: Amount,
    /// If no entry is live: the number of frames, from this one on, that are known to have no live entry. It lets
    /// repeated outcomes step over them (OC-3).
    pub(super) run: usize,
    /// Bytes of memory that `room` keeps.
    pub(super) memory: usize,
    /// Whether some of its messages have an [`Extra`].
    pub(super) special: bool,
    /// `live` when the frame was last checked for copying; 0 before that.
    pub(super) last_measured: Amount,
    pub(super) room: Bytes,
    pub(super) tail: Option<Bytes>,
    /// The position of its end among the bytes given to the driver, and the time at which it was given; `None` until
    /// then.
    pub(super) ends_at: Option<u64>,
    pub(super) sent_at: Time,
    /// `Working` has named some of its deliveries.
    pub(super) worked_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlightEntry {
    pub(super) number: MessageNumber,
    /// Its position in the frame's buffer. After it is settled: the number of entries, from this one on, that are known
    /// to be settled. It lets repeated outcomes step over them (OC-3).
    pub(super) at: u32,
    pub(super) size: u32,
}

/// The mark of a settled entry in `size`. Sizes are below 2^31 (HS-7), so that the highest bit is free.
const SETTLED_BIT: u32 = 1 << 31;

impl FlightEntry {
    pub(super) fn is_live(&self) -> bool {
        self.size & SETTLED_BIT == 0
    }
}

impl fmt::Debug for FlightFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("first_id", &self.first_id)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl FlightFrame {
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.live.messages > 0
    }

    pub(super) fn live_ids(&self) -> impl Iterator<Item = DeliveryId> + '_ {
        let live = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_live());
        live.map(|(index, _)| self.first_id + self.id_offset(index))
    }

    /// The index of the first entry whose id is `first_id + place` or higher.
    pub(super) fn index(&self, place: u64) -> usize {
        if self.id_offsets.is_empty() {
            return place as usize;
        }
        self.id_offsets.partition_point(|other| u64::from(*other) < place)
    }

    pub(super) fn id_offset(&self, index: usize) -> u64 {
        self.id_offsets.get(index).map_or(index as u64, |place| (*place).into())
    }

    pub(super) fn live_index(&self, place: u64) -> Option<usize> {
        let index = self.index(place);
        (self.id_offset(index) == place && self.entries.get(index)?.is_live()).then_some(index)
    }

    pub(super) fn settle_each(
        &mut self,
        range: std::ops::Range<usize>,
        keep: bool,
        extras: &mut BTreeMap<DeliveryId, Extra>,
        working: &mut Working,
        taken: &mut Taken,
    ) {
        let special = self.special;
        let (from, to) = (range.start, range.end);
        let mut next = from;
        while next < to {
            let index = next;
            let id = self.first_id + self.id_offset(index);
            let Some(entry) = self.entries.get_mut(index) else { break };
            if !entry.is_live() {
                next += entry.at as usize;
                continue;
            }
            next += 1;
            let (size, at, number) = (entry.size, entry.at, entry.number);
            (entry.size, entry.at) = (size | SETTLED_BIT, 1);
            self.live -= Amount::new(1, size.into());
            let extra = if special { extras.remove(&id).unwrap_or_default() } else { Extra::default() };
            if self.worked_on {
                working.forget(id);
            }
            if !keep {
                if extra.tracked {
                    taken.tracked.push(number);
                }
            } else if let Some((message, attempt)) = take_message(&self.room, self.tail.as_ref(), at) {
                let Extra { losses, unreturned, restored, timed_out, held_until, tracked } = extra;
                taken.pending.push(Pending {
                    number,
                    attempt,
                    timed_out,
                    held_until,
                    restored,
                    losses,
                    unreturned,
                    tracked,
                    message,
                });
            }
        }
        // Join the runs of settled entries: all of the range is settled.
        let mut index = from;
        while let Some(entry) = self.entries.get_mut(index).filter(|_| index < to) {
            let next = index + entry.at as usize;
            entry.at = (next.max(to) - index) as u32;
            index = next;
        }
    }

    /// Drops the entries of settled messages if few are live.
    pub(super) fn forget_settled(&mut self) {
        let live = self.live.messages as usize;
        if self.entries.len() < MIN_COMPACTED_ENTRIES || live * 8 > self.entries.len() {
            return;
        }
        let (mut entries, mut places) = (Vec::with_capacity(live), Vec::with_capacity(live));
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.is_live()) {
            entries.push(*entry);
            places.push(self.id_offset(index) as u32);
        }
        (self.entries, self.id_offsets) = (entries, places);
    }

    /// Copies the live messages if they are a small part of the buffer, so that they do not keep all of it (LM-5).
    pub(super) fn copy_survivors(&mut self) {
        if self.memory < MIN_COPIED_FRAME || self.live.bytes * MAX_MEMORY_FACTOR > self.memory as u64 {
            return;
        }
        // Do not check after every outcome, but after half of the messages, or half of their bytes, were settled.
        let (live, last) = (self.live, self.last_measured);
        if last.messages > 0 && live.messages * 2 > last.messages && live.bytes * 2 >= last.bytes {
            return;
        }
        self.last_measured = live;
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

/// Takes a message out of a frame, for another attempt or a report. It may be kept much longer than the rest of its
/// frame. So it is copied, unless it is most of the frame (LM-5).
pub(super) fn take_message(room: &Bytes, tail: Option<&Bytes>, at: u32) -> Option<(Message, u32)> {
    let span = message_span(room, tail, at)?;
    if span.len() * 2 > room.len() {
        return read_message(room, tail, at);
    }
    read_message(&Bytes::copy_from_slice(room.get(span)?), tail, 0)
}

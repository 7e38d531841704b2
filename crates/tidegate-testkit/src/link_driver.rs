//! The driver of one link, over bytes in memory.

use std::collections::VecDeque;

use bytes::Bytes;
use tidegate_proto::{LinkId, Machine, PollBudget, Time, wire::FrameReader};

/// Drives one link of a machine, as the I/O of a connection would. The test decides when bytes move, and how many.
#[derive(Debug)]
pub struct LinkDriver {
    /// The link.
    pub link: LinkId,
    reader: FrameReader,
    /// Bytes from the machine that are not yet written.
    unwritten: VecDeque<Bytes>,
    /// Bytes from the peer that are not yet read.
    arrived: VecDeque<u8>,
}

impl LinkDriver {
    /// A driver after the handshake. `frame_limit` is the [`Machine::frame_limit`].
    #[must_use]
    pub fn new(link: LinkId, frame_limit: usize) -> Self {
        let mut reader = FrameReader::new();
        reader.open(frame_limit);
        Self { link, reader, unwritten: VecDeque::new(), arrived: VecDeque::new() }
    }

    /// Reads up to `most` bytes, if the machine wants to read. Returns whether it has read any.
    pub fn read<M: Machine>(&mut self, machine: &mut M, now: Time, most: usize) -> bool {
        if !machine.wants_read(now, self.link) {
            return false;
        }
        if self.arrived.is_empty() {
            machine.handle_would_block(self.link);
            return false;
        }
        let most = most.min(self.arrived.len());
        let part: Vec<u8> = self.arrived.drain(..most).collect();
        self.reader.buffer().extend_from_slice(&part);
        machine.feed(now, self.link, &mut self.reader, &mut PollBudget::unlimited());
        true
    }

    /// Asks the machine for bytes, unless earlier ones are not yet written, and writes up to `most` of them to `peer`.
    /// Returns whether it has written any.
    pub fn write<M: Machine>(&mut self, machine: &mut M, now: Time, peer: &mut Self, most: usize) -> bool {
        if self.unwritten.is_empty() {
            machine.poll_transmit(now, self.link, &mut self.unwritten);
        }
        let mut room = most;
        while let Some(mut piece) = self.unwritten.pop_front() {
            let part = piece.split_to(room.min(piece.len()));
            room -= part.len();
            peer.arrived.extend(&part);
            if !part.is_empty() {
                machine.handle_written(now, self.link, part.len());
            }
            if !piece.is_empty() {
                self.unwritten.push_front(piece);
                break;
            }
        }
        room < most
    }

    /// Runs the timers of the link, if they are due.
    pub fn tick<M: Machine>(&mut self, machine: &mut M, now: Time) {
        if machine.poll_timeout(self.link).is_some_and(|at| at <= now) {
            machine.handle_timeout(now, self.link, self.reader.progress());
        }
    }
}

//! One connection: the frames in transit in each direction, and the state of both ends.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;
use tidegate_proto::LinkId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineSide {
    Pusher,
    Puller,
}

impl MachineSide {
    pub const BOTH: [Self; 2] = [Self::Pusher, Self::Puller];

    pub fn other(self) -> Self {
        match self {
            Self::Pusher => Self::Puller,
            Self::Puller => Self::Pusher,
        }
    }
}

impl fmt::Display for MachineSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pusher => "pusher",
            Self::Puller => "puller",
        })
    }
}

/// One side's end of a wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelEnd {
    pub state: EndState,
    /// Frames in transit to this end, in order.
    pub inbox: VecDeque<Bytes>,
    /// A write has failed; this end only reads.
    pub failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndState {
    /// The greeting is in transit to this end.
    Greeting,
    Open(LinkId),
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    /// Its name in printed paths.
    pub serial: u8,
    pub push: usize,
    pub pull: usize,
    /// The life of the puller's process that created it.
    pub life: u8,
    pusher: ModelEnd,
    puller: ModelEnd,
    /// It carries no more frames, and the ends may notice.
    pub cut: bool,
    /// A Close has been sent, or a newer wire has replaced this one.
    pub closing: bool,
}

impl Wire {
    pub fn new(serial: u8, push: usize, (pull, life): (usize, u8), pusher: LinkId) -> Self {
        let end = |state| ModelEnd { state, inbox: VecDeque::new(), failed: false };
        Self {
            serial,
            push,
            pull,
            life,
            pusher: end(EndState::Open(pusher)),
            puller: end(EndState::Greeting),
            cut: false,
            closing: false,
        }
    }

    pub fn end(&self, side: MachineSide) -> &ModelEnd {
        match side {
            MachineSide::Pusher => &self.pusher,
            MachineSide::Puller => &self.puller,
        }
    }

    pub fn end_mut(&mut self, side: MachineSide) -> &mut ModelEnd {
        match side {
            MachineSide::Pusher => &mut self.pusher,
            MachineSide::Puller => &mut self.puller,
        }
    }

    pub fn link(&self, side: MachineSide) -> Option<LinkId> {
        match self.end(side).state {
            EndState::Open(link) => Some(link),
            EndState::Greeting | EndState::Gone => None,
        }
    }

    pub fn is_gone(&self, side: MachineSide) -> bool {
        self.end(side).state == EndState::Gone
    }

    /// Sends frames from `side` to the other side.
    pub fn put(&mut self, side: MachineSide, frames: Vec<Bytes>) {
        if !self.cut && !self.is_gone(side.other()) {
            self.end_mut(side.other()).inbox.extend(frames);
        }
    }

    /// Whether this end may notice now that the stream has ended. A stream that was closed properly is first read to
    /// its end; a broken stream may end at any frame.
    pub fn may_notice(&self, side: MachineSide) -> bool {
        let end = self.end(side);
        end.state != EndState::Gone && (self.cut || (self.is_gone(side.other()) && end.inbox.is_empty()))
    }

    /// The owner of this end closes the connection. If it has unread bytes, the operating system resets the connection,
    /// which may destroy frames in transit to the other end (ST-4).
    pub fn drop_end(&mut self, side: MachineSide) {
        let end = self.end_mut(side);
        self.cut |= {
            end.state = EndState::Gone;
            !end.inbox.is_empty()
        };
        self.end_mut(side).inbox.clear();
    }
}

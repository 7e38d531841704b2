//! One connection: what is on its way in each direction, and who still holds an end.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;
use tidegate_proto::LinkId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Pusher,
    Puller,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Pusher, Self::Puller];

    pub fn other(self) -> Self {
        match self {
            Self::Pusher => Self::Puller,
            Self::Puller => Self::Pusher,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pusher => "pusher",
            Self::Puller => "puller",
        })
    }
}

/// One side's end of a wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct End {
    pub state: EndState,
    /// What is on its way to this end, in order.
    pub inbox: VecDeque<Bytes>,
    /// A write has failed: it only reads on.
    pub failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndState {
    /// The greeting is on its way to it.
    Greeting,
    Open(LinkId),
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    /// Names it in what is printed.
    pub serial: u8,
    pub push: usize,
    pub pull: usize,
    /// Which life of the puller's process made it.
    pub life: u8,
    pusher: End,
    puller: End,
    /// It carries nothing any more, and the ends may notice.
    pub cut: bool,
    /// A Close has been put on it, or a newer wire has taken its place.
    pub closing: bool,
}

impl Wire {
    pub fn new(serial: u8, push: usize, (pull, life): (usize, u8), pusher: LinkId) -> Self {
        let end = |state| End { state, inbox: VecDeque::new(), failed: false };
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

    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Pusher => &self.pusher,
            Side::Puller => &self.puller,
        }
    }

    pub fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Pusher => &mut self.pusher,
            Side::Puller => &mut self.puller,
        }
    }

    pub fn link(&self, side: Side) -> Option<LinkId> {
        match self.end(side).state {
            EndState::Open(link) => Some(link),
            EndState::Greeting | EndState::Gone => None,
        }
    }

    pub fn is_gone(&self, side: Side) -> bool {
        self.end(side).state == EndState::Gone
    }

    /// Puts frames on their way from `side` to the other one.
    pub fn put(&mut self, side: Side, frames: Vec<Bytes>) {
        if !self.cut && !self.is_gone(side.other()) {
            self.end_mut(side.other()).inbox.extend(frames);
        }
    }

    /// Whether this end would find out now that the stream is over. A stream that was closed in good order is read to its
    /// end first; a broken one may end at any frame.
    pub fn may_notice(&self, side: Side) -> bool {
        let end = self.end(side);
        end.state != EndState::Gone && (self.cut || (self.is_gone(side.other()) && end.inbox.is_empty()))
    }

    /// The owner of this end closes the connection. Bytes that it has not read make the system reset the connection,
    /// which may destroy what is on its way to the other end (ST-4).
    pub fn drop_end(&mut self, side: Side) {
        let end = self.end_mut(side);
        self.cut |= {
            end.state = EndState::Gone;
            !end.inbox.is_empty()
        };
        self.end_mut(side).inbox.clear();
    }
}

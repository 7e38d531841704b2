//! What a delivery contains.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tidegate_proto::{DeliveryBatch, Headers, InstanceId, LinkId, Message, MessageId, Received, wire::Item};

use super::{
    page::{Page, PageOwner},
    state::{DeliveryContext, Origin},
};

/// Payloads up to this size are copied into the delivery: a reference to their buffer costs more.
const SMALL: usize = 64;

/// The content of a delivery, and where it is settled.
pub(super) enum DeliveryBody {
    /// A small payload without headers, in place. It does not keep the buffer from which it was copied.
    Small(SmallBody),
    /// A reference to the buffer that was read from the connection. Its ack is stored in a page.
    Paged(Word, Received<DeliveryContext>),
    /// The same, and it is settled under the machine's lock.
    Single(Received<DeliveryContext>),
}

/// A word of a page.
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub(super) page: &'static Page,
    pub(super) index: u32,
}

/// A small payload. What the deliveries of its page have in common is looked up there when it is needed.
pub(super) struct SmallBody {
    pub(super) word: Word,
    pub(super) size: u32,
    attempt: u32,
    number: u64,
    payload: [u8; SMALL],
    owner: OnceLock<Box<PageOwner>>,
}

impl DeliveryBody {
    #[inline(always)] // runs for every message
    pub(super) fn new(word: Word, item: Item, batch: &DeliveryBatch<DeliveryContext>) -> Self {
        if !item.is_small(SMALL) {
            return Self::Paged(word, batch.received(item));
        }
        Self::Small(SmallBody {
            word,
            size: item.size,
            attempt: item.attempt,
            number: item.number,
            payload: item.small_payload(batch.bytes()),
            owner: OnceLock::new(),
        })
    }

    #[inline]
    pub(super) fn payload(&self) -> &[u8] {
        match self {
            Self::Small(small) => small.payload(),
            Self::Paged(_, received) | Self::Single(received) => received.payload(),
        }
    }

    pub(super) fn payload_bytes(&self) -> Bytes {
        match self {
            Self::Small(small) => Bytes::copy_from_slice(small.payload()),
            Self::Paged(_, received) | Self::Single(received) => received.payload_bytes(),
        }
    }

    pub(super) fn headers(&self) -> Headers {
        match self {
            Self::Small(_) => Headers::default(),
            Self::Paged(_, received) | Self::Single(received) => received.headers(),
        }
    }

    pub(super) fn message(&self) -> Message {
        match self {
            Self::Small(small) => Message::new(Bytes::copy_from_slice(small.payload())),
            Self::Paged(_, received) | Self::Single(received) => received.message(),
        }
    }

    pub(super) fn id(&self) -> MessageId {
        match self {
            Self::Small(small) => {
                let instance = small.word.page.instance().unwrap_or(InstanceId([0; 16]));
                MessageId { instance, number: small.number }
            }
            Self::Paged(_, received) | Self::Single(received) => received.id(),
        }
    }

    pub(super) fn attempt(&self) -> u32 {
        match self {
            Self::Small(small) => small.attempt,
            Self::Paged(_, received) | Self::Single(received) => received.attempt(),
        }
    }

    /// `None` only for a link that is not driven.
    pub(super) fn origin(&self) -> Option<&Arc<Origin>> {
        match self {
            Self::Small(small) => small.owner()?.context.0.as_ref(),
            Self::Paged(_, received) | Self::Single(received) => received.context().0.as_ref(),
        }
    }

    /// The link, and the delivery id on it. `None` only if the delivery is settled.
    pub(super) fn place(&self) -> Option<(LinkId, u64)> {
        match self {
            Self::Small(small) => {
                let owner = small.owner()?;
                Some((owner.link, owner.first + u64::from(small.word.index)))
            }
            Self::Paged(_, received) | Self::Single(received) => Some((received.link(), received.delivery())),
        }
    }
}

impl SmallBody {
    #[inline]
    fn payload(&self) -> &[u8] {
        self.payload.get(..self.size as usize).unwrap_or_default()
    }

    /// `None` only if the delivery is settled.
    fn owner(&self) -> Option<&PageOwner> {
        if self.owner.get().is_none() {
            let _ = self.owner.set(Box::new(self.word.page.owner()?)); // another thread may have set it
        }
        self.owner.get().map(|owner| &**owner)
    }
}

//! The deliveries that the application receives.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::retained::{RetainedBytes, RetainedShare};
use crate::{
    link_id::LinkId,
    message::{Headers, Hidden, InstanceId, Message, MessageId},
    wire::{Cursor, Item},
};

/// The size of a batch from which its deliveries are copied out of it, whatever else is kept. This implementation's
/// pusher does not make larger batches of more than one message.
const MAX_SHARED_BATCH: usize = 256 * 1_024;

/// What the deliveries of one batch have in common, behind one reference count.
#[derive(PartialEq, Eq, Hash)]
struct BatchOrigin<H> {
    bytes: Bytes,
    /// Counts the memory that `bytes` keeps.
    share: RetainedShare,
    link: LinkId,
    instance: InstanceId,
    context: H,
}

impl<H> fmt::Debug for BatchOrigin<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("bytes", &Hidden(&self.bytes))
            .field("link", &self.link)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// A batch in an inbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct QueuedBatch<H> {
    origin: Arc<BatchOrigin<H>>,
    /// Whether each delivery is copied, so that a slow one does not keep the whole batch (LM-5).
    apart: bool,
    pub(super) cursor: Cursor,
}

impl<H: Clone> QueuedBatch<H> {
    pub(super) fn new(
        bytes: Bytes,
        cursor: Cursor,
        link: LinkId,
        instance: InstanceId,
        context: H,
        retained: &RetainedBytes,
    ) -> Self {
        let apart = (bytes.len() > MAX_SHARED_BATCH && cursor.len() > 1) || !retained.has_room(bytes.len());
        let share = retained.share(bytes.len());
        Self { origin: Arc::new(BatchOrigin { bytes, share, link, instance, context }), apart, cursor }
    }

    /// The next delivery.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Received<H>> {
        let item = self.cursor.next(&self.origin.bytes)?;
        if self.apart {
            return Some(self.own(item));
        }
        Some(Received { item, origin: self.origin.clone() })
    }

    #[cold]
    fn own(&self, item: Item) -> Received<H> {
        match item.apart(&self.origin.bytes) {
            Some((item, bytes)) => Received { item, origin: self.origin.with(bytes) },
            None => Received { item, origin: self.origin.clone() },
        }
    }

    /// Removes the last `count` messages, and returns their size.
    pub(super) fn truncate(&mut self, count: u64) -> u64 {
        self.cursor.truncate(&self.origin.bytes, count)
    }
}

impl<H: Clone> BatchOrigin<H> {
    /// A copy for some of its deliveries, in memory of their own, which their credit covers.
    fn with(&self, bytes: Bytes) -> Arc<Self> {
        let Self { link, instance, context, .. } = self;
        Arc::new(Self {
            bytes,
            share: RetainedShare::default(),
            link: *link,
            instance: *instance,
            context: context.clone(),
        })
    }
}

/// Deliveries of one batch that were handed out together. Each must be settled, or the remaining ones must be put back
/// with [`super::Puller::return_batch`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DeliveryBatch<H = ()> {
    origin: Arc<BatchOrigin<H>>,
    pub(super) cursor: Cursor,
}

impl<H> DeliveryBatch<H> {
    /// The link on which they arrived.
    #[inline]
    #[must_use]
    pub fn link(&self) -> LinkId {
        self.origin.link
    }

    /// Takes the next delivery, in the order of ids.
    #[inline]
    pub fn take(&mut self) -> Option<Item> {
        self.cursor.next(&self.origin.bytes)
    }

    /// A delivery that was taken, with a reference to the batch. Settle it once, by this or as an item.
    #[inline]
    #[must_use]
    pub fn received(&self, item: Item) -> Received<H> {
        Received { item, origin: self.origin.clone() }
    }

    /// The id of the next delivery.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.cursor.next_id()
    }

    /// The number of deliveries that were not taken.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.cursor.len()
    }

    /// Whether all deliveries were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cursor.is_empty()
    }

    /// The bytes that contain its items.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.origin.bytes
    }

    /// The instance of the pusher of its messages.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.origin.instance
    }

    /// What was given to [`super::Puller::set_context`].
    #[must_use]
    pub fn context(&self) -> &H {
        &self.origin.context
    }
}

impl<H: Clone> QueuedBatch<H> {
    /// The number of deliveries that [`Self::split`] takes.
    pub(super) fn available(&self, limit: u64) -> u64 {
        self.cursor.len().min(if self.apart { 1 } else { limit })
    }

    /// Takes the next `limit` deliveries, or all if there are fewer.
    pub(super) fn split(&mut self, limit: u64) -> DeliveryBatch<H> {
        // Settled deliveries of a part are kept in memory with the unsettled ones.
        let limit = if self.apart { 1 } else { limit };
        let mut cursor = self.cursor;
        let mut rest = Cursor::default();
        if limit < cursor.len() {
            rest = cursor;
            for _ in 0..limit {
                rest.next(&self.origin.bytes);
            }
            cursor.shorten(cursor.amount() - rest.amount());
        }
        self.cursor = rest;
        let own = if self.apart { cursor.apart(&self.origin.bytes) } else { None };
        match own {
            Some((cursor, bytes)) => DeliveryBatch { origin: self.origin.with(bytes), cursor },
            None => DeliveryBatch { origin: self.origin.clone(), cursor },
        }
    }

    /// The deliveries that are left of a batch.
    pub(super) fn remaining(batch: DeliveryBatch<H>) -> Self {
        Self { origin: batch.origin, apart: false, cursor: batch.cursor }
    }
}

/// A delivery for the application. It must be settled exactly once, with [`super::Puller::settle`].
///
/// `H` is a value that every delivery of a link carries; the driver sets it with [`super::Puller::set_context`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Received<H = ()> {
    pub(super) item: Item,
    origin: Arc<BatchOrigin<H>>,
}

impl<H> Received<H> {
    /// The link on which it arrived.
    #[inline]
    #[must_use]
    pub fn link(&self) -> LinkId {
        self.origin.link
    }

    /// The delivery id on that link.
    #[must_use]
    pub fn delivery(&self) -> u64 {
        self.item.id
    }

    /// The id of the message, which is the same at every attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        MessageId { instance: self.origin.instance, number: self.item.number }
    }

    /// The attempt: 1 for the first delivery of the message (DL-3).
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.item.attempt
    }

    /// The size in bytes, as byte credit counts it (CR-4).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.item.size.into()
    }

    /// Whether the sender waits for the outcome (OC-5).
    #[inline]
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.item.is_tracked()
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.item.payload(&self.origin.bytes)
    }

    /// The payload, without a copy: it shares the buffer that was read from the connection.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.item.payload_bytes(&self.origin.bytes)
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.item.headers(&self.origin.bytes)
    }

    /// The message: payload and headers.
    #[must_use]
    pub fn message(&self) -> Message {
        self.item.message(&self.origin.bytes)
    }

    /// The value that was set with [`super::Puller::set_context`] when this delivery arrived.
    #[inline]
    #[must_use]
    pub fn context(&self) -> &H {
        &self.origin.context
    }
}

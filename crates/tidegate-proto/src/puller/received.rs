//! What the application is handed.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{
    links::LinkId,
    message::{Headers, Hidden, InstanceId, Message, MessageId},
    wire::{Cursor, Item},
};

/// What the deliveries of one batch have in common: one count of references for all that they need.
#[derive(PartialEq, Eq, Hash)]
struct Origin<H> {
    octets: Bytes,
    link: LinkId,
    instance: InstanceId,
    home: H,
}

impl<H> fmt::Debug for Origin<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("octets", &Hidden(&self.octets))
            .field("link", &self.link)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// A batch in an inbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Queued<H> {
    origin: Arc<Origin<H>>,
    pub(super) cursor: Cursor,
}

impl<H> Queued<H> {
    pub(super) fn new(octets: Bytes, cursor: Cursor, link: LinkId, instance: InstanceId, home: H) -> Self {
        Self { origin: Arc::new(Origin { octets, link, instance, home }), cursor }
    }

    /// The next delivery.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Received<H>> {
        let item = self.cursor.next(&self.origin.octets)?;
        Some(Received { item, origin: self.origin.clone() })
    }

    /// Takes off the last `count` messages and returns their size.
    pub(super) fn truncate(&mut self, count: u64) -> u64 {
        self.cursor.truncate(&self.origin.octets, count)
    }
}

/// Deliveries of one batch that were handed out together; each must be settled, or all that are left put back.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Lot<H = ()> {
    origin: Arc<Origin<H>>,
    /// One that comes before those of the cursor.
    first: Option<Item>,
    pub(super) cursor: Cursor,
}

impl<H> Lot<H> {
    /// The link that they came over.
    #[inline]
    #[must_use]
    pub fn link(&self) -> LinkId {
        self.origin.link
    }

    /// The next one, in the order of ids.
    #[inline]
    pub fn take(&mut self) -> Option<Item> {
        match self.first.take() {
            None => self.cursor.next(&self.origin.octets),
            first => first,
        }
    }

    pub(super) fn take_first(&mut self) -> Option<Item> {
        self.first.take()
    }

    /// Delivery id of the next one.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.first.map_or(self.cursor.next_id(), |item| item.id)
    }

    /// The octets in which its items lie.
    #[inline]
    #[must_use]
    pub fn octets(&self) -> &Bytes {
        &self.origin.octets
    }

    /// The pusher of its messages.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.origin.instance
    }
}

impl<H> Queued<H> {
    /// The next `limit` of them, or all if there are not so many.
    pub(super) fn split(&mut self, limit: u64) -> Lot<H> {
        let mut cursor = self.cursor;
        if limit < cursor.len() {
            let mut rest = cursor;
            for _ in 0..limit {
                rest.next(&self.origin.octets);
            }
            cursor.shorten(limit, cursor.size() - rest.size());
            self.cursor = rest;
        } else {
            self.cursor = Cursor::default();
        }
        Lot { origin: self.origin.clone(), first: None, cursor }
    }

    /// What is left of a lot.
    pub(super) fn rest(lot: Lot<H>) -> Self {
        Self { origin: lot.origin, cursor: lot.cursor }
    }
}

/// A delivery for the application. It must be settled with exactly one [`super::Puller::settle`].
///
/// `H` is what the owner of the machine gave to [`super::Puller::set_home`], to be found again with every delivery.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Received<H = ()> {
    pub(super) item: Item,
    origin: Arc<Origin<H>>,
}

impl<H> Received<H> {
    /// This one as a lot of one; only one of the two may be settled.
    #[must_use]
    pub fn to_lot(&self) -> Lot<H> {
        Lot { origin: self.origin.clone(), first: Some(self.item), cursor: Cursor::default() }
    }

    /// The link that it came over.
    #[inline]
    #[must_use]
    pub fn link(&self) -> LinkId {
        self.origin.link
    }

    /// Its delivery id on that link.
    #[must_use]
    pub fn delivery(&self) -> u64 {
        self.item.id
    }

    /// Names the message at every attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        MessageId { instance: self.origin.instance, number: self.item.number }
    }

    /// 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.item.attempt
    }

    /// Octets as byte credit counts them (CR-4).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.item.size.into()
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.item.payload(&self.origin.octets)
    }

    /// The payload, sharing the memory that was read from the connection.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.item.payload_bytes(&self.origin.octets)
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.item.headers(&self.origin.octets)
    }

    /// Payload and headers.
    #[must_use]
    pub fn message(&self) -> Message {
        self.item.message(&self.origin.octets)
    }

    /// What was given to [`super::Puller::set_home`].
    #[inline]
    #[must_use]
    pub fn home(&self) -> &H {
        &self.origin.home
    }
}

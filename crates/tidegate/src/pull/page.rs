//! Pages: the words of the deliveries of a batch, and what these deliveries have in common.
//!
//! Pages live as long as the process, because a reference count for each delivery would cost more than the rest of
//! `recv` and `ack`. Their number is bounded by the largest number that sockets have used at the same time, at most
//! [`MAX_PAGES`] each.

use std::sync::{Mutex, PoisonError};

use tidegate_proto::{InstanceId, LinkId};

use super::{
    state::{DeliveryContext, PullMachine},
    words::Words,
};
use crate::socket::Shared;

/// The most pages that one socket uses at a time. Further batches are settled under the lock. A delivery that is held
/// for long keeps its page, which has at most 32 KiB, so this bounds that memory to 2 MiB.
pub(super) const MAX_PAGES: usize = 64;
/// The numbers of words of pages. Most batches of slow work have fewer than 64 deliveries; a batch of the smallest
/// messages that is read at once has some thousands.
const SIZES: [usize; 3] = [64, 512, 8_192];
/// The most deliveries of one page.
pub(super) const MAX_WORDS: u64 = 8_192;

pub(super) struct Page {
    pub(super) words: Words,
    /// Set while the page is in use.
    owner: Mutex<Option<PageOwner>>,
}

/// What the deliveries of a page have in common.
#[derive(Clone)]
pub(super) struct PageOwner {
    pub(super) context: DeliveryContext,
    pub(super) link: LinkId,
    pub(super) instance: InstanceId,
    /// The delivery id of the first word.
    pub(super) first: u64,
    /// The number of deliveries.
    pub(super) count: u64,
}

impl PageOwner {
    /// Whether the deliveries belong to this socket.
    pub(super) fn is_of(&self, shared: &Shared<PullMachine>) -> bool {
        self.context.0.as_ref().is_some_and(|origin| std::ptr::eq(&*origin.shared, shared))
    }
}

/// Unused pages of each size.
static POOL: Mutex<[Vec<&'static Page>; 3]> = Mutex::new([Vec::new(), Vec::new(), Vec::new()]);

impl Page {
    /// Takes a page from the pool. Its owner has at most [`MAX_WORDS`] deliveries.
    pub(super) fn take(owner: PageOwner) -> &'static Self {
        let class = SIZES.iter().position(|size| *size as u64 >= owner.count).unwrap_or(SIZES.len() - 1);
        let unused = POOL.lock().unwrap_or_else(PoisonError::into_inner)[class].pop();
        let page = unused.unwrap_or_else(|| {
            Box::leak(Box::new(Self { words: Words::new(SIZES[class]), owner: Mutex::new(None) }))
        });
        page.set_owner(Some(owner));
        page
    }

    /// Gives the page back to the pool. Returns false, and does nothing, if a delivery still refers to one of the first
    /// `used` words.
    pub(super) fn recycle(&'static self, used: u32) -> bool {
        if !self.words.reopen(used) {
            return false;
        }
        self.set_owner(None);
        if let Some(class) = SIZES.iter().position(|size| *size == self.words.len()) {
            POOL.lock().unwrap_or_else(PoisonError::into_inner)[class].push(self);
        }
        true
    }

    /// What its deliveries have in common. `None` only if none is open.
    pub(super) fn owner(&self) -> Option<PageOwner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The instance that sent the messages.
    pub(super) fn instance(&self) -> Option<InstanceId> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|owner| owner.instance)
    }

    fn set_owner(&self, owner: Option<PageOwner>) {
        let before =
            std::mem::replace(&mut *self.owner.lock().unwrap_or_else(PoisonError::into_inner), owner);
        drop(before); // after the lock is released
    }
}

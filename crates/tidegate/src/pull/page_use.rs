//! `PageUse`, what a socket keeps about a page that is in use.

use tidegate_proto::{Amount, LinkId, Verdict};

use super::{
    page::{Page, PageOwner},
    state::PullMachine,
    words::WordState,
};

/// If at most this many deliveries of a page are left open, they are listed, and the others are not read again.
const MAX_LISTED: usize = 32;

/// A page that is in use, with the deliveries that were handed out of it.
pub(super) struct PageUse {
    pub(super) page: &'static Page,
    link: LinkId,
    /// The delivery id of the first word.
    first: u64,
    /// The number of deliveries handed out.
    handed_out: u32,
    /// All words before this one are collected.
    from: u32,
    /// The words that are left open, if no more are handed out and few are left.
    left: Option<Vec<u32>>,
    /// Its acks are settled at once.
    attended: bool,
}

impl PageUse {
    pub(super) fn new(owner: PageOwner) -> Self {
        let (link, first) = (owner.link, owner.first);
        let page = Page::take(owner);
        Self { page, link, first, handed_out: 0, from: 0, left: None, attended: false }
    }

    /// The index of the delivery that is handed out now.
    #[inline]
    pub(super) fn hand_out(&mut self) -> u32 {
        let index = self.handed_out;
        self.handed_out += 1;
        index
    }

    pub(super) fn handed_out(&self) -> u32 {
        self.handed_out
    }

    /// Lets its acks be settled at once from now on. Returns false if they already are.
    pub(super) fn attend(&mut self) -> bool {
        self.page.words.attend();
        !std::mem::replace(&mut self.attended, true)
    }

    /// Whether few of its words need to be read.
    pub(super) fn is_short(&self) -> bool {
        self.left.is_some()
    }

    /// Settles the acks since the last call, and returns their number. `yield_due` is set as by
    /// [`settle`](tidegate_proto::Puller::settle).
    pub(super) fn collect(&mut self, machine: &mut PullMachine, yield_due: &mut bool) -> u64 {
        let mut run = Run::default();
        let mut count = 0;
        let mut settle = |run: &mut Run| {
            if run.count > 0 {
                let first = self.first + u64::from(run.start);
                let acked = Amount::new(run.count.into(), run.bytes);
                *yield_due |= machine.settle_untracked(self.link, first, acked, &Verdict::Ack);
                count += u64::from(run.count);
                *run = Run::default();
            }
        };
        let page = self.page;
        let mut visit = |index: u32| {
            let word = page.words.state(index);
            if let WordState::Acked(size) = word {
                page.words.collect(index);
                if run.count > 0 && run.start + run.count != index {
                    settle(&mut run);
                }
                if run.count == 0 {
                    run.start = index;
                }
                run.count += 1;
                run.bytes += u64::from(size);
            }
            word == WordState::Open
        };
        if let Some(left) = &mut self.left {
            left.retain(|index| visit(*index));
            settle(&mut run);
            return count;
        }
        let mut from = self.handed_out;
        for index in self.from..self.handed_out {
            if visit(index) {
                from = from.min(index);
            }
        }
        settle(&mut run);
        self.from = from;
        count
    }

    /// No more deliveries are handed out of this page. Returns whether all are collected, so that it is unused now.
    pub(super) fn end(&mut self) -> bool {
        if self.left.is_none() {
            let words = &self.page.words;
            let open = || (self.from..self.handed_out).filter(|n| words.state(*n) != WordState::Collected);
            if open().nth(MAX_LISTED).is_none() {
                self.left = Some(open().collect());
            }
        }
        self.left.as_ref().is_some_and(Vec::is_empty) && self.page.recycle(self.handed_out)
    }
}

/// Acked deliveries with consecutive ids.
#[derive(Default)]
struct Run {
    start: u32,
    count: u32,
    bytes: u64,
}

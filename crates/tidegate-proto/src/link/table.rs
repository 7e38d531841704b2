//! The links of a socket, found by id in constant time. The id of a removed link is not used again.

use crate::link_id::LinkId;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Links<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    count: usize,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<T> Links<T> {
    pub(crate) fn insert(&mut self, link: T) -> LinkId {
        self.count += 1;
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.1 = Some(link);
            return LinkId { index, epoch: slot.0 };
        }
        self.slots.push((0, Some(link)));
        LinkId { index: self.slots.len() as u32 - 1, epoch: 0 }
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.0 == id.epoch)?;
        let link = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.index);
        self.count -= 1;
        Some(link)
    }

    #[inline]
    pub(crate) fn get(&self, id: LinkId) -> Option<&T> {
        self.slots.get(id.index as usize).filter(|slot| slot.0 == id.epoch)?.1.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut T> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.0 == id.epoch)?.1.as_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, (epoch, link))| {
            Some((LinkId { index: index as u32, epoch: *epoch }, link.as_ref()?))
        })
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_removed_link_finds_nothing() {
        let mut links = Links::default();
        let first = links.insert('a');
        assert_eq!(links.remove(first), Some('a'));
        let second = links.insert('b');
        assert_ne!(first, second);
        assert_eq!((links.get(first), links.get(second), links.len()), (None, Some(&'b'), 1));
        assert_eq!(links.remove(first), None);
    }
}

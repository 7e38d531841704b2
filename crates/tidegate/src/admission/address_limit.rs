//! The per-address limit on links: one machine must not take the places of all others (HS-13).

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

/// Counts by network address. As large as the number of addresses that have links.
#[derive(Debug, Default)]
pub(crate) struct AddressCounts(Mutex<HashMap<IpAddr, usize>>);

/// A place among the links of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct AddressPermit(Option<(Arc<AddressCounts>, IpAddr)>);

impl AddressCounts {
    /// Takes a place for a link from `address`, as [`crate::transport::Listener::accept`] formats it; `None`
    /// if `most` are taken. Without a network address there is no limit: the file mode protects a Unix
    /// socket.
    pub(crate) fn enter(self: &Arc<Self>, address: &str, most: usize) -> Option<AddressPermit> {
        let Some(origin) = origin(address) else { return Some(AddressPermit(None)) };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(origin).or_default();
        if *count >= most {
            return None; // the entry existed, because its count is above 0
        }
        *count += 1;
        Some(AddressPermit(Some((self.clone(), origin))))
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some((crowd, origin)) = self.0.take() else { return };
        let mut counts = crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&origin);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the half of an IPv6 address that one site is assigned.
pub(crate) fn origin(address: &str) -> Option<IpAddr> {
    Some(match address.parse::<SocketAddr>().ok()?.ip().to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hs_13_an_address_has_a_limit_and_a_place_is_freed_by_its_drop() {
        // HS-13
        let crowd = Arc::new(AddressCounts::default());
        let first = crowd.enter("192.0.2.1:1000", 2);
        let second = crowd.enter("[::ffff:192.0.2.1]:1001", 2);
        assert!(first.is_some() && second.is_some());
        assert!(crowd.enter("192.0.2.1:1002", 2).is_none());
        assert!(crowd.enter("192.0.2.2:1000", 2).is_some(), "another machine");
        drop(second);
        assert!(crowd.enter("192.0.2.1:1003", 2).is_some());
        drop(first);
        assert!(crowd.0.lock().unwrap().is_empty(), "no entry is kept without a link");
    }

    #[test]
    fn hs_13_the_addresses_of_one_ipv6_site_count_as_one() {
        // HS-13
        let crowd = Arc::new(AddressCounts::default());
        let _first = crowd.enter("[2001:db8:0:1::1]:5", 1).unwrap();
        assert!(crowd.enter("[2001:db8:0:1:ffff::2]:5", 1).is_none());
        assert!(crowd.enter("[2001:db8:0:2::1]:5", 1).is_some());
        let _unix =
            [crowd.enter("unix:/tmp/socket", 1).unwrap(), crowd.enter("unix:/tmp/socket", 1).unwrap()];
    }
}

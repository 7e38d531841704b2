//! What stands in for TLS settings in a build without the feature `tls`: there are none.

/// Cannot be made.
#[derive(Clone, Debug)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) fn is(&self, _: &Self) -> bool {
        match *self {}
    }
}

//! Connects to a subset of the endpoints, so that many processes on both sides do not all connect to each other.

use tidegate_proto::{SettingError, Subsets};

use super::setup::Setup;
use crate::transport::Endpoint;

/// The choice takes time in proportion to the index. With 1,000 endpoints, the largest index takes about a second.
const MAX_SUBSET_INDEX: usize = 99_999;
/// How many endpoints are looked at before other tasks run: about 1 ms of work.
const LOOKS_PER_YIELD: usize = 100_000;

impl Setup {
    /// Checks that both settings of a subset are given, or none, and are in range.
    pub(super) fn check_subset(&self) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        if let Some(size) = self.subset {
            ok(size > 0, "subset", &size, "at least 1")?;
            let right =
                "unset without subset_index, the number of this process among those with the same list";
            ok(self.subset_index.is_some(), "subset", &size, right)?;
            ok(!self.connects.is_empty(), "subset", &size, "unset without an endpoint to connect to")?;
        }
        if let Some(index) = self.subset_index {
            ok(index <= MAX_SUBSET_INDEX, "subset_index", &index, "0 to 99,999")?;
            ok(self.subset.is_some(), "subset_index", &index, "unset without subset")?;
        }
        Ok(())
    }

    /// The endpoints to connect to, if only a subset was requested.
    pub(super) async fn choose_subset(&self, endpoints: &[Endpoint]) -> Option<Vec<Endpoint>> {
        let (size, index) = (self.subset?, self.subset_index?);
        // The text of the parsed endpoint: with and without the default port is the same endpoint.
        let names: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
        let mut subsets = Subsets::new(&names, size);
        let mut looks = 0;
        for _ in 0..index {
            subsets.next();
            looks += names.len();
            if looks >= LOOKS_PER_YIELD {
                looks = 0;
                tokio::task::yield_now().await;
            }
        }
        let chosen = subsets.next().unwrap_or_default();
        Some(chosen.into_iter().filter_map(|position| endpoints.get(position).cloned()).collect())
    }
}

//! The random parts of a socket.

use tidegate_proto::{InstanceId, KeyMaker, Random};

use super::setup::Setup;
use crate::{error::BuildError, link::Secrets};

/// The random parts of a socket.
pub(super) struct Chance {
    pub(super) instance: InstanceId,
    pub(super) keys: KeyMaker,
    /// For jitter.
    pub(super) random: Random,
    /// Whether everything here is derived from the seed of the builder.
    pub(super) seeded: bool,
}

impl Setup {
    /// Draws the random parts from the seed, if there is one, and otherwise from the system.
    pub(super) fn chance(&self) -> Result<Chance, BuildError> {
        let (mut bytes, mut secret) = ([0; 16], [0; 16]); // HS-8, HS-9
        let seed = if let Some(seed) = self.seed {
            let mut random = Random::new(seed);
            Secrets::fill(&mut bytes, &mut random);
            Secrets::fill(&mut secret, &mut random);
            random.next_u64()
        } else {
            let failed = |e: getrandom::Error| BuildError::Random(e.to_string());
            getrandom::fill(&mut bytes).map_err(failed)?;
            getrandom::fill(&mut secret).map_err(failed)?;
            getrandom::u64().map_err(failed)?
        };
        let (instance, keys) = (InstanceId(bytes), KeyMaker::new(secret));
        Ok(Chance { instance, keys, random: Random::new(seed), seeded: self.seed.is_some() })
    }
}

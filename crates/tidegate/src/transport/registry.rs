//! The registry: from the scheme of an endpoint to its transport.

use std::sync::Arc;

use tidegate_proto::SettingError;

use super::{Transport, mem, scheme::Scheme, tcp, tls, unix};

/// The schemes of the library. A transport of the application must have another one.
static LIBRARY: [&Scheme; 4] = [&tcp::SCHEME, &tls::SCHEME, &unix::SCHEME, &mem::SCHEME];

/// The schemes that a builder knows: those of the library, and those that the application has registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    application: Vec<Scheme>,
}

impl Registry {
    /// Adds a transport of the application.
    pub(crate) fn register(&mut self, scheme: String, transport: Arc<dyn Transport>) {
        self.application.push(Scheme::of_application(scheme, transport));
    }

    /// Checks that each scheme of the application is valid and has one transport only.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        for (index, scheme) in self.application.iter().enumerate() {
            let name = scheme.name();
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-');
            let is_valid = !name.is_empty() && name.chars().all(fits);
            let mut others = LIBRARY.into_iter().chain(self.application.iter().take(index));
            let right = "a scheme of its own: a to z, 0 to 9, + and -, not used by another transport";
            SettingError::unless(
                is_valid && others.all(|other| other.name() != name),
                "transport",
                &name,
                right,
            )?;
        }
        Ok(())
    }

    /// Finds the transport of a scheme.
    ///
    /// # Errors
    /// The schemes that exist, and how to get others.
    pub(super) fn find(&self, name: &str) -> Result<&Scheme, String> {
        let found = self.all().find(|scheme| scheme.name() == name);
        found.ok_or_else(|| match name {
            "ipc" => "the scheme is unknown; write unix:///path".to_owned(),
            "inproc" => "the scheme is unknown; write mem://name".to_owned(),
            _ => self.unknown(),
        })
    }

    fn all(&self) -> impl Iterator<Item = &Scheme> {
        LIBRARY.into_iter().chain(&self.application)
    }

    fn unknown(&self) -> String {
        let exists = |name: &&str| tls::IS_INCLUDED || *name != tls::SCHEME.name();
        let names: Vec<_> = self.all().map(Scheme::name).filter(exists).collect();
        let (last, first) = names.split_last().unwrap_or((&"", &[]));
        let without_tls = if tls::IS_INCLUDED { "" } else { " (tls requires the feature `tls`)" };
        format!(
            "the scheme is unknown; use {} or {last}{without_tls}; for another one the program must register a \
             transport",
            first.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_an_error_that_names_the_known_ones_and_how_to_add_one() {
        let mut registry = Registry::default();
        for expected in ["unix or mem", "unix, mem or gate"] {
            let error = registry.find("http").unwrap_err();
            assert!(error.contains(expected) && error.contains("register a transport"), "{error}");
            assert_eq!(error.contains("use tcp, tls, unix"), cfg!(feature = "tls"), "{error}");
            assert_eq!(error.contains("requires the feature `tls`"), !cfg!(feature = "tls"), "{error}");
            registry.register("gate".to_owned(), Arc::new(tcp::Tcp));
        }
        assert_eq!(registry.find("tls").unwrap(), &tls::SCHEME, "it is known even if it is not included");
    }

    #[test]
    fn a_scheme_of_the_application_is_found_even_if_it_is_one_of_zeromq() {
        let mut registry = Registry::default();
        assert!(registry.find("ipc").unwrap_err().contains("unix:///path"));
        let transport: Arc<dyn Transport> = Arc::new(tcp::Tcp);
        registry.register("ipc".to_owned(), transport.clone());
        registry.check().unwrap();
        assert_eq!(registry.find("ipc").unwrap(), &Scheme::of_application("ipc".to_owned(), transport));
    }
}

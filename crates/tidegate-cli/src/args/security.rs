//! Options for TLS, tokens and access control.

use std::path::PathBuf;

use clap::Args;
use tidegate::{Endpoint, PeerIdentity};

/// The section of the help. A heading for the whole struct would also apply to the options after it.
const HEADING: &str = "Security";

/// TLS and tokens, for push and pull alike.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SecurityArgs {
    /// Reads the shared token from this file [default: no token]
    ///
    /// Each line is one token; blank lines and lines that begin with # are ignored. When connecting, the
    /// first token is sent. When listening, any of them is accepted. Only the owner should be able to read
    /// the file. Without this option, the token is taken from the variable TIDEGATE_TOKEN, which other
    /// processes of the same user can read.
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trusts the CA certificates in this file (PEM) for tls:// [default: the system's CAs]
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Presents the certificate in this file (PEM); required to listen on tls://
    ///
    /// The certificates of intermediate CAs follow it in the file.
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Reads the private key of --tls-cert from this file (PEM, not encrypted)
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Accepts only clients with a certificate that a CA of --tls-ca has signed
    #[arg(long, help_heading = HEADING, requires_all = ["tls_ca", "tls_cert", "bind"])]
    pub(crate) tls_verify_client: bool,
    /// Expects this name in the server's certificate [default: the host of the endpoint]
    #[arg(long, help_heading = HEADING, value_name = "NAME", requires = "connect")]
    pub(crate) tls_server_name: Option<String>,
    /// Refuses tcp:// endpoints, so that nothing is sent unencrypted by mistake
    #[arg(long, help_heading = HEADING)]
    pub(crate) require_tls: bool,
    /// Restricts a pipeline that is bound here to peers with these names (repeatable)
    ///
    /// A name is a DNS name in the peer's certificate, or a URI with a scheme, such as
    /// spiffe://example/worker. The default pipeline has the empty name: `=worker-1`.
    #[arg(
        long, help_heading = HEADING, value_name = "PIPELINE=NAME[,NAME]", value_parser = allowed,
        requires = "tls_verify_client"
    )]
    pub(crate) allow: Vec<Allowed>,
}

/// A pipeline, and the names of the peers that may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) pipeline: String,
    pub(crate) names: Vec<String>,
}

fn allowed(text: &str) -> Result<Allowed, String> {
    let expected = "expected PIPELINE=NAME or PIPELINE=NAME,NAME";
    let (pipeline, names) = text.split_once('=').ok_or_else(|| format!("there is no `=`; {expected}"))?;
    let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("a name is empty; {expected}"));
    }
    for name in &names {
        PeerIdentity::comparable(name).map_err(|problem| format!("{name:?}: {problem}"))?;
    }
    Ok(Allowed { pipeline: pipeline.to_owned(), names })
}

impl SecurityArgs {
    /// Checks that the options fit the endpoints.
    pub(super) fn check(&self, bind: &[Endpoint], connect: &[Endpoint]) -> Result<(), String> {
        let all = || bind.iter().chain(connect);
        if self.require_tls
            && let Some(plain) = all().find(|endpoint| scheme(endpoint, "tcp://"))
        {
            return Err(format!("--require-tls: {plain} is not encrypted; use tls://"));
        }
        let binds_tls = bind.iter().find(|endpoint| scheme(endpoint, "tls://"));
        if let Some(endpoint) = binds_tls.filter(|_| self.tls_cert.is_none()) {
            return Err(format!(
                "--bind {endpoint}: --tls-cert and --tls-key are needed to listen on tls://"
            ));
        }
        if !all().any(|endpoint| scheme(endpoint, "tls://"))
            && let Some(option) = self.first_tls_option()
        {
            return Err(format!("{option} was given, but no endpoint begins with tls://"));
        }
        if self.tls_verify_client && binds_tls.is_none() {
            return Err("--tls-verify-client was given, but no --bind begins with tls://".to_owned());
        }
        let connects_tls = connect.iter().any(|endpoint| scheme(endpoint, "tls://"));
        // A CA that is given for a listener that does not verify clients is a mistake: it would protect
        // nothing.
        if self.tls_ca.is_some() && !self.tls_verify_client && !connects_tls {
            return Err("--tls-ca was given, but no --connect begins with tls://, so the CA would not be used: add \
                        --tls-verify-client to accept only clients of this CA, or remove --tls-ca to accept all clients"
                .to_owned());
        }
        if let Some(allowed) =
            self.allow.iter().find(|a| bind.iter().all(|endpoint| endpoint.pipeline() != a.pipeline))
        {
            return Err(format!("--allow {}=…: no --bind has this pipeline", allowed.pipeline));
        }
        if self.tls_server_name.is_some() && !connects_tls {
            return Err("--tls-server-name was given, but no --connect begins with tls://".to_owned());
        }
        Ok(())
    }

    fn first_tls_option(&self) -> Option<&'static str> {
        [
            (self.tls_ca.is_some(), "--tls-ca"),
            (self.tls_cert.is_some(), "--tls-cert"),
            (self.tls_verify_client, "--tls-verify-client"),
            (self.tls_server_name.is_some(), "--tls-server-name"),
        ]
        .into_iter()
        .find_map(|(given, option)| given.then_some(option))
    }
}

fn scheme(endpoint: &Endpoint, scheme: &str) -> bool {
    endpoint.to_string().starts_with(scheme)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    fn wrong(line: &str) -> String {
        let line: Vec<&str> = line.split_whitespace().collect();
        match parse(&line) {
            Err(error) => error.to_string(),
            Ok(cli) => cli.check().expect_err("the command line is wrong"),
        }
    }

    #[test]
    fn options_that_do_not_match_the_endpoints_are_named() {
        for (line, named) in [
            ("push --bind tls://h", "--tls-cert and --tls-key are needed"),
            ("push --bind tls://h --tls-cert c", "--tls-key"),
            ("push --connect tls://h --tls-key k", "--tls-cert"),
            ("push --connect tcp://h --tls-ca c", "--tls-ca was given, but no endpoint begins with tls://"),
            ("pull --connect tcp://h --tls-cert c --tls-key k", "--tls-cert was given"),
            ("pull --bind tls://h --tls-cert c --tls-key k --tls-verify-client", "--tls-ca"),
            ("pull --bind tls://h --tls-cert c --tls-key k --allow p=n", "--tls-verify-client"),
            ("pull --bind tls://h --tls-cert c --tls-key k --tls-ca a", "add --tls-verify-client"),
            (
                "push --bind tls://h --connect tcp://h --tls-cert c --tls-key k --tls-ca a",
                "no --connect begins with tls://",
            ),
            (
                "pull --bind tcp://h --connect tls://h --tls-cert c --tls-key k --tls-ca a --tls-verify-client",
                "no --bind begins with tls://",
            ),
            (
                "pull --connect tcp://h --bind tls://h --tls-cert c --tls-key k --tls-server-name n",
                "no --connect begins with tls://",
            ),
            ("pull --bind tls://h --tls-cert c --tls-key k --tls-server-name n", "--connect"),
            (
                "pull --bind tls://h/q --tls-cert c --tls-key k --tls-ca a --tls-verify-client --allow p=n",
                "no --bind has this pipeline",
            ),
            ("pull --connect tls://a --connect tcp://b --require-tls", "tcp://b:8433 is not encrypted"),
            (
                "push --bind tls://h --tls-cert c --tls-key k --tls-ca a --tls-verify-client --allow p",
                "no `=`",
            ),
            (
                "push --bind tls://h --tls-cert c --tls-key k --tls-ca a --tls-verify-client --allow p=",
                "empty",
            ),
            (
                "push --bind tls://h --tls-cert c --tls-key k --tls-ca a --tls-verify-client --allow =w,10.0.0.7",
                "IP address",
            ),
        ] {
            let said = wrong(line);
            assert!(said.contains(named), "{line}: {said}");
        }
        for line in [
            "push --bind tls://h/p --tls-cert c --tls-key k --tls-ca a --tls-verify-client --allow p=a,b --require-tls",
            "pull --connect tls://h",
            "pull --connect tls://h --bind tls://h --tls-cert c --tls-key k --tls-ca a",
            "pull --connect unix:///x --require-tls",
        ] {
            let line: Vec<&str> = line.split_whitespace().collect();
            parse(&line).unwrap().check().unwrap();
        }
    }

    #[test]
    fn a_list_of_names_is_parsed() {
        let names = vec!["worker-1".to_owned(), "spiffe://x/y".to_owned()];
        assert_eq!(allowed("p=worker-1, spiffe://x/y"), Ok(Allowed { pipeline: "p".into(), names }));
        assert_eq!(allowed("=a").unwrap().pipeline, "");
    }
}

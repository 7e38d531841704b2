//! The settings of both builders that say who may connect, and how a peer is recognized.

/// The settings of names, tokens, TLS and access, with the same text for both builders.
macro_rules! access_settings {
    () => {
        /// Sets a name that the peer's logs and statistics show for this socket.
        ///
        /// At most 256 bytes. Peers do not verify it. Default: empty.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let push = tidegate::Push::builder().bind("mem://doc-name").build().await?;
        /// let _pull = tidegate::Pull::builder().connect("mem://doc-name").name("worker 1").build().await?;
        /// push.connected(1).await?;
        /// assert_eq!(push.link_stats()[0].peer_name, "worker 1");
        /// # Ok(()) }
        /// ```
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.setup.name = name.into();
            self
        }

        /// Sets the token that this socket presents when it connects, and requires of peers when it is bound.
        ///
        /// 1 to 4,096 bytes. Without TLS a token is sent unencrypted. It never appears in logs or `Debug`
        /// output. Default: no token.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let push = tidegate::Push::builder().bind("mem://doc-token").token("secret").build().await?;
        /// let other = tidegate::Pull::builder().connect("mem://doc-token").token("guessed").build().await?;
        /// assert!(other.connected(1).await.is_err());
        /// # drop(push);
        /// # Ok(()) }
        /// ```
        pub fn token(mut self, token: impl Into<Bytes>) -> Self {
            self.setup.policy.tokens = Some(Tokens::from(token));
            self
        }

        /// Sets several tokens: the first is presented when connecting, and each is accepted when bound.
        ///
        /// Use this to replace a token while some peers still have the old one; `set_tokens` changes them
        /// later.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{Pull, Push, Tokens};
        ///
        /// let push = Push::builder().bind("mem://doc-tokens").tokens(Tokens::new(["new", "old"])).build().await?;
        /// let _pull = Pull::builder().connect("mem://doc-tokens").token("old").build().await?;
        /// push.connected(1).await?;
        /// # Ok(()) }
        /// ```
        pub fn tokens(mut self, tokens: Tokens) -> Self {
            self.setup.policy.tokens = Some(tokens);
            self
        }

        /// Sets the TLS settings of `tls://` endpoints.
        ///
        /// Without it, a socket can still connect to servers whose certificate is signed by a CA that the
        /// system trusts. If several sockets of a process are bound to the same address, give them clones of
        /// one [`Tls`](crate::Tls).
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{BuildError, Push, Tls, TlsConfig};
        ///
        /// let tls = Tls::load(TlsConfig::new())?;
        /// let error = Push::builder().bind("tls://127.0.0.1:0").tls(tls).build().await.unwrap_err();
        /// assert!(matches!(error, BuildError::Tls { .. })); // a server needs a certificate
        /// # Ok(()) }
        /// ```
        #[cfg(feature = "tls")]
        pub fn tls(mut self, tls: crate::Tls) -> Self {
            self.setup.policy.transport.tls = Some(tls);
            self
        }

        /// Sets the file mode of the Unix sockets that are bound, which decides who may connect.
        ///
        /// 0o600 to 0o777, with read and write for the owner; `0o660` admits the owner and the group. The
        /// mode is set before a peer can connect, whatever the umask. Some systems other than Linux ignore
        /// the mode of a socket: there, protect the directory. Default: 0o777 without the bits of the umask.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # let dir = tempfile::tempdir()?;
        /// # let at = format!("unix://{}/work.sock", dir.path().display());
        /// let _push = tidegate::Push::builder().bind(&at).unix_mode(0o660).build().await?;
        /// assert!(tidegate::Push::builder().bind("mem://doc-unix-mode").unix_mode(0o660).build().await.is_err());
        /// # Ok(()) }
        /// ```
        pub fn unix_mode(mut self, mode: u32) -> Self {
            self.setup.policy.transport.unix_mode = Some(mode);
            self
        }

        /// Makes plain `tcp://` endpoints an error, on loopback too.
        ///
        /// `unix://` and `mem://` endpoints never leave the machine and remain allowed. Default: false.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() {
        /// use tidegate::{BuildError, Push};
        ///
        /// let error = Push::builder().bind("tcp://127.0.0.1:0").require_tls(true).build().await.unwrap_err();
        /// assert!(matches!(error, BuildError::PlainEndpoint { .. }));
        /// # }
        /// ```
        pub fn require_tls(mut self, require: bool) -> Self {
            self.setup.policy.require_tls = require;
            self
        }

        /// Restricts a bound pipeline to peers whose certificate has one of these names (TL-5).
        ///
        /// A peer's names are [`PeerIdentity::names`](crate::PeerIdentity). The pipeline must be bound to
        /// `tls://` endpoints only, and clients must be verified. For other peers the pipeline appears not to
        /// exist. May be called several times. Default: every peer that completes the handshake may use a
        /// pipeline.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() {
        /// use tidegate::{BuildError, Push};
        ///
        /// let plain = Push::builder().bind("mem://doc-allow#jobs").allow("jobs", ["worker-1.example"]);
        /// assert!(matches!(plain.build().await, Err(BuildError::Allow { .. }))); // no certificates here
        /// # }
        /// ```
        pub fn allow<N: AsRef<str>>(mut self, pipeline: &str, names: impl IntoIterator<Item = N>) -> Self {
            for name in names {
                self.setup.policy.admission.allow(pipeline, name.as_ref());
            }
            self
        }

        /// Sets a function that decides whether a peer may use a bound pipeline.
        ///
        /// It is called with the peer and the pipeline after the peer's certificate and token have been
        /// accepted. `false` refuses the peer as [`Self::allow`] does. The function must not block: other
        /// handshakes wait for it. Default: none.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{Pull, Push};
        ///
        /// let push = Push::builder()
        ///     .bind("mem://doc-authorize")
        ///     .authorize(|peer, pipeline| pipeline.is_empty() && peer.address.starts_with("mem:"))
        ///     .build()
        ///     .await?;
        /// let _pull = Pull::builder().connect("mem://doc-authorize").build().await?;
        /// push.connected(1).await?;
        /// # Ok(()) }
        /// ```
        pub fn authorize(
            mut self,
            rule: impl Fn(&crate::PeerIdentity, &str) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.setup.policy.admission.authorize(rule);
            self
        }
    };
}
pub(crate) use access_settings;

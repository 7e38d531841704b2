//! Runs a vector of `tests/vectors` against this implementation, over TCP, from its files alone.
//!
//! ```text
//! description.json ── steps ──► runner ── bytes ──► peer under test (tidegate::Push or Pull)
//!                                  ◄──── events ───    ▲
//!                                  └── application ────┘
//! ```

mod connection;
mod event;
mod peer;

use std::{collections::HashMap, fs, path::Path, time::Duration};

use serde_json::Value;
use tokio::{net::TcpListener, time::Instant};

use self::{connection::Connection, event::Names, peer::Peer};

/// What went wrong, for people.
pub type Wrong = String;

/// Runs one vector, by the path of its description in `root`. Each `within_ms` is multiplied by `patience`.
///
/// # Errors
/// The step that failed, and why.
pub async fn run(root: &Path, description: &str, patience: u32) -> Result<(), Wrong> {
    let vector = read(root, description)?;
    let mut runner = Runner::start(root, text(&vector["peer"], "side")?, &vector["peer"], patience).await?;
    let done = runner.vector(&vector).await;
    runner.peer.abort().await;
    done.map_err(|wrong| format!("{description}: {wrong}"))
}

fn read(root: &Path, file: &str) -> Result<Value, Wrong> {
    let text = fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))
}

struct Runner<'a> {
    root: &'a Path,
    patience: u32,
    peer: Peer,
    /// Where the peer connects, if it does.
    listener: Option<TcpListener>,
    connections: HashMap<String, Connection>,
    names: Names,
}

impl<'a> Runner<'a> {
    async fn start(root: &'a Path, side: &str, settings: &Value, patience: u32) -> Result<Self, Wrong> {
        let listener = match side {
            "connector" => Some(TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?),
            _ => None,
        };
        let at = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let peer = Peer::start(settings, at).await?;
        Ok(Self { root, patience, peer, listener, connections: HashMap::new(), names: Names::new() })
    }

    /// The steps of the preludes, and then those of the vector.
    async fn vector(&mut self, vector: &Value) -> Result<(), Wrong> {
        let mut scripts = vec![vector.clone()];
        while let Some(prelude) = scripts.last().and_then(|script| script["prelude"].as_str()) {
            let prelude = read(self.root, prelude)?;
            scripts.push(prelude);
        }
        for script in scripts.iter().rev() {
            for step in list(script, "steps")? {
                self.step(step).await.map_err(|wrong| format!("{wrong}\nin the step {step:#}"))?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Value) -> Result<(), Wrong> {
        let (kind, step) = event::only(step)?;
        match kind {
            "connect" => {
                let connection = Connection::connect(self.peer.address()?).await?;
                self.connections.insert(text(step, "connection")?.to_owned(), connection);
            }
            "accept" => {
                let listener = self.listener.as_ref().ok_or("the peer does not connect")?;
                let accepted = tokio::time::timeout(self.within(step)?, listener.accept()).await;
                let (stream, _) =
                    accepted.map_err(|_| "the peer has not connected")?.map_err(|e| e.to_string())?;
                self.connections.insert(text(step, "connection")?.to_owned(), Connection::new(stream)?);
            }
            "send" => {
                let mut bytes = Vec::new();
                for file in list(step, "files")? {
                    let file = self.root.join(file.as_str().ok_or("a file's name is not a string")?);
                    bytes.extend(fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?);
                }
                self.connection(step)?.send(&bytes).await?;
            }
            "expect" => {
                let deadline = Instant::now() + self.within(step)?;
                let events = list(step, "events")?;
                let in_order = step["any_order"] == false;
                let mut names = self.names.clone();
                self.connection(step)?.expect(events, in_order, deadline, &mut names).await?;
                self.names = names;
            }
            "expect_nothing" => {
                let until = Instant::now() + millis(step, "for_ms")?;
                self.connection(step)?.expect_nothing(until).await?;
            }
            "wait" => tokio::time::sleep(millis(step, "for_ms")?).await,
            "close" => {
                self.connections.remove(text(step, "connection")?).ok_or("no such connection")?;
            }
            _ => self.peer.step(kind, step, self.patience).await?,
        }
        Ok(())
    }

    fn within(&self, step: &Value) -> Result<Duration, Wrong> {
        Ok(millis(step, "within_ms")? * self.patience)
    }

    fn connection(&mut self, step: &Value) -> Result<&mut Connection, Wrong> {
        let name = text(step, "connection")?;
        self.connections.get_mut(name).ok_or_else(|| format!("there is no connection {name}"))
    }
}

fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str, Wrong> {
    value[field].as_str().ok_or_else(|| format!("{field} is not a string"))
}

fn list<'v>(value: &'v Value, field: &str) -> Result<&'v [Value], Wrong> {
    value[field].as_array().map(Vec::as_slice).ok_or_else(|| format!("{field} is not a list"))
}

/// A number, which is a string if it may need more than 32 bits.
fn number(value: &Value, field: &str) -> Result<u64, Wrong> {
    let value = &value[field];
    let read = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    read.ok_or_else(|| format!("{field} is not a number"))
}

fn millis(value: &Value, field: &str) -> Result<Duration, Wrong> {
    number(value, field).map(Duration::from_millis)
}

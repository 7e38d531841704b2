//! The peer under test, and its application.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use tidegate::{Delivery, Pull, Push, RecvTimeoutError, Window};
use tokio::task::JoinHandle;

use super::{Wrong, millis, number, text};

/// Longer than any script takes.
const LONG: Duration = Duration::from_secs(600);

/// One socket of this implementation.
pub(super) struct Peer {
    socket: Socket,
    /// `finish` or `leave`, if the application has called it.
    stopping: Option<JoinHandle<Result<(), Wrong>>>,
    /// What the application has received and not settled, by the names that the script gives.
    held: HashMap<String, Delivery>,
}

enum Socket {
    Push(Push),
    Pull(Pull),
}

impl Peer {
    /// Starts a socket with these settings. `at` is where it connects, if it does.
    pub(super) async fn start(settings: &Value, at: Option<SocketAddr>) -> Result<Self, Wrong> {
        let pipeline = text(settings, "pipeline")?;
        let endpoint = match at {
            Some(at) => format!("tcp://{at}/{pipeline}"),
            None => format!("tcp://127.0.0.1:0/{pipeline}"),
        };
        let token = bytes(text(settings, "token")?)?;
        let max_message = usize::try_from(number(settings, "max_message")?).map_err(|e| e.to_string())?;
        let heartbeat = millis(settings, "heartbeat_ms")?;
        let socket = if settings["role"] == "pusher" {
            let push = Push::builder().token(token).max_message(max_message).heartbeat(heartbeat);
            let push = push.grace(millis(settings, "reconnect_grace_ms")?);
            let push = if at.is_some() { push.connect(endpoint) } else { push.bind(endpoint) };
            Socket::Push(push.build().await.map_err(|e| e.to_string())?)
        } else {
            let window =
                Window::fixed(number(settings, "window_messages")?, number(settings, "window_bytes")?);
            let pull = Pull::builder().token(token).max_message(max_message).heartbeat(heartbeat);
            let pull = pull.window(window).expect(1);
            let pull = if at.is_some() { pull.connect(endpoint) } else { pull.bind(endpoint) };
            Socket::Pull(pull.build().await.map_err(|e| e.to_string())?)
        };
        Ok(Self { socket, stopping: None, held: HashMap::new() })
    }

    /// Where the runner connects.
    pub(super) fn address(&self) -> Result<SocketAddr, Wrong> {
        let endpoints = match &self.socket {
            Socket::Push(push) => push.local_endpoints(),
            Socket::Pull(pull) => pull.local_endpoints(),
        };
        let endpoint = endpoints.first().ok_or("the peer is not bound")?.to_string();
        let address = endpoint.trim_start_matches("tcp://").split('/').next().unwrap_or_default();
        address.parse().map_err(|e| format!("{endpoint}: {e}"))
    }

    /// A step of the application.
    pub(super) async fn step(&mut self, kind: &str, step: &Value, patience: u32) -> Result<(), Wrong> {
        match (kind, &self.socket) {
            ("app_send", Socket::Push(push)) => {
                let size = usize::try_from(number(step, "size")?).map_err(|e| e.to_string())?;
                for _ in 0..number(step, "count")? {
                    push.send(vec![b'm'; size]).await.map_err(|e| e.to_string())?;
                }
            }
            ("app_finish", Socket::Push(push)) => {
                let push = push.clone();
                let finish = async move { push.finish(LONG).await.map(|_| ()).map_err(|e| e.to_string()) };
                self.stopping = Some(tokio::spawn(finish));
            }
            ("app_leave", Socket::Pull(pull)) => {
                let pull = pull.clone();
                let leave = async move { pull.leave(LONG).await.map(|_| ()).map_err(|e| e.to_string()) };
                self.stopping = Some(tokio::spawn(leave));
            }
            ("app_receive", Socket::Pull(pull)) => {
                let delivery = received(pull, millis(step, "within_ms")? * patience).await?;
                let (found, wanted) = (
                    (delivery.id().number, u64::from(delivery.attempt())),
                    (number(step, "number")?, number(step, "attempt")?),
                );
                if found != wanted {
                    return Err(format!("number and attempt are {found:?}, not {wanted:?}"));
                }
                self.held.insert(text(step, "as")?.to_owned(), delivery);
            }
            ("app_receive_nothing", Socket::Pull(pull)) => {
                match pull.recv_timeout(millis(step, "for_ms")?).await {
                    Err(RecvTimeoutError::Timeout) => {}
                    other => return Err(format!("the application has received {other:?}")),
                }
            }
            ("app_settle", Socket::Pull(_)) => {
                let name = text(step, "delivery")?;
                let delivery = self.held.remove(name).ok_or_else(|| format!("{name} is not held"))?;
                settle(delivery, step)?;
            }
            ("app_end", socket) => {
                let within = millis(step, "within_ms")? * patience;
                if let Some(stopping) = self.stopping.take() {
                    let stopped = tokio::time::timeout(within, stopping).await;
                    stopped.map_err(|_| "the application cannot stop")?.map_err(|e| e.to_string())??;
                }
                if let Socket::Pull(pull) = socket {
                    match pull.recv_timeout(within).await {
                        Ok(None) => {}
                        other => return Err(format!("instead of the end came {other:?}")),
                    }
                }
            }
            _ => return Err(format!("this peer has no step {kind}")),
        }
        Ok(())
    }

    /// Ends the socket, whatever state it is in.
    pub(super) async fn abort(self) {
        if let Some(stopping) = &self.stopping {
            stopping.abort();
        }
        if let Socket::Push(push) = &self.socket {
            push.abort().await;
        }
    }
}

async fn received(pull: &Pull, within: Duration) -> Result<Delivery, Wrong> {
    let received = pull.recv_timeout(within).await.map_err(|e| e.to_string())?;
    received.ok_or_else(|| "the stream has ended".into())
}

fn settle(delivery: Delivery, step: &Value) -> Result<(), Wrong> {
    let reason = text(step, "reason")?;
    match text(step, "verdict")? {
        "VERDICT_ACK" => delivery.ack(),
        "VERDICT_NACK" => {
            let delay = millis(step, "delay_ms")?;
            delivery.nack_with((!delay.is_zero()).then_some(delay), reason);
        }
        "VERDICT_REJECT" => delivery.reject(reason),
        "VERDICT_RELEASE" => delivery.release(),
        other => return Err(format!("unknown verdict {other}")),
    }
    Ok(())
}

fn bytes(hex: &str) -> Result<Vec<u8>, Wrong> {
    let digit = |at: usize| hex.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let all: Option<Vec<_>> = (0..hex.len()).step_by(2).map(digit).collect();
    all.ok_or_else(|| format!("{hex} is not hexadecimal"))
}

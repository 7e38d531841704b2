//! libzmq PUSH/PULL, with a high-water mark that does not limit it.

use anyhow::{Context as _, Result};

use crate::load::{Check, Clock, Ring};

const MARK: i32 = 100_000;

pub fn push(address: &str, size: usize, count: u64) -> Result<()> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PUSH)?;
    socket.set_sndhwm(MARK)?;
    socket.connect(&format!("tcp://{address}"))?;
    let mut ring = Ring::new(size);
    for _ in 0..count {
        socket.send(&ring.payload()[..], 0)?;
    }
    Ok(()) // dropping the context waits until everything is written
}

pub fn pull(address: &str, size: usize, count: u64) -> Result<f64> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PULL)?;
    socket.set_rcvhwm(MARK)?;
    socket.bind(&format!("tcp://{address}"))?;
    let (mut check, mut clock, mut rate) = (Check::new(size), Clock::new(count), None);
    let mut message = zmq::Message::new();
    for _ in 0..count {
        socket.recv(&mut message, 0)?;
        check.next(&message)?;
        rate = clock.tick().or(rate);
    }
    rate.context("messages are missing")
}

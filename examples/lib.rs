//! Short programs that use the tidegate crate. Each starts with what it shows and how to run it.
//!
//! | program | shows |
//! | --- | --- |
//! | `pusher` | a process that has work: binds, sends, finishes the stream |
//! | `worker` | a process that does the work: connects, acks, nacks, rejects, stops on Ctrl-C |
//! | `tracked_send` | a sender that waits for the outcome of each message |
//! | `drain` | a sender that is restarted: messages that are left are returned, and sent again |
//! | `many_workers` | several tasks that share one socket |
//! | `blocking` | a program without async, whose workers block their threads |

#![forbid(unsafe_code)]

use std::env;

/// The endpoint to use: the first argument of the program, or port 8433 of this machine.
pub fn endpoint() -> String {
    env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:8433".to_owned())
}

/// Compiles the programs in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

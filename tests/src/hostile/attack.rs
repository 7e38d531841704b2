//! The measured attacks, by name.

use tidegate_proto::Rule;

use super::{connections, flood::Flood, frames, keeping};

/// The socket that is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A bound pusher with a well-behaved puller.
    Pusher,
    /// A bound puller with a well-behaved pusher.
    Puller,
}

/// One attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// The name on the command line.
    pub name: &'static str,
    /// A description.
    pub what: &'static str,
    /// The rules that defend against it.
    pub rules: &'static [Rule],
    /// The sockets that it attacks.
    pub on: &'static [Target],
    /// Whether the attack takes a link's share of the messages. If so, it is compared with [`HONEST`], which takes the
    /// same share: while a plain server is attacked, the well-behaved link would get the messages of two links.
    pub shares: bool,
    /// Attacks until the time is up.
    pub run: fn(&mut Flood),
}

const BOTH: &[Target] = &[Target::Pusher, Target::Puller];
const PUSHER: &[Target] = &[Target::Pusher];
const PULLER: &[Target] = &[Target::Puller];

/// Not an attack: the baseline of attacks that take messages.
pub static HONEST: Attack =
    attack("honest", "a second link that acks everything", &[Rule::Cr1], PUSHER, keeping::honest);

/// All attacks.
pub const ALL: &[Attack] = &[
    attack(
        "connects",
        "connections that are closed at once",
        &[Rule::Hs12, Rule::Hs14],
        BOTH,
        connections::connects,
    ),
    attack(
        "silent",
        "silent connections, 1,000 at a time",
        &[Rule::Hs11, Rule::Hs12, Rule::Hs13],
        BOTH,
        connections::silent,
    ),
    attack(
        "slow",
        "handshakes of a byte at a time",
        &[Rule::Hs11, Rule::Hs12, Rule::Hs13],
        BOTH,
        connections::slow,
    ),
    attack("http", "requests of another protocol", &[Rule::Fr1, Rule::Hs14], BOTH, connections::http),
    attack("hellos", "handshakes that are refused", &[Rule::Hs2, Rule::Hs14], BOTH, connections::hellos),
    attack("links", "2,000 idle links from one address", &[Rule::Hs12, Rule::Hs13], BOTH, connections::links),
    attack(
        "come-and-go",
        "links that are opened and dropped",
        &[Rule::Rd1, Rule::Hs14],
        BOTH,
        connections::come_and_go,
    ),
    attack(
        "replace",
        "one slot that is taken over repeatedly",
        &[Rule::Hs9, Rule::Hs14],
        BOTH,
        connections::replace,
    ),
    attack("pings", "Ping after Ping", &[Rule::Lm2, Rule::Lm3, Rule::Lv4], BOTH, frames::pings),
    attack("tiny", "unknown frames of 3 bytes", &[Rule::Lm3, Rule::Gr1], BOTH, frames::tiny),
    attack("unknown", "unknown frames of 64 KiB", &[Rule::Lm3, Rule::Gr1], BOTH, frames::large),
    attack("claims", "frames that claim 4 GiB", &[Rule::Fr3], BOTH, frames::claims),
    attack(
        "half-frames",
        "400 links, each with an incomplete message",
        &[Rule::Lv7, Rule::Lm4],
        PULLER,
        frames::half_frames,
    ),
    attack("too-much", "deliveries beyond the credit", &[Rule::Cr3], PULLER, frames::too_much),
    attack("empty", "empty messages, one per frame, within the credit", &[Rule::Cr9], PULLER, frames::empty),
    attack("grants", "Acks that change nothing", &[Rule::Cr1, Rule::Lm3], PUSHER, frames::grants),
    attack("ranges", "Acks full of repeated outcomes", &[Rule::Oc3, Rule::Lm3], PUSHER, frames::ranges),
    attack(
        "recalls",
        "one recall after another",
        &[Rule::Rc1, Rule::Lm2, Rule::Lm3],
        PUSHER,
        frames::recalls,
    ),
    attack("never-sent", "acks for ids that were never sent", &[Rule::Oc2], PUSHER, frames::never_sent),
    attack(
        "never-reads",
        "a grant of 2^53 - 1 without reading",
        &[Rule::Cr8, Rule::Lv6],
        PUSHER,
        frames::never_reads,
    ),
    attack("nacks", "every message is nacked at once", &[Rule::Oc6, Rule::Cr8], PUSHER, frames::nacks),
    attack(
        "releases",
        "every message is released at once",
        &[Rule::Oc8, Rule::Oc12],
        PUSHER,
        frames::releases,
    ),
    attack(
        "drops",
        "links that take a window and break",
        &[Rule::Rd4, Rule::Rd8, Rule::Rd10],
        PUSHER,
        frames::drops,
    ),
    Attack {
        shares: true,
        ..attack(
            "nack-first",
            "the first of each frame nacked, the rest acked",
            &[Rule::Lm5, Rule::Oc6],
            PUSHER,
            keeping::nack_first,
        )
    },
    attack(
        "settled-again",
        "outcomes for many frames that are settled, repeated",
        &[Rule::Oc3, Rule::Lm3],
        PUSHER,
        keeping::settled_again,
    ),
    attack(
        "working",
        "Working for 20,000 deliveries in each frame",
        &[Rule::Oc13, Rule::Lm3],
        PUSHER,
        keeping::working,
    ),
    attack(
        "slow-small",
        "batches of a large message and a slow small one",
        &[Rule::Lm5],
        PULLER,
        keeping::slow_small,
    ),
    attack(
        "no-skip",
        "two pushers that obtain a window and do not answer recalls",
        &[Rule::Rc1, Rule::Cr9],
        PULLER,
        keeping::no_skip,
    ),
    attack("junk", "messages among unknown fields", &[Rule::Lm3, Rule::Gr1], PULLER, keeping::junk),
];

const fn attack(
    name: &'static str,
    what: &'static str,
    rules: &'static [Rule],
    on: &'static [Target],
    run: fn(&mut Flood),
) -> Attack {
    Attack { name, what, rules, on, shares: false, run }
}

//! The measured attacks, by name.

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
    pub rules: &'static str,
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
    attack("honest", "a second link that acks everything", "CR-1", PUSHER, keeping::honest);

/// All attacks.
pub const ALL: &[Attack] = &[
    attack("connects", "connections that are closed at once", "HS-12, HS-14", BOTH, connections::connects),
    attack("silent", "silent connections, 1,000 at a time", "HS-11, HS-12, HS-13", BOTH, connections::silent),
    attack("slow", "handshakes of a byte at a time", "HS-11, HS-12, HS-13", BOTH, connections::slow),
    attack("http", "requests of another protocol", "FR-1, HS-14", BOTH, connections::http),
    attack("hellos", "handshakes that are refused", "HS-2, HS-14", BOTH, connections::hellos),
    attack("links", "2,000 idle links from one address", "HS-12, HS-13", BOTH, connections::links),
    attack("come-and-go", "links that are opened and dropped", "RD-1, HS-14", BOTH, connections::come_and_go),
    attack("replace", "one slot that is taken over repeatedly", "HS-9, HS-14", BOTH, connections::replace),
    attack("pings", "Ping after Ping", "LM-2, LM-3, LV-4", BOTH, frames::pings),
    attack("tiny", "unknown frames of 3 bytes", "LM-3, GR-1", BOTH, frames::tiny),
    attack("unknown", "unknown frames of 64 KiB", "LM-3, GR-1", BOTH, frames::large),
    attack("claims", "frames that claim 4 GiB", "FR-3", BOTH, frames::claims),
    attack(
        "half-frames",
        "400 links, each with an incomplete message",
        "LV-7, LM-4",
        PULLER,
        frames::half_frames,
    ),
    attack("too-much", "deliveries beyond the credit", "CR-3", PULLER, frames::too_much),
    attack("empty", "empty messages, one per frame, within the credit", "CR-9", PULLER, frames::empty),
    attack("grants", "Acks that change nothing", "CR-1, LM-3", PUSHER, frames::grants),
    attack("ranges", "Acks full of repeated outcomes", "OC-3, LM-3", PUSHER, frames::ranges),
    attack("recalls", "one recall after another", "RC-1, LM-2, LM-3", PUSHER, frames::recalls),
    attack("never-sent", "acks for ids that were never sent", "OC-2", PUSHER, frames::never_sent),
    attack("never-reads", "a grant of 2^53 - 1 without reading", "CR-8, LV-6", PUSHER, frames::never_reads),
    attack("nacks", "every message is nacked at once", "OC-6, CR-8", PUSHER, frames::nacks),
    attack("releases", "every message is released at once", "OC-8, OC-12", PUSHER, frames::releases),
    attack("drops", "links that take a window and break", "RD-4, RD-8, RD-10", PUSHER, frames::drops),
    Attack {
        shares: true,
        ..attack(
            "nack-first",
            "the first of each frame nacked, the rest acked",
            "LM-5, OC-6",
            PUSHER,
            keeping::nack_first,
        )
    },
    attack(
        "settled-again",
        "outcomes for many frames that are settled, repeated",
        "OC-3, LM-3",
        PUSHER,
        keeping::settled_again,
    ),
    attack("working", "Working for 20,000 deliveries in each frame", "OC-13, LM-3", PUSHER, keeping::working),
    attack(
        "slow-small",
        "batches of a large message and a slow small one",
        "LM-5",
        PULLER,
        keeping::slow_small,
    ),
    attack(
        "no-skip",
        "two pushers that obtain a window and do not answer recalls",
        "RC-1, CR-9",
        PULLER,
        keeping::no_skip,
    ),
    attack("junk", "messages among unknown fields", "LM-3, GR-1", PULLER, keeping::junk),
];

const fn attack(
    name: &'static str,
    what: &'static str,
    rules: &'static str,
    on: &'static [Target],
    run: fn(&mut Flood),
) -> Attack {
    Attack { name, what, rules, on, shares: false, run }
}

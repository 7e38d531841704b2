//! The rules of SPEC.md and docs/IMPLEMENTATION.md. Generated from them by `cargo xtask rules`; do not edit.

use super::{BOTH, IMPLEMENTATION, Level, PULLER, PUSHER, SPEC};
use crate::v1::Role;

/// A rule of SPEC.md or docs/IMPLEMENTATION.md.
///
/// The name of a variant is the id without its hyphen, in camel case: `OC-10` is `Oc10`. Its `Display` text is the id.
/// Rules are ordered by the letters of their ids, then by number. The documentation of each variant has the level, who
/// needs the rule, its document, and how its text begins; the document has all of it.
///
/// ```
/// use tidegate_proto::{Level, Role, Rule};
///
/// let rule: Rule = "OC-10".parse()?;
/// assert_eq!((rule, rule.to_string()), (Rule::Oc10, "OC-10".to_owned()));
/// assert_eq!((rule.document(), rule.level()), ("SPEC.md", Level::Must));
/// assert!(rule.is_needed_by(Role::Puller));
/// # Ok::<(), tidegate_proto::UnknownRule>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// **CR-1** (MUST, both; SPEC.md). Limits are absolute, count from the beginning of the link, and never decrease.
    Cr1,
    /// **CR-2** (MUST, pusher; SPEC.md). A pusher MAY send the delivery with id `n` if `n < message_limit` and if the
    /// bytes sent before it are fewer than `byte_limit`.
    Cr2,
    /// **CR-3** (MUST, puller; SPEC.md). A delivery beyond a limit is a violation: the puller closes with CREDIT, and
    /// no part of the frame takes effect.
    Cr3,
    /// **CR-4** (MUST, both; SPEC.md). The size of a message is the bytes of its payload plus those of the names and
    /// values of its headers.
    Cr4,
    /// **CR-5** (MUST, puller; SPEC.md). A puller sets `message_limit` to at most `settled + skipped + window`, and
    /// `byte_limit` likewise, except for what CR-6 and RD-9 add.
    Cr5,
    /// **CR-6** (SHOULD, puller; docs/IMPLEMENTATION.md). The links of a socket share its window by need. A window is a
    /// hard cap for the socket: the number of deliveries that are handed to the application and not settled never
    /// exceeds it.
    Cr6,
    /// **CR-7** (MAY, puller; docs/IMPLEMENTATION.md). With window 0, credit exists only while the application waits
    /// for a message.
    Cr7,
    /// **CR-8** (MUST, pusher; docs/IMPLEMENTATION.md). A pusher bounds what is un-acked on a link (messages and
    /// bytes), what it holds in total, and what is unwritten on a link, whatever a peer grants.
    Cr8,
    /// **CR-9** (MUST, puller; docs/IMPLEMENTATION.md). The windows of all links of a socket share one budget (messages
    /// and bytes).
    Cr9,
    /// **CR-10** (MUST, puller; SPEC.md). A puller grants without being asked, and raises limits at the latest with the
    /// outcomes (OC-5).
    Cr10,
    /// **DL-1** (MUST, both; SPEC.md). The delivery ids of a link count 0, 1, 2, …. `Deliver.first_id` MUST be the next
    /// unused id (after a `Skip`, its `next_id`); otherwise the puller closes with MALFORMED.
    Dl1,
    /// **DL-2** (MUST, both; SPEC.md). The pusher numbers the messages that it accepts from its application.
    Dl2,
    /// **DL-3** (MUST, pusher; SPEC.md). `attempt` is 1 (sent as 0) plus the number of earlier deliveries of this
    /// message that were nacked, timed out, or lost after they had been written.
    Dl3,
    /// **DL-4** (MUST, both; SPEC.md). A message that is larger than the pusher's announced `max_message` is a
    /// violation: close with MESSAGE_SIZE.
    Dl4,
    /// **DL-5** (MUST, both; SPEC.md). A message has at most 64 headers. A header name is 1 to 256 bytes of UTF-8.
    Dl5,
    /// **DL-6** (MUST, both; SPEC.md). A batch contains at least one message; an empty batch is MALFORMED.
    Dl6,
    /// **DL-7** (MUST, puller; SPEC.md). A puller hands the deliveries of one link to its application in the order of
    /// their ids.
    Dl7,
    /// **ER-1** (MUST, both; SPEC.md). A violation closes its link with the code of the rule that was broken.
    Er1,
    /// **ER-2** (MUST, both; SPEC.md). An unknown code is treated as INTERNAL.
    Er2,
    /// **FR-1** (MUST, both; SPEC.md). The first eight bytes in each direction are the preface `TIDEGATE` (54 49 44 45
    /// 47 41 54 45).
    Fr1,
    /// **FR-2** (MUST, both; SPEC.md). After the preface, each direction is a sequence of frames. A frame is a 4-byte
    /// big-endian length N, followed by N bytes that are one protobuf message `tidegate.v1.Frame`.
    Fr2,
    /// **FR-3** (MUST, both; SPEC.md). A receiver MUST check the length before it allocates memory for the frame, and
    /// close with TOO_LARGE if the length is above the limit of the frame: 16,384 bytes for the first frame of each
    /// side; for `Deliver`, the larger of 262,144 and the puller's `max_message` + 65,536; 65,536 for every other
    /// frame.
    Fr3,
    /// **FR-4** (MUST, both; SPEC.md). A frame has no effect before its last byte has arrived and all of it was found
    /// well-formed.
    Fr4,
    /// **FR-5** (MUST, both; SPEC.md). A frame that the role of its sender may not send (Section 10), a second `Hello`,
    /// and any frame but `Close` before `Hello` are violations: close with UNEXPECTED.
    Fr5,
    /// **FR-6** (MUST, both; SPEC.md). Frames of one side take effect in the order in which they were sent.
    Fr6,
    /// **FR-7** (MUST, both; SPEC.md). A counter is at most 2^53 − 1: delivery ids (also the first id of a range plus
    /// its length), limits, message numbers, generations, and both fields of `Skip`.
    Fr7,
    /// **GR-1** (MUST, both; SPEC.md). A receiver ignores fields that it does not know, and frames whose body it does
    /// not know (of at most 65,536 bytes).
    Gr1,
    /// **GR-2** (MUST, both; SPEC.md). Nothing that spends credit, settles a delivery or changes the meaning of an
    /// existing field is added without a feature that both sides offer (HS-10) or a new version (HS-3).
    Gr2,
    /// **GR-3** (MUST, both; SPEC.md). Field numbers and codes are never reused.
    Gr3,
    /// **HS-1** (MUST, both; SPEC.md). The connector sends its preface and its `Hello` at once, and then nothing until
    /// the acceptor's `Hello` has arrived.
    Hs1,
    /// **HS-2** (MUST, both; SPEC.md). The acceptor MUST NOT send anything before it has checked the connector's
    /// `Hello`.
    Hs2,
    /// **HS-3** (MUST, both; SPEC.md). `version_min` and `version_max` of the connector are the lowest and the highest
    /// version that it supports.
    Hs3,
    /// **HS-4** (MUST, both; SPEC.md). The `token` is sent from connector to acceptor only. An acceptor's `Hello` that
    /// contains a token is MALFORMED.
    Hs4,
    /// **HS-5** (MUST, both; SPEC.md). The acceptor repeats the pipeline in its `Hello`. If it does not know the
    /// pipeline, or if this peer may not use it, it closes with NO_PIPELINE and the same reason in both cases.
    Hs5,
    /// **HS-6** (MUST, both; SPEC.md). One side has `ROLE_PUSHER`, the other `ROLE_PULLER`; otherwise close with ROLE.
    Hs6,
    /// **HS-7** (MUST, both; SPEC.md). `max_message` is 1 to 2,147,418,112 (2^31 − 65,536); any other value is
    /// MALFORMED.
    Hs7,
    /// **HS-8** (MUST, both; SPEC.md). `instance` is 16 random bytes; any other length is MALFORMED.
    Hs8,
    /// **HS-9** (MUST, both; SPEC.md). By `resume`, an acceptor recognizes a connector that connects again.
    Hs9,
    /// **HS-10** (MUST, both; SPEC.md). A feature is in use if both sides offer it. If a side requires a feature that
    /// the other does not offer, close with FEATURE, and the reason names it.
    Hs10,
    /// **HS-11** (MUST, both; SPEC.md). A handshake has a deadline, 5 s by default, from the opening of the connection
    /// to the last byte of the peer's `Hello`.
    Hs11,
    /// **HS-12** (MUST, both; docs/IMPLEMENTATION.md). An acceptor bounds its links and its unfinished handshakes.
    /// Beyond a bound, it closes a connection with BUSY and a `retry_after_ms`.
    Hs12,
    /// **HS-13** (SHOULD, both; docs/IMPLEMENTATION.md). An acceptor SHOULD also bound the links and the unfinished
    /// handshakes of each network address (for IPv6, of its first 64 bits), and choose and refuse as HS-12 says.
    Hs13,
    /// **HS-14** (SHOULD, both; docs/IMPLEMENTATION.md). Connections that have not completed the handshake SHOULD
    /// receive only a small share of the acceptor's CPU while links have work.
    Hs14,
    /// **LM-1** (MUST, both; docs/IMPLEMENTATION.md). Every limit that is a setting is checked when a socket is
    /// created.
    Lm1,
    /// **LM-2** (MUST, both; docs/IMPLEMENTATION.md). What a peer can make a side hold is bounded: replies are merged
    /// (one `Pong` for several `Ping` frames; one `Skip` for each recall and `leaving`, of which at most two wait), and
    /// outcomes are bounded by what was delivered.
    Lm2,
    /// **LM-3** (MAY, both; SPEC.md). A receiver MAY limit the rate of frames that make no progress, and close a link
    /// that exceeds the limit with FLOOD.
    Lm3,
    /// **LM-4** (SHOULD, puller; docs/IMPLEMENTATION.md). Frames of messages that have begun to arrive take, on all
    /// links of a puller together, at most its byte budget and one message more.
    Lm4,
    /// **LM-5** (SHOULD, both; docs/IMPLEMENTATION.md). The memory that a message takes until it is settled, or until
    /// it is sent again or reported, is at most a small multiple of its size (CR-4) plus a few hundred bytes, however
    /// the peer has divided its stream, whatever unknown fields are in its frame, and whatever becomes of the other
    /// messages of its frame.
    Lm5,
    /// **LV-1** (MUST, both; SPEC.md). Each side sends a frame at least every `heartbeat_ms` of its own `Hello`, on a
    /// timer of its own, even while it does not read.
    Lv1,
    /// **LV-2** (MUST, both; SPEC.md). Any byte received proves that the peer is alive.
    Lv2,
    /// **LV-3** (MUST, both; SPEC.md). A side closes with SILENT, and treats the link as lost, after three consecutive
    /// whole intervals of the peer's `heartbeat_ms` in which it received no byte.
    Lv3,
    /// **LV-4** (MUST, both; SPEC.md). A `Ping` is answered by one `Pong` with the same `data`, ahead of data that
    /// waits to be written.
    Lv4,
    /// **LV-5** (MUST, both; SPEC.md). A puller MAY stop reading while its application does not keep up, but for at
    /// most 100 ms at a time.
    Lv5,
    /// **LV-6** (SHOULD, pusher; docs/IMPLEMENTATION.md). A link on which no byte could be written for 1 s (by default)
    /// is *stalled*: it gets no messages until writing progresses.
    Lv6,
    /// **LV-7** (MUST, both; SPEC.md). A frame that has begun to arrive must end, or progress by at least 1,024 bytes
    /// per interval of the sender's `heartbeat_ms`.
    Lv7,
    /// **LV-8** (SHOULD, pusher; SPEC.md). A pusher closes a link with TOO_SLOW, and treats it as lost, if it could not
    /// write a byte for 30 s (by default).
    Lv8,
    /// **OC-1** (MUST, both; SPEC.md). Each delivery gets exactly one outcome. Deliveries may get their outcomes in any
    /// order.
    Oc1,
    /// **OC-2** (MUST, pusher; SPEC.md). An outcome for an id that was never sent, or that was skipped, is a violation:
    /// close with UNKNOWN_DELIVERY.
    Oc2,
    /// **OC-3** (MUST, pusher; SPEC.md). An outcome for a delivery that already has one is ignored. So is an outcome
    /// for a delivery that the pusher no longer waits for (OC-12).
    Oc3,
    /// **OC-4** (MUST, pusher; SPEC.md). Within an `Ack`, the outcomes take effect first, in order; then the limits;
    /// then `recall` and `leaving`.
    Oc4,
    /// **OC-5** (MUST, puller; SPEC.md). A puller MAY hold outcomes back to send several in one `Ack`.
    Oc5,
    /// **OC-6** (SHOULD, pusher; docs/IMPLEMENTATION.md). After a `NACK`, the pusher waits before the next attempt. If
    /// `delay_ms` is above 0, the wait is `delay_ms`, but at least 10 ms and at most the pusher's own bound (5 min by
    /// default).
    Oc6,
    /// **OC-7** (MUST, both; SPEC.md). `reason` is at most 256 bytes of UTF-8. A receiver truncates a longer one.
    Oc7,
    /// **OC-8** (MUST, pusher; SPEC.md). A released message returns to the front of the queue at once, with the same
    /// attempt.
    Oc8,
    /// **OC-9** (MUST, pusher; SPEC.md). A rejected message is never sent again. The pusher reports it to its
    /// application.
    Oc9,
    /// **OC-10** (MUST, both; SPEC.md). `count` is at least 1, `first + count` is at most 2^53 − 1, and the verdict is
    /// one of the four; otherwise the pusher closes with MALFORMED, and no outcome of that `Ack` takes effect.
    Oc10,
    /// **OC-11** (MAY, pusher; docs/IMPLEMENTATION.md). A pusher MAY limit the attempts of a message: a `NACK` or a
    /// settle time-out of the last one makes its outcome *rejected*.
    Oc11,
    /// **OC-12** (MAY, pusher; docs/IMPLEMENTATION.md). A pusher MAY have a *settle time-out*. It runs from the time at
    /// which the frame was given to the connection, and starts again with each `Working` for the delivery.
    Oc12,
    /// **OC-13** (MAY, both; SPEC.md). A puller MAY send `Working` with the ids of deliveries that are being worked on.
    Oc13,
    /// **OC-14** (SHOULD, pusher; docs/IMPLEMENTATION.md). The *return pause*: a pusher SHOULD pause a link whose
    /// puller returns more messages than it settles.
    Oc14,
    /// **RC-1** (MUST, both; SPEC.md). On an `Ack` with `recall` or `leaving`, the pusher gives up all unused credit of
    /// the link: it sends `Skip{next_id = message_limit, bytes = max(0, byte_limit − bytes sent)}` after every delivery
    /// that it has already assigned to the link, and counts both as used.
    Rc1,
    /// **RC-2** (MUST, both; SPEC.md). A puller has at most one recall outstanding on a link, and MUST NOT raise a
    /// limit before its `Skip` has arrived.
    Rc2,
    /// **RC-3** (MUST, puller; SPEC.md). A `Skip` without a recall is UNEXPECTED. A `Skip` is CREDIT if its `next_id`
    /// is below the next unused id or above `message_limit`, or if its `bytes` exceed the unused byte credit.
    Rc3,
    /// **RC-4** (MAY, puller; SPEC.md). A puller MAY release deliveries that its application has not received, but only
    /// after the `Skip` that answers a recall or leaving.
    Rc4,
    /// **RD-1** (MUST, both; SPEC.md). A link is lost when the stream ends without `Close`, for whatever reason the
    /// transport gives; after a reset; after a violation; after silence (LV-3); and after a `Close` that leaves
    /// deliveries un-acked.
    Rd1,
    /// **RD-2** (SHOULD, pusher; docs/IMPLEMENTATION.md). After a failed write, a pusher SHOULD read to the end of the
    /// stream, for at most 1 s, and apply the outcomes that it finds, before it requeues messages.
    Rd2,
    /// **RD-3** (MUST, pusher; SPEC.md). The un-acked messages of a lost link return to the front of the queue, in the
    /// order of their numbers.
    Rd3,
    /// **RD-4** (SHOULD, pusher; docs/IMPLEMENTATION.md). *Quarantine*: a message that was in flight (its frame was
    /// written) on two or more lost links whose pullers did not return (RD-8) waits as after a nack, and is then sent
    /// alone: to a link with nothing un-acked, which gets nothing else until the message is settled.
    Rd4,
    /// **RD-5** (SHOULD, puller; docs/IMPLEMENTATION.md). When a link is lost, a puller drops the deliveries that its
    /// application has not received.
    Rd5,
    /// **RD-6** (SHOULD, both; docs/IMPLEMENTATION.md). A connector that has lost a link, or whose attempt failed,
    /// connects again.
    Rd6,
    /// **RD-7** (SHOULD, both; docs/IMPLEMENTATION.md). After a refusal with a code that SPEC.md marks *final*, a
    /// connector does not connect again by itself, and reports the refusal to its application.
    Rd7,
    /// **RD-8** (SHOULD, pusher; docs/IMPLEMENTATION.md). The *reconnect grace*: if a link ended without a `Close`, or
    /// if the first `Close` of either side said SILENT, TOO_SLOW or REPLACED, a pusher SHOULD hold the messages whose
    /// frames had been written to the link for the same puller (HS-9), for 1 s by default.
    Rd8,
    /// **RD-9** (SHOULD, puller; docs/IMPLEMENTATION.md). *Duplicate suppression*: when a link is lost, a puller SHOULD
    /// remember, within a bound of its own, the messages that it has acked or rejected without knowing that the outcome
    /// arrived, and the messages that its application is working on.
    Rd9,
    /// **RD-10** (SHOULD, pusher; docs/IMPLEMENTATION.md). *Slow start after losses*: if lost links returned more than
    /// 10,000 units within one second (1 for each message and 1 more for every 4,096 bytes of it), a pusher SHOULD cap
    /// the in-flight messages of each link at 16 plus the number that it has had acked or rejected, until that second
    /// is over.
    Rd10,
    /// **RD-11** (MUST, pusher; docs/IMPLEMENTATION.md). *Restart with a store*: a pusher that keeps its messages in a
    /// store comes back with its instance (HS-8) and every message that was accepted and not settled.
    Rd11,
    /// **RR-1** (SHOULD, pusher; docs/IMPLEMENTATION.md). A pusher gives messages to its links in turn, one message
    /// each.
    Rr1,
    /// **RR-2** (SHOULD, pusher; docs/IMPLEMENTATION.md). A new link takes part from its first grant. Messages wait in
    /// the pusher only while no link takes part.
    Rr2,
    /// **RR-3** (SHOULD, pusher; docs/IMPLEMENTATION.md). Returned messages (RD-3, OC-6) go before messages that were
    /// never sent.
    Rr3,
    /// **ST-1** (MUST, both; SPEC.md). A puller that stops receiving sends `Ack{leaving}`. The pusher sends no further
    /// `Deliver` on the link, and answers with `Skip`, as for a recall.
    St1,
    /// **ST-2** (MUST, pusher; SPEC.md). A pusher sends `End` only when no message is queued, waiting for a retry, or
    /// un-acked on *any* of its links.
    St2,
    /// **ST-3** (SHOULD, pusher; docs/IMPLEMENTATION.md). For a moment after `End` (1 s by default, if a puller has
    /// been lost and has not returned), a pusher continues to accept and to connect, and answers each new link with
    /// `End`.
    St3,
    /// **ST-4** (MUST, both; SPEC.md). `Close` is answered by `Close`. A side that has sent one reads on, and ignores
    /// everything but outcomes and `Close`, until the peer's `Close`, the end of the stream, or 1 s has passed.
    St4,
    /// **ST-5** (SHOULD, pusher; docs/IMPLEMENTATION.md). A pusher that stops without `End`, to be restarted, waits for
    /// outcomes for at most its linger time, and closes with GOING_AWAY.
    St5,
    /// **ST-6** (MUST, puller; SPEC.md). After `End`, a puller does not connect to that pusher again, unless it was
    /// configured to wait for another pusher at the same address; then the waits of RD-6 apply.
    St6,
    /// **ST-7** (MUST, both; SPEC.md). After `End` a pusher sends no `Deliver`, no `Skip` and no second `End`: each is
    /// UNEXPECTED.
    St7,
    /// **ST-8** (MUST, pusher; SPEC.md). A pusher that aborts closes with ABORTED. It reports to its application which
    /// messages were not delivered (certainly not processed) and which were un-acked (unknown).
    St8,
    /// **TL-1** (MUST, both; SPEC.md). The TLS version MUST be 1.3 or later; an older peer is refused.
    Tl1,
    /// **TL-2** (MUST, both; SPEC.md). Before a connector sends a byte of the link, it MUST verify that the acceptor's
    /// certificate is valid now, is signed by a CA that the connector trusts, and is for the host of the endpoint or
    /// for a name that the connector was configured to expect.
    Tl2,
    /// **TL-3** (SHOULD, both; SPEC.md). The connector SHOULD offer the application protocol `tidegate/1` (ALPN), and
    /// an acceptor selects it.
    Tl3,
    /// **TL-4** (MAY, both; SPEC.md). An acceptor MAY request a certificate from the connector. If it does, it MUST
    /// verify the certificate before it reads a byte of the link, and MUST NOT continue without one.
    Tl4,
    /// **TL-5** (MAY, both; docs/IMPLEMENTATION.md). An acceptor MAY limit a pipeline to certain peers, by their
    /// verified names.
    Tl5,
    /// **TL-6** (MUST, both; docs/IMPLEMENTATION.md). The TLS handshake is part of the handshake: the deadline of HS-11
    /// begins with the connection, and HS-12 counts the connection.
    Tl6,
    /// **TL-7** (SHOULD, both; docs/IMPLEMENTATION.md). A side that receives bytes that are not TLS on a `tls://`
    /// endpoint, or TLS on a plain endpoint (FR-1), reports that to its user.
    Tl7,
    /// **TL-8** (SHOULD, both; docs/IMPLEMENTATION.md). New certificates, keys and CAs are used for new connections,
    /// and do not affect open links.
    Tl8,
    /// **TL-9** (MUST, both; docs/IMPLEMENTATION.md). The end of the stream is a loss of the link, with or without
    /// `close_notify` (RD-1).
    Tl9,
}

impl Rule {
    /// All rules, in their order.
    pub const ALL: &'static [Self] = &[
        Self::Cr1,
        Self::Cr2,
        Self::Cr3,
        Self::Cr4,
        Self::Cr5,
        Self::Cr6,
        Self::Cr7,
        Self::Cr8,
        Self::Cr9,
        Self::Cr10,
        Self::Dl1,
        Self::Dl2,
        Self::Dl3,
        Self::Dl4,
        Self::Dl5,
        Self::Dl6,
        Self::Dl7,
        Self::Er1,
        Self::Er2,
        Self::Fr1,
        Self::Fr2,
        Self::Fr3,
        Self::Fr4,
        Self::Fr5,
        Self::Fr6,
        Self::Fr7,
        Self::Gr1,
        Self::Gr2,
        Self::Gr3,
        Self::Hs1,
        Self::Hs2,
        Self::Hs3,
        Self::Hs4,
        Self::Hs5,
        Self::Hs6,
        Self::Hs7,
        Self::Hs8,
        Self::Hs9,
        Self::Hs10,
        Self::Hs11,
        Self::Hs12,
        Self::Hs13,
        Self::Hs14,
        Self::Lm1,
        Self::Lm2,
        Self::Lm3,
        Self::Lm4,
        Self::Lm5,
        Self::Lv1,
        Self::Lv2,
        Self::Lv3,
        Self::Lv4,
        Self::Lv5,
        Self::Lv6,
        Self::Lv7,
        Self::Lv8,
        Self::Oc1,
        Self::Oc2,
        Self::Oc3,
        Self::Oc4,
        Self::Oc5,
        Self::Oc6,
        Self::Oc7,
        Self::Oc8,
        Self::Oc9,
        Self::Oc10,
        Self::Oc11,
        Self::Oc12,
        Self::Oc13,
        Self::Oc14,
        Self::Rc1,
        Self::Rc2,
        Self::Rc3,
        Self::Rc4,
        Self::Rd1,
        Self::Rd2,
        Self::Rd3,
        Self::Rd4,
        Self::Rd5,
        Self::Rd6,
        Self::Rd7,
        Self::Rd8,
        Self::Rd9,
        Self::Rd10,
        Self::Rd11,
        Self::Rr1,
        Self::Rr2,
        Self::Rr3,
        Self::St1,
        Self::St2,
        Self::St3,
        Self::St4,
        Self::St5,
        Self::St6,
        Self::St7,
        Self::St8,
        Self::Tl1,
        Self::Tl2,
        Self::Tl3,
        Self::Tl4,
        Self::Tl5,
        Self::Tl6,
        Self::Tl7,
        Self::Tl8,
        Self::Tl9,
    ];

    /// The id of the rule, its document, its level, and the roles that need it.
    pub(super) const fn facts(self) -> (&'static str, &'static str, Level, &'static [Role]) {
        match self {
            Self::Cr1 => ("CR-1", SPEC, Level::Must, BOTH),
            Self::Cr2 => ("CR-2", SPEC, Level::Must, PUSHER),
            Self::Cr3 => ("CR-3", SPEC, Level::Must, PULLER),
            Self::Cr4 => ("CR-4", SPEC, Level::Must, BOTH),
            Self::Cr5 => ("CR-5", SPEC, Level::Must, PULLER),
            Self::Cr6 => ("CR-6", IMPLEMENTATION, Level::Should, PULLER),
            Self::Cr7 => ("CR-7", IMPLEMENTATION, Level::May, PULLER),
            Self::Cr8 => ("CR-8", IMPLEMENTATION, Level::Must, PUSHER),
            Self::Cr9 => ("CR-9", IMPLEMENTATION, Level::Must, PULLER),
            Self::Cr10 => ("CR-10", SPEC, Level::Must, PULLER),
            Self::Dl1 => ("DL-1", SPEC, Level::Must, BOTH),
            Self::Dl2 => ("DL-2", SPEC, Level::Must, BOTH),
            Self::Dl3 => ("DL-3", SPEC, Level::Must, PUSHER),
            Self::Dl4 => ("DL-4", SPEC, Level::Must, BOTH),
            Self::Dl5 => ("DL-5", SPEC, Level::Must, BOTH),
            Self::Dl6 => ("DL-6", SPEC, Level::Must, BOTH),
            Self::Dl7 => ("DL-7", SPEC, Level::Must, PULLER),
            Self::Er1 => ("ER-1", SPEC, Level::Must, BOTH),
            Self::Er2 => ("ER-2", SPEC, Level::Must, BOTH),
            Self::Fr1 => ("FR-1", SPEC, Level::Must, BOTH),
            Self::Fr2 => ("FR-2", SPEC, Level::Must, BOTH),
            Self::Fr3 => ("FR-3", SPEC, Level::Must, BOTH),
            Self::Fr4 => ("FR-4", SPEC, Level::Must, BOTH),
            Self::Fr5 => ("FR-5", SPEC, Level::Must, BOTH),
            Self::Fr6 => ("FR-6", SPEC, Level::Must, BOTH),
            Self::Fr7 => ("FR-7", SPEC, Level::Must, BOTH),
            Self::Gr1 => ("GR-1", SPEC, Level::Must, BOTH),
            Self::Gr2 => ("GR-2", SPEC, Level::Must, BOTH),
            Self::Gr3 => ("GR-3", SPEC, Level::Must, BOTH),
            Self::Hs1 => ("HS-1", SPEC, Level::Must, BOTH),
            Self::Hs2 => ("HS-2", SPEC, Level::Must, BOTH),
            Self::Hs3 => ("HS-3", SPEC, Level::Must, BOTH),
            Self::Hs4 => ("HS-4", SPEC, Level::Must, BOTH),
            Self::Hs5 => ("HS-5", SPEC, Level::Must, BOTH),
            Self::Hs6 => ("HS-6", SPEC, Level::Must, BOTH),
            Self::Hs7 => ("HS-7", SPEC, Level::Must, BOTH),
            Self::Hs8 => ("HS-8", SPEC, Level::Must, BOTH),
            Self::Hs9 => ("HS-9", SPEC, Level::Must, BOTH),
            Self::Hs10 => ("HS-10", SPEC, Level::Must, BOTH),
            Self::Hs11 => ("HS-11", SPEC, Level::Must, BOTH),
            Self::Hs12 => ("HS-12", IMPLEMENTATION, Level::Must, BOTH),
            Self::Hs13 => ("HS-13", IMPLEMENTATION, Level::Should, BOTH),
            Self::Hs14 => ("HS-14", IMPLEMENTATION, Level::Should, BOTH),
            Self::Lm1 => ("LM-1", IMPLEMENTATION, Level::Must, BOTH),
            Self::Lm2 => ("LM-2", IMPLEMENTATION, Level::Must, BOTH),
            Self::Lm3 => ("LM-3", SPEC, Level::May, BOTH),
            Self::Lm4 => ("LM-4", IMPLEMENTATION, Level::Should, PULLER),
            Self::Lm5 => ("LM-5", IMPLEMENTATION, Level::Should, BOTH),
            Self::Lv1 => ("LV-1", SPEC, Level::Must, BOTH),
            Self::Lv2 => ("LV-2", SPEC, Level::Must, BOTH),
            Self::Lv3 => ("LV-3", SPEC, Level::Must, BOTH),
            Self::Lv4 => ("LV-4", SPEC, Level::Must, BOTH),
            Self::Lv5 => ("LV-5", SPEC, Level::Must, BOTH),
            Self::Lv6 => ("LV-6", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Lv7 => ("LV-7", SPEC, Level::Must, BOTH),
            Self::Lv8 => ("LV-8", SPEC, Level::Should, PUSHER),
            Self::Oc1 => ("OC-1", SPEC, Level::Must, BOTH),
            Self::Oc2 => ("OC-2", SPEC, Level::Must, PUSHER),
            Self::Oc3 => ("OC-3", SPEC, Level::Must, PUSHER),
            Self::Oc4 => ("OC-4", SPEC, Level::Must, PUSHER),
            Self::Oc5 => ("OC-5", SPEC, Level::Must, PULLER),
            Self::Oc6 => ("OC-6", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Oc7 => ("OC-7", SPEC, Level::Must, BOTH),
            Self::Oc8 => ("OC-8", SPEC, Level::Must, PUSHER),
            Self::Oc9 => ("OC-9", SPEC, Level::Must, PUSHER),
            Self::Oc10 => ("OC-10", SPEC, Level::Must, BOTH),
            Self::Oc11 => ("OC-11", IMPLEMENTATION, Level::May, PUSHER),
            Self::Oc12 => ("OC-12", IMPLEMENTATION, Level::May, PUSHER),
            Self::Oc13 => ("OC-13", SPEC, Level::May, BOTH),
            Self::Oc14 => ("OC-14", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rc1 => ("RC-1", SPEC, Level::Must, BOTH),
            Self::Rc2 => ("RC-2", SPEC, Level::Must, BOTH),
            Self::Rc3 => ("RC-3", SPEC, Level::Must, PULLER),
            Self::Rc4 => ("RC-4", SPEC, Level::May, PULLER),
            Self::Rd1 => ("RD-1", SPEC, Level::Must, BOTH),
            Self::Rd2 => ("RD-2", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rd3 => ("RD-3", SPEC, Level::Must, PUSHER),
            Self::Rd4 => ("RD-4", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rd5 => ("RD-5", IMPLEMENTATION, Level::Should, PULLER),
            Self::Rd6 => ("RD-6", IMPLEMENTATION, Level::Should, BOTH),
            Self::Rd7 => ("RD-7", IMPLEMENTATION, Level::Should, BOTH),
            Self::Rd8 => ("RD-8", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rd9 => ("RD-9", IMPLEMENTATION, Level::Should, PULLER),
            Self::Rd10 => ("RD-10", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rd11 => ("RD-11", IMPLEMENTATION, Level::Must, PUSHER),
            Self::Rr1 => ("RR-1", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rr2 => ("RR-2", IMPLEMENTATION, Level::Should, PUSHER),
            Self::Rr3 => ("RR-3", IMPLEMENTATION, Level::Should, PUSHER),
            Self::St1 => ("ST-1", SPEC, Level::Must, BOTH),
            Self::St2 => ("ST-2", SPEC, Level::Must, PUSHER),
            Self::St3 => ("ST-3", IMPLEMENTATION, Level::Should, PUSHER),
            Self::St4 => ("ST-4", SPEC, Level::Must, BOTH),
            Self::St5 => ("ST-5", IMPLEMENTATION, Level::Should, PUSHER),
            Self::St6 => ("ST-6", SPEC, Level::Must, PULLER),
            Self::St7 => ("ST-7", SPEC, Level::Must, BOTH),
            Self::St8 => ("ST-8", SPEC, Level::Must, PUSHER),
            Self::Tl1 => ("TL-1", SPEC, Level::Must, BOTH),
            Self::Tl2 => ("TL-2", SPEC, Level::Must, BOTH),
            Self::Tl3 => ("TL-3", SPEC, Level::Should, BOTH),
            Self::Tl4 => ("TL-4", SPEC, Level::May, BOTH),
            Self::Tl5 => ("TL-5", IMPLEMENTATION, Level::May, BOTH),
            Self::Tl6 => ("TL-6", IMPLEMENTATION, Level::Must, BOTH),
            Self::Tl7 => ("TL-7", IMPLEMENTATION, Level::Should, BOTH),
            Self::Tl8 => ("TL-8", IMPLEMENTATION, Level::Should, BOTH),
            Self::Tl9 => ("TL-9", IMPLEMENTATION, Level::Must, BOTH),
        }
    }
}

//! Links that a pusher gives up because they are silent or stuck (LV-3, LV-8). The wire does not always show when.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate::Code;

use super::super::history::{Entry, FrameSummary, What, Wire};

/// The codes with which a side closes a link that it has given up.
const CODES: [Code; 2] = [Code::Silent, Code::TooSlow];

/// Links that are closed with SILENT or TOO_SLOW at some time, whether or not the stream accepts that Close.
pub(super) fn closes<'a>(history: impl Iterator<Item = &'a Entry>) -> BTreeSet<Wire> {
    let (mut links, mut wires) = (BTreeSet::new(), BTreeSet::new());
    for entry in history {
        match &entry.what {
            What::Sent(wire, FrameSummary::Close(code)) if CODES.map(|code| code as i32).contains(code) => {
                links.insert(wire.clone());
            }
            What::Sent(wire, _) => {
                wires.insert(wire.clone());
            }
            What::Disconnected(_, name, Some(code), false) if CODES.contains(code) => {
                links.extend(wires.iter().find(|wire| wire.name.as_ref() == name.as_str()).cloned());
            }
            _ => {}
        }
    }
    links
}

/// Links that end with SILENT although the stream never accepted that Close, with the time at which frames are read in
/// vain. At this time a silence of at least two whole intervals ends, and too late: the link is not used any more, and
/// its end is reported before it could be silent again.
pub(super) fn unseen<'a>(
    history: impl Iterator<Item = &'a Entry>,
    heartbeat: Duration,
) -> BTreeMap<Wire, Duration> {
    let mut last_read = BTreeMap::<Wire, Duration>::new();
    let mut after_silence = BTreeMap::<Wire, Duration>::new();
    let mut closed = BTreeSet::new();
    let mut found = BTreeMap::new();
    for entry in history {
        match &entry.what {
            What::Read(wire, _) => {
                let before = last_read.insert(wire.clone(), entry.at);
                if before.is_some_and(|before| before + heartbeat * 2 <= entry.at) {
                    after_silence.insert(wire.clone(), entry.at);
                } else if before != Some(entry.at) {
                    after_silence.remove(wire);
                }
            }
            What::Sent(wire, FrameSummary::Deliver(..) | FrameSummary::Skip(..) | FrameSummary::End) => {
                after_silence.remove(wire);
            }
            What::Sent(wire, FrameSummary::Close(_)) => {
                closed.insert(wire.clone());
            }
            What::Disconnected(_, name, Some(Code::Silent), false) => {
                let wire = after_silence.keys().find(|wire| wire.name.as_ref() == name.as_str()).cloned();
                if let Some((wire, at)) = wire.and_then(|wire| after_silence.remove_entry(&wire))
                    && !closed.contains(&wire)
                    && entry.at < at + heartbeat * 3
                {
                    found.insert(wire, at);
                }
            }
            _ => {}
        }
    }
    found
}

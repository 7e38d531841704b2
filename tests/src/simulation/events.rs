//! Records the library's events about links.

use tidegate::{Event, Events};

use super::history::{Pen, What};

pub(super) fn follow(mut events: Events, pen: Pen) {
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                Event::Connected { link, peer } => pen.write(What::Connected(link, peer.address)),
                Event::Disconnected { link, peer, end } => {
                    pen.write(What::Disconnected(link, peer.address, end.code, end.by_peer));
                }
                Event::Refused { code, .. } | Event::RefusedPeer { code, .. } => {
                    pen.write(What::Refused(code));
                }
                Event::Lagged(count) => panic!("{count} events were missed"),
                _ => {}
            }
        }
    });
}

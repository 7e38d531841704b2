//! How a message is written: its bare payload, or a JSON object with its id, attempt and headers.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tidegate::Delivery;

use crate::records::Framing;

/// How messages are written and separated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendering {
    pub(crate) json: bool,
    pub(crate) framing: Framing,
}

/// The JSON object of a delivery. Values that are not UTF-8 are encoded as base64.
#[derive(Serialize)]
struct Envelope<'a> {
    id: String,
    attempt: u32,
    pipeline: &'a str,
    /// The verified names of the pusher.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    names: &'a [String],
    /// Pairs, not an object: names may repeat, and their order is kept.
    headers: Vec<(&'a str, Value<'a>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(&'a str),
    Binary { base64: String },
}

impl<'a> Envelope<'a> {
    fn new(
        id: String,
        attempt: u32,
        (pipeline, names): (&'a str, &'a [String]),
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        payload: &'a [u8],
    ) -> Self {
        let headers = headers
            .map(|(name, value)| {
                let value = std::str::from_utf8(value)
                    .map_or_else(|_| Value::Binary { base64: STANDARD.encode(value) }, Value::Text);
                (name, value)
            })
            .collect();
        let text = std::str::from_utf8(payload).ok();
        let payload_base64 = text.is_none().then(|| STANDARD.encode(payload));
        Self { id, attempt, pipeline, names, headers, payload: text, payload_base64 }
    }
}

impl Rendering {
    /// The content for a delivery, without framing.
    ///
    /// # Errors
    /// If it cannot be encoded as JSON, which should not happen.
    pub(crate) fn content<'a>(&self, delivery: &'a Delivery) -> io::Result<Cow<'a, [u8]>> {
        if !self.json {
            return Ok(Cow::Borrowed(delivery.payload()));
        }
        let headers = delivery.headers();
        let headers = headers.iter().map(|(name, value)| (name, &value[..]));
        let origin = (delivery.pipeline(), delivery.peer_names());
        let envelope =
            Envelope::new(delivery.id().to_string(), delivery.attempt(), origin, headers, delivery.payload());
        Ok(Cow::Owned(serde_json::to_vec(&envelope)?))
    }

    /// Appends a delivery as a record.
    ///
    /// # Errors
    /// If it is too long for the framing.
    pub(crate) fn put(&self, out: &mut Vec<u8>, delivery: &Delivery) -> io::Result<()> {
        self.framing.put(out, &self.content(delivery)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(headers: &[(&str, &[u8])], payload: &[u8]) -> String {
        let headers = headers.iter().copied();
        serde_json::to_string(&Envelope::new("ab-7".into(), 2, ("jobs", &[]), headers, payload)).unwrap()
    }

    #[test]
    fn verified_names_are_shown_if_there_are_some() {
        let names = ["a.example".to_owned(), "urn:b".to_owned()];
        let envelope = Envelope::new("ab-7".into(), 1, ("", &names), std::iter::empty(), b"");
        assert_eq!(
            serde_json::to_string(&envelope).unwrap(),
            r#"{"id":"ab-7","attempt":1,"pipeline":"","names":["a.example","urn:b"],"headers":[],"payload":""}"#
        );
    }

    #[test]
    fn utf_8_is_written_as_text() {
        assert_eq!(
            json(&[("k", b"v"), ("k", b"w")], "é \"\n".as_bytes()),
            r#"{"id":"ab-7","attempt":2,"pipeline":"jobs","headers":[["k","v"],["k","w"]],"payload":"é \"\n"}"#
        );
    }

    #[test]
    fn other_bytes_are_written_as_base64() {
        assert_eq!(
            json(&[("k", &[0xff])], &[0xff, 0]),
            r#"{"id":"ab-7","attempt":2,"pipeline":"jobs","headers":[["k",{"base64":"/w=="}]],"payload_base64":"/wA="}"#
        );
    }

    #[test]
    fn an_envelope_is_one_line_whatever_the_payload() {
        for payload in [&b"\n"[..], b"\r\n\0", b"\xff\n"] {
            let object = json(&[], payload);
            assert!(Framing::Newline.carries(object.as_bytes()) && Framing::Null.carries(object.as_bytes()));
        }
    }
}

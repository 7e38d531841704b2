//! Values of options: sizes, durations, endpoints, headers.

use std::time::Duration;

use bytes::Bytes;
use tidegate::Endpoint;

/// Linger "for ever".
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// The most headers that a message may have (DL-5).
pub(crate) const MAX_HEADERS: usize = 64;
/// The most octets that the name of a header may have (DL-5).
const MAX_HEADER_NAME: usize = 256;

/// A header that is added to every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: Bytes,
}

/// An endpoint, checked now so that a mistake is a usage error.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse::<Endpoint>().map_err(|error| error.to_string())
}

/// A number of octets: `4096`, `64KiB`, `16 MiB`. At least 1.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let right = "a size such as 4096, 64KiB or 16MiB would be right";
    let size = text.trim().parse::<bytesize::ByteSize>().map_err(|_| right.to_owned())?.as_u64();
    match usize::try_from(size) {
        Ok(0) => Err(format!("it must be at least 1 byte; {right}")),
        Ok(size) => Ok(size),
        Err(_) => Err(format!("it does not fit this machine; {right}")),
    }
}

/// A number of octets, or none.
pub(crate) fn size_or_zero(text: &str) -> Result<usize, String> {
    if text.trim() == "0" { Ok(0) } else { size(text) }
}

/// A duration: `500ms`, `25s`, `2min 30s`; a bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong_duration());
    }
    humantime::parse_duration(text).map_err(|_| wrong_duration())
}

/// A duration above zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("it must be longer than nothing; {}", wrong_duration())),
        some => Ok(some),
    }
}

/// A duration, or `forever`.
pub(crate) fn linger(text: &str) -> Result<Duration, String> {
    if text.trim() == "forever" {
        Ok(FOR_EVER)
    } else {
        duration(text).map_err(|e| format!("{e}, and so would `forever`"))
    }
}

fn wrong_duration() -> String {
    "a duration such as 500ms, 25s or 2min would be right".to_owned()
}

/// `NAME: VALUE`. Spaces around both are dropped.
pub(crate) fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("there is no colon; `NAME: VALUE` would be right")?;
    let name = name.trim();
    if name.is_empty() || name.len() > MAX_HEADER_NAME {
        return Err(format!("the name has {} bytes; 1 to {MAX_HEADER_NAME} would be right", name.len()));
    }
    Ok(Header { name: name.to_owned(), value: Bytes::from(value.trim().to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("16 MiB"), Ok(16 << 20));
        assert_eq!(size_or_zero("0"), Ok(0));
        for wrong in ["0", "", "much", "-1", "16 parsecs"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("25"), Ok(Duration::from_secs(25)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2min 30s"), Ok(Duration::from_secs(150)));
        assert_eq!(linger("forever"), Ok(FOR_EVER));
        assert_eq!(linger("0"), Ok(Duration::ZERO));
        for wrong in ["", "soon", "-1", "5 apples", "inf", "NaN"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn headers() {
        let parsed = header("traceparent: 00-a:b").unwrap();
        assert_eq!((parsed.name.as_str(), &parsed.value[..]), ("traceparent", &b"00-a:b"[..]));
        assert_eq!(header("empty:").unwrap().value, Bytes::new());
        assert!(header("no colon").is_err());
        assert!(header(": value").is_err());
        assert!(header(&format!("{}: v", "n".repeat(257))).is_err());
    }
}

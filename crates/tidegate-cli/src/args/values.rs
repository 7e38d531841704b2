//! Values of options: sizes, durations, endpoints, headers.

use std::time::Duration;

use bytes::Bytes;
use tidegate::Endpoint;

/// Linger without a time limit.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// Maximum number of headers of a message (DL-5).
pub(crate) const MAX_HEADERS: usize = 64;
/// Maximum length of the name of a header, in bytes (DL-5).
const MAX_HEADER_NAME: usize = 256;

/// Maximum length of the name of a peer, in bytes (HS-10).
const MAX_NAME: usize = 256;
/// Maximum of `--max-message`, in bytes (HS-7).
const MAX_MAX_MESSAGE: usize = (1 << 31) - 65_536;

/// A header to add to every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: Bytes,
}

/// An endpoint, parsed here so that a mistake is a usage error.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse::<Endpoint>().map_err(|error| error.to_string())
}

/// A number of bytes: `4096`, `64KiB`, `16 MiB`. At least 1.
///
/// # Errors
/// A text for the user, if it is something else.
pub fn size(text: &str) -> Result<usize, String> {
    let expected = "expected a size such as 4096, 64KiB or 16MiB";
    let size = text.trim().parse::<bytesize::ByteSize>().map_err(|_| expected.to_owned())?.as_u64();
    match usize::try_from(size) {
        Ok(0) => Err("must be at least 1 byte".to_owned()),
        Ok(size) => Ok(size),
        Err(_) => Err(format!("must be at most {} bytes on this machine", usize::MAX)),
    }
}

/// The shortest text from which [`size`] reads this number of bytes, for a default.
pub(crate) fn size_text(bytes: usize) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// A duration as text, for a default.
pub(crate) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The maximum size of a message, within its own limit (HS-7).
pub(crate) fn message_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        size if size > MAX_MAX_MESSAGE => {
            Err(format!("must be at most {MAX_MAX_MESSAGE} bytes (2 GiB - 64 KiB)"))
        }
        size => Ok(size),
    }
}

/// The heartbeat interval, within its limits (LV-1).
pub(crate) fn heartbeat(text: &str) -> Result<Duration, String> {
    let valid = Duration::from_millis(100)..=Duration::from_mins(1);
    duration(text).and_then(|d| valid.contains(&d).then_some(d).ok_or("must be between 100ms and 60s".into()))
}

/// The mode of the file of a unix socket, in the octal form of chmod: `660`, `0o660`.
pub(crate) fn unix_mode(text: &str) -> Result<u32, String> {
    let expected = "must be octal, from 600 to 777, with read and write for the owner, such as 660";
    let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).map_err(|_| expected.to_owned())?;
    if mode <= 0o777 && mode & 0o600 == 0o600 { Ok(mode) } else { Err(expected.to_owned()) }
}

/// The reconnect grace, at most 1 hour.
pub(crate) fn grace(text: &str) -> Result<Duration, String> {
    let fits = |d: Duration| (d <= Duration::from_hours(1)).then_some(d);
    duration(text).and_then(|d| fits(d).ok_or("must be at most 1h".into()))
}

/// The name of a peer (HS-10).
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text.len() {
        length if length > MAX_NAME => Err(format!("the name has {length} bytes; the maximum is {MAX_NAME}")),
        _ => Ok(text.to_owned()),
    }
}

/// A duration: `500ms`, `25s`, `2min 30s`; a bare number means seconds.
///
/// # Errors
/// A text for the user, if it is something else.
pub fn duration(text: &str) -> Result<Duration, String> {
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
        Duration::ZERO => Err("must be longer than 0s".to_owned()),
        some => Ok(some),
    }
}

/// A duration, or `forever`.
pub(crate) fn linger(text: &str) -> Result<Duration, String> {
    if text.trim() == "forever" {
        Ok(FOR_EVER)
    } else {
        duration(text).map_err(|e| format!("{e}, or `forever`"))
    }
}

fn wrong_duration() -> String {
    "expected a duration such as 500ms, 25s or 2min".to_owned()
}

/// `NAME: VALUE`. Spaces around both are removed.
pub(crate) fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("expected `NAME: VALUE`")?;
    let name = name.trim();
    if name.is_empty() || name.len() > MAX_HEADER_NAME {
        return Err(format!("the name has {} bytes; it must have 1 to {MAX_HEADER_NAME}", name.len()));
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
        for wrong in ["0", "", "much", "-1", "16 parsecs"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_default_that_is_shown_is_parsed_as_the_same_value() {
        for bytes in [1, 1_000, 64 << 10, 16 << 20, 3 << 30] {
            assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }
        assert_eq!(size_text(16 << 20), "16MiB");
        for millis in [100, 1_000, 90_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(duration(&duration_text(time)), Ok(time));
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
    fn values_that_the_library_refuses_are_usage_errors() {
        assert!(message_size("2147418112").is_ok() && message_size("3GiB").is_err());
        assert!(heartbeat("100ms").is_ok() && heartbeat("10ms").is_err() && heartbeat("61s").is_err());
        assert!(grace("0s").is_ok() && grace("1h").is_ok() && grace("2h").is_err());
        assert!(name(&"n".repeat(256)).is_ok() && name(&"n".repeat(257)).is_err());
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

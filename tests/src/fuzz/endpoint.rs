//! Endpoints: any text can be parsed without a panic, and an accepted endpoint survives display and parsing.

use tidegate::Endpoint;

pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            assert!(endpoint.pipeline().len() <= 256);
            let shown = endpoint.to_string();
            let again: Endpoint =
                shown.parse().unwrap_or_else(|e| panic!("{text:?} is shown as {shown:?}: {e}"));
            assert_eq!(again, endpoint, "{text:?} is shown as {shown:?}");
        }
        Err(error) => assert!(error.to_string().len() > 20, "the error explains the correct form: {error}"),
    }
}

//! Sends messages, and returns from `main` at once. `tests/returning.rs` runs it.

#![forbid(unsafe_code)]

use std::{error::Error, io, time::Duration};

use tidegate::Push;

/// The number of messages; each is its number.
const COUNT: u8 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [form, at] = &arguments[..] else {
        return Err("usage: returning async|blocking|lingering ENDPOINT".into());
    };
    let messages = (0..COUNT).map(|number| vec![number]);
    let builder = Push::builder().connect(at);
    match form.as_str() {
        "async" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                Ok::<_, Box<dyn Error>>(builder.build().await?.send_all(messages).await?)
            })?;
        }
        "blocking" => drop(builder.blocking_build()?.blocking_send_all(messages)?),
        "lingering" => {
            let push = builder.linger_on_drop(Duration::from_secs(60)).blocking_build()?;
            push.blocking_send_all(messages)?;
        }
        _ => return Err(format!("{form} is unknown").into()),
    }
    Ok(())
}

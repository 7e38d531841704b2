//! `tidegate-bench report`: saved results as one self-contained HTML page with plots.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use tidegate_cli::shared::thousands;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const COLOURS: [&str; 6] = ["#1f6f8b", "#c8553d", "#588157", "#7b5ea7", "#b08900", "#444444"];

/// One line of a plot: a name and its points.
type Series = (String, Vec<(f64, f64)>);

/// The page with all results in these files.
///
/// # Errors
/// If a file cannot be read, or does not contain output of `--json`.
pub(crate) fn page(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut results = Vec::new();
    for file in files {
        results.extend(read(file)?);
    }
    let mut body = String::new();
    rates(&mut body, &results);
    latencies(&mut body, &results);
    makespans(&mut body, &results);
    soaks(&mut body, &results);
    let style = "body{font:15px/1.5 system-ui,sans-serif;max-width:720px;margin:2em auto;padding:0 1em}\
        table{border-collapse:collapse;margin:1em 0}\
        td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:right}\
        td:first-child,th:first-child{text-align:left}text{font:12px system-ui,sans-serif}";
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>tidegate benchmarks</title>\n\
         <style>{style}</style>\n<h1>tidegate benchmarks</h1>\n\
         <p>{} results. Over loopback; every message is acked, except with plain TCP.</p>\n{body}</html>\n",
        results.len()
    ))
}

fn read(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let objects = objects.collect::<Result<Vec<_>, _>>();
    let objects = objects.with_context(|| format!("{} does not contain JSON objects", file.display()))?;
    anyhow::ensure!(
        objects.iter().all(|object| object["bench"].is_string()),
        "{} contains something that no benchmark prints with --json",
        file.display()
    );
    Ok(objects)
}

fn of<'a>(results: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    results.iter().filter(move |result| result["bench"] == kind)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// Throughput, fan-out, fan-in and TCP: a table and bars.
fn rates(body: &mut String, results: &[Value]) {
    let mut rows = Vec::new();
    for kind in ["throughput", "fanout", "fanin", "tcp"] {
        for result in of(results, kind) {
            let mut name = format!("{kind}, {} B", result["size"]);
            for side in ["pushers", "pullers"] {
                if number(&result[side]) > 1.0 {
                    let _ = write!(name, ", {} {side}", result[side]);
                }
            }
            if let Some(window) = result["window"].as_u64() {
                let _ = write!(name, ", window {window}");
            }
            rows.push((name, number(&result["msgs_per_s"]), number(&result["mib_per_s"])));
        }
    }
    if rows.is_empty() {
        return;
    }
    body.push_str("<h2>Rates</h2>\n<table><tr><th></th><th>messages/s</th><th>MiB/s</th></tr>\n");
    for (name, rate, mib) in &rows {
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td>{}</td><td>{mib:.1}</td></tr>",
            escaped(name),
            thousands(*rate as u64)
        );
    }
    body.push_str("</table>\n");
    bars(body, "MiB/s", &rows.into_iter().map(|(name, _, mib)| (name, mib)).collect::<Vec<_>>());
}

fn latencies(body: &mut String, results: &[Value]) {
    let mut series = Vec::new();
    let mut table = String::new();
    for result in of(results, "latency") {
        for (field, what) in
            [("latency", "tidegate"), ("tokio_echo", "tokio echo"), ("blocking_echo", "blocking echo")]
        {
            let found = &result[field];
            let Some(curve) = found["curve"].as_array() else { continue };
            let mut name = format!("{what}, {} B", result["size"]);
            if let Some(rate) = result["rate"].as_u64() {
                let _ = write!(name, ", one way at {}/s", thousands(rate));
            }
            if number(&result["busy_poll_us"]) > 0.0 && field == "latency" {
                name += ", busy poll";
            }
            let _ = writeln!(
                table,
                "<tr><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td></tr>",
                escaped(&name),
                number(&found["p50"]),
                number(&found["p99"]),
                number(&found["p999"]),
                number(&found["max"])
            );
            // The number of nines, so that the tail is visible.
            let point = |pair: &Value| {
                let nines = -(1.0 - number(&pair[0]) / 100.0).max(1e-5).log10();
                (nines, number(&pair[1]))
            };
            series.push((name, curve.iter().map(point).collect()));
        }
    }
    if series.is_empty() {
        return;
    }
    let head =
        "<h2>Latency</h2>\n<table><tr><th>µs</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n";
    let _ = writeln!(body, "{head}{table}</table>");
    lines(body, "µs, by nines of the percentile (1: p90, 2: p99, 3: p99.9)", &series);
}

fn makespans(body: &mut String, results: &[Value]) {
    let mut table = String::new();
    for result in of(results, "makespan") {
        let _ = writeln!(
            table,
            "<tr><td>{} jobs, window {}</td><td>{:.2}</td><td>{:.2}</td><td>{:.3}</td></tr>",
            thousands(number(&result["jobs"]) as u64),
            escaped(&result["window"].to_string()),
            number(&result["seconds"]),
            number(&result["ideal_seconds"]),
            number(&result["ratio"])
        );
    }
    if !table.is_empty() {
        let head =
            "<h2>Makespan</h2>\n<table><tr><th></th><th>seconds</th><th>ideal</th><th>ratio</th></tr>\n";
        let _ = writeln!(body, "{head}{table}</table>");
    }
}

fn soaks(body: &mut String, results: &[Value]) {
    for result in of(results, "soak") {
        let Some(samples) = result["samples"].as_array() else { continue };
        let series = |field: &str, name: &str| -> Series {
            let point = |sample: &Value| (number(&sample["second"]), number(&sample[field]));
            (name.to_owned(), samples.iter().map(point).collect())
        };
        let _ = writeln!(
            body,
            "<h2>Soak</h2>\n<p>{} messages, all acked; {} pullers killed, {} messages redelivered.</p>",
            thousands(number(&result["acked"]) as u64),
            result["killed"],
            thousands(number(&result["redelivered"]) as u64)
        );
        lines(body, "messages acked per second, by second", &[series("acked_per_s", "acked/s")]);
        let memory = [series("push_kib", "pusher"), series("pull_kib", "all pullers")];
        lines(body, "resident memory in KiB, by second", &memory);
    }
}

fn bars(body: &mut String, unit: &str, rows: &[(String, f64)]) {
    let most = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
    let height = 26.0 * rows.len() as f64;
    let _ = writeln!(body, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{unit}</title>");
    for (index, (name, value)) in rows.iter().enumerate() {
        let (y, width) = (26.0 * index as f64, (WIDTH - 330.0) * value / most);
        let _ = writeln!(
            body,
            "<text x=\"0\" y=\"{}\">{}</text>\
             <rect x=\"230\" y=\"{}\" width=\"{width:.1}\" height=\"18\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{value:.0} {unit}</text>",
            y + 16.0,
            escaped(name),
            y + 3.0,
            COLOURS[0],
            236.0 + width,
            y + 16.0
        );
    }
    body.push_str("</svg>\n");
}

fn lines(body: &mut String, title: &str, series: &[Series]) {
    let points = || series.iter().flat_map(|(_, points)| points);
    let right = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
    let top = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let height = HEIGHT + 24.0 + 18.0 * series.len() as f64;
    let _ = writeln!(
        body,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{title}</title>\
         <text x=\"0\" y=\"12\">{title}; the top is {}</text>\
         <path d=\"M0 {HEIGHT}H{WIDTH}M0 20V{HEIGHT}\" stroke=\"#999\" fill=\"none\"/>",
        thousands(top.round() as u64)
    );
    for (index, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = (x / right * WIDTH, HEIGHT - y / top * (HEIGHT - 20.0));
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let y = HEIGHT + 18.0 * (index + 1) as f64;
        let _ = writeln!(
            body,
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"/>\
             <text x=\"0\" y=\"{y}\" fill=\"{colour}\">{}</text>",
            escaped(name)
        );
    }
    body.push_str("</svg>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_every_kind_of_result_and_refuses_other_objects() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.json");
        let results = r#"{"bench":"throughput","size":64,"msgs_per_s":12000000.5,"mib_per_s":732.1,"window":"auto"}
{"bench":"latency","size":64,"busy_poll_us":0,
 "latency":{"p50":80.5,"p99":120.0,"p999":1,"max":2,"curve":[[50.0,80.5],[99.0,120.0]]}}
{"bench":"makespan","jobs":10,"window":"auto","seconds":2.0,"ideal_seconds":1.9,"ratio":1.05}
{"bench":"soak","acked":5,"killed":1,"redelivered":2,
 "samples":[{"second":1,"acked_per_s":5,"push_kib":1,"pull_kib":2}]}"#;
        std::fs::write(&file, results).unwrap();
        let page = page(std::slice::from_ref(&file)).unwrap();
        for part in ["12,000,000", "80.5", "1.050", "<h2>Soak</h2>", "4 results"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        std::fs::write(&file, "{\"x\":1}").unwrap();
        assert!(super::page(&[file]).unwrap_err().to_string().contains("no benchmark prints"));
    }
}

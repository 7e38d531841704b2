//! The table at the end: what each worker did.

use std::fmt::Write as _;

use super::tally::{Row, Tally};
use crate::text::thousands;

const HEAD: [&str; 6] = ["worker", "speed", "messages", "share", "redeliveries", "duplicates dropped"];

/// One line for each worker, and one for all.
pub(crate) fn render(tally: &Tally) -> String {
    table(tally.rows())
}

fn table(rows: &[Row]) -> String {
    let all = rows.iter().map(|row| row.files).sum::<u64>();
    let cells = |name: &str, speed: String, row: &Row| {
        let share = 100.0 * row.files as f64 / all.max(1) as f64;
        [
            name.to_owned(),
            speed,
            thousands(row.files),
            format!("{share:.1} %"),
            thousands(row.redeliveries),
            thousands(row.repeats),
        ]
    };
    let mut lines = vec![HEAD.map(str::to_owned)];
    let mut total = Row::default();
    for row in rows {
        let name = if row.killed { format!("{} (killed)", row.name) } else { row.name.clone() };
        lines.push(cells(&name, row.speed.to_string(), row));
        total.files += row.files;
        total.redeliveries += row.redeliveries;
        total.repeats += row.repeats;
    }
    lines.push(cells("all", String::new(), &total));

    let mut widths = [0; HEAD.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        for (i, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Writing to a string does not fail.
            let _ = if i == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_shares_are_of_all() {
        let row = |name: &str, speed, files, redeliveries, killed| Row {
            name: name.into(),
            speed,
            files,
            redeliveries,
            repeats: 0,
            killed,
        };
        let text = table(&[row("worker-1", 1, 1500, 3, false), row("worker-2", 2, 500, 0, true)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "worker             speed  messages    share  redeliveries  duplicates dropped",
                "worker-1               1     1,500   75.0 %             3                   0",
                "worker-2 (killed)      2       500   25.0 %             0                   0",
                "all                          2,000  100.0 %             3                   0",
            ]
        );
    }

    #[test]
    fn a_table_without_messages_has_a_share_of_zero() {
        assert!(table(&[Row::default()]).contains("0.0 %"));
    }
}

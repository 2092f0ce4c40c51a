//! The demo's figures for eyes.

use std::fmt::Write;
use std::time::Duration;

use crate::cli::demo::figures::DemoFigures;
use crate::cli::words;

/// The table, with its closing line.
pub(super) fn render(figures: &DemoFigures) -> String {
    let mut rows = vec![
        ("delivered", format!("{} of {}", grouped(figures.delivered), grouped(figures.accepted))),
        ("lost", grouped(figures.lost)),
        ("duplicates", grouped(figures.duplicates)),
        ("most arrivals in any sliding second", against(figures.peak, figures.limit)),
    ];
    if let Some(peak) = figures.sender_peak {
        let peak = usize::try_from(peak).unwrap_or(usize::MAX);
        rows.push(("most starts in any sliding second, at the sender", against(peak, figures.limit)));
    }
    if let Some(used) = figures.used {
        rows.push(("limit used after the first second", format!("{:.2} %", used * 100.0)));
    }
    rows.push(("time from the first arrival to the last", seconds(figures.duration)));
    for (what, share) in [
        ("hand-in to arrival, waiting included: median", 0.5),
        ("                                      p90", 0.9),
        ("                                      p99", 0.99),
        ("                                      longest", 1.0),
    ] {
        rows.push((what, seconds(figures.latency(share))));
    }
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let mut out = String::from("\nmeasured at the receiver\n");
    for (what, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {what:width$}  {value}");
    }
    if figures.peak > usize::try_from(figures.limit).unwrap_or(usize::MAX) {
        out.push_str("\nThe limit holds where calls start. What left evenly may arrive a little bunched.\n");
    }
    out
}

fn against(peak: usize, limit: u32) -> String {
    format!("{} (limit {})", grouped(peak), grouped(usize::try_from(limit).unwrap_or(usize::MAX)))
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
    }
    format!("{:.2} s", duration.as_secs_f64())
}

/// [`words::grouped`] for what is counted in memory.
pub(super) fn grouped(number: usize) -> String {
    words::grouped(u64::try_from(number).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }

    #[test]
    fn the_table_has_a_row_for_each_figure_that_there_is() {
        let figures = DemoFigures::measure(&HashMap::new(), &[], 1_000, None);
        let bare = render(&figures);
        assert!(bare.contains("lost"), "{bare}");
        assert!(!bare.contains("limit used"), "{bare}");
        let full = render(&DemoFigures { used: Some(0.9987), sender_peak: Some(1_000), ..figures });
        assert!(full.contains("99.87 %"), "{full}");
        assert!(full.contains("1 000 (limit 1 000)"), "{full}");
    }
}

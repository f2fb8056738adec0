//! What the bench prints: tables of plain text, the only place that writes to standard output.

use std::io::Write;

use crate::samples::Samples;

/// A figure with its name.
pub(crate) type Row<'a> = (&'a str, &'a Samples);
/// A figure, its name, and the figure of the peer that it is divided by.
pub(crate) type Ratio<'a> = (&'a str, &'a Samples, &'a Samples);

const NAME: usize = 60;

/// Prints a line. Whoever no longer reads it needs no figures.
pub(crate) fn line(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

/// Begins a section, with the load of the machine at this moment.
pub(crate) fn section(title: &str) {
    line(&format!("\n== {title} (load {})", load()));
}

/// Figures in a unit.
pub(crate) fn figures(unit: &str, rows: &[Row<'_>]) {
    head(unit);
    for (name, samples) in rows {
        row(name, samples);
    }
}

/// Ratios, pair by pair.
pub(crate) fn ratios(rows: &[Ratio<'_>]) {
    head("ratio, pair by pair");
    for (name, own, peer) in rows {
        row(name, &own.over(peer));
    }
}

/// Ratios of rates, pair by pair, each with that of the best tenths behind it.
pub(crate) fn rates(title: &str, rows: &[Ratio<'_>]) {
    head(title);
    for (name, own, peer) in rows {
        let best = number(own.best() / peer.best());
        row(&format!("{name}, of the best tenths {best}"), &own.over(peer));
    }
}

/// Ratios of the smallest samples of each, which were disturbed least, beside those pair by pair.
pub(crate) fn rates_of_minima(title: &str, rows: &[Ratio<'_>]) {
    head(title);
    for (name, own, peer) in rows {
        let least = number(own.spread()[0] / peer.spread()[0]);
        row(&format!("{name}, of the minima {least}"), &own.over(peer));
    }
}

/// The load averages of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn head(unit: &str) {
    let [min, low, median, high, max] = ["min", "quarter", "median", "quarter", "max"];
    line(&format!("{unit:NAME$} {:>5} {min:>8} {low:>8} {median:>8} {high:>8} {max:>8}", "n"));
}

fn row(name: &str, samples: &Samples) {
    let [min, low, median, high, max] = samples.spread().map(number);
    line(&format!(
        "  {name:width$} {:>5} {min:>8} {low:>8} {median:>8} {high:>8} {max:>8}",
        samples.count(),
        width = NAME - 2
    ));
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Says what is wrong with how the bench was started.
pub(crate) fn complain(sentence: &str) {
    writeln!(std::io::stderr(), "{sentence}").ok();
}

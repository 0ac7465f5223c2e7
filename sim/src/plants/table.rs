//! The table of planted bugs, as it is published.

use super::{ARGUED, Hunt};
use std::fmt::Write;

const HEAD: &str = "# Planted bugs

The core can be built with known bugs in it, one of which is switched on at a time (`core/src/plant.rs`; no build that is
used has them). This is how soon the simulator finds each: `cargo xtask sim plants --write` makes this page, and
`cargo xtask test` fails when a bug that was found survives, or when its place in the code is gone.

A seed is a run of some ten milliseconds. *Rate*, where it was measured (`--rate`), is the share of seeds
that show the bug. *Shown by* is the guarantee of
[guarantees.md](guarantees.md) that was seen broken first; `panic` says that an assertion of the core noticed by itself,
and `vacuous` that the thresholds of a campaign of three hundred seeds did: those are bugs of the simulator, which make it blind.
";

/// The page.
#[must_use]
pub fn markdown(hunts: &[Hunt]) -> String {
    let mut page = HEAD.to_owned();
    let found = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    let mut seconds: Vec<f64> = hunts
        .iter()
        .filter(|hunt| hunt.caught.is_some())
        .map(|hunt| hunt.seconds)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(0.0);
    let most = seconds.last().copied().unwrap_or(0.0);
    let ported = hunts.iter().filter(|hunt| !hunt.plant.source().is_empty()).count();
    let _ = writeln!(
        page,
        "\n{found} of {} are found: half of them within {median:.2} s of one processor, the slowest in {most:.1} s. {ported} are \
         ports of bugs that others published.",
        hunts.len()
    );
    let mut area = "";
    for hunt in hunts {
        if hunt.plant.area() != area {
            area = hunt.plant.area();
            let _ = writeln!(page, "\n## {}{}\n", area[..1].to_uppercase(), &area[1..]);
            page.push_str("| bug | failure | rate | seeds | seconds | shown by |\n|---|---|---|---|---|---|\n");
        }
        page.push_str(&row(hunt));
    }
    let survivors: Vec<&Hunt> = hunts.iter().filter(|hunt| hunt.caught.is_none()).collect();
    if !survivors.is_empty() {
        page.push_str("\n## Those that survive\n\n| bug | why |\n|---|---|\n");
    }
    for hunt in survivors {
        let argued = ARGUED.iter().find(|(plant, _)| *plant == hunt.plant);
        let why = argued.map_or("not yet found", |(_, why)| why);
        let _ = writeln!(page, "| {:?} | {why} |", hunt.plant);
    }
    page
}

fn row(hunt: &Hunt) -> String {
    let rate = hunt
        .rate
        .map_or(String::new(), |(hits, of)| format!("{} %", hits * 100 / of.max(1)));
    let source = hunt.plant.source();
    let port = if source.is_empty() {
        String::new()
    } else {
        format!(" ([port]({source}))")
    };
    let (seeds, seconds) = if hunt.caught.is_some() {
        (hunt.seeds.to_string(), format!("{:.2}", hunt.seconds))
    } else {
        ("survives".to_owned(), String::new())
    };
    format!(
        "| {:?} | {}{port} | {rate} | {seeds} | {seconds} | {} |\n",
        hunt.plant,
        hunt.plant.what(),
        hunt.guarantee()
    )
}

//! Sizes and durations as people write them.

use std::ops::RangeInclusive;
use std::time::Duration;

const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
];

const DURATIONS: &[(&str, u64)] = &[
    ("ms", 1),
    ("", 1_000),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
];

/// Bytes: a whole number and a unit, such as `256MiB`; a bare number is bytes.
///
/// # Errors
/// A text that says what is wrong, empty if it is merely outside `range`.
pub fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let bytes = quantity(text, SIZES)?;
    if range.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(String::new())
    }
}

/// A duration: a whole number and a unit, such as `10s`, `500ms`, `2min`; a bare number is seconds. `range` is in
/// milliseconds.
///
/// # Errors
/// As [`size`].
pub fn duration(text: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    let ms = quantity(text, DURATIONS)?;
    if range.contains(&ms) {
        Ok(Duration::from_millis(ms))
    } else {
        Err(String::new())
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_lowercase();
    let number: u64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| "it does not begin with a whole number".to_owned())?;
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| format!("unknown unit {unit:?}"))?;
    number.checked_mul(*factor).ok_or_else(|| "it is too large".to_owned())
}

/// Bytes for people: in the largest binary unit that leaves at least one, with one digit behind the point unless it is whole.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value.fract() != 0.0);
    format!("{value:.digits$} {}", units[unit])
}

//! How many tests passed and failed, as each runner says in its closing lines.

use std::fmt;
use std::ops::AddAssign;

/// Tests that passed and tests that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// One check that failed.
    pub(crate) const FAILURE: Self = Self { passed: 0, failed: 1 };

    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        if passed {
            Self { passed: 1, failed: 0 }
        } else {
            Self::FAILURE
        }
    }

    /// A runner that ran nothing proves nothing: that counts as a failure.
    pub(crate) fn unless_empty(self, runner: &str) -> Self {
        if self == Self::default() {
            eprintln!("{runner} ran no test at all");
            return Self::FAILURE;
        }
        self
    }

    /// A runner that says it failed has failed, whatever its lines say.
    pub(crate) fn unless_exit(self, success: bool) -> Self {
        if !success && self.failed == 0 {
            return Self { failed: 1, ..self };
        }
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Every `test result: ok. 3 passed; 0 failed; …` of `cargo test`.
pub(crate) fn of_cargo(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result: "))
    {
        tally.passed += number_before(line, "passed");
        tally.failed += number_before(line, "failed");
    }
    tally
}

/// The last `3 passed, 1 failed, 1 error in 2.1s` of pytest.
pub(crate) fn of_pytest(output: &str) -> Tally {
    let closing = |line: &&str| {
        let counts = ["passed", "failed", "error"].iter().any(|word| line.contains(word));
        counts && line.contains(" in ") && line.trim_matches(['=', ' ']).starts_with(|c: char| c.is_ascii_digit())
    };
    let line = output.lines().rfind(closing).unwrap_or_default();
    Tally {
        passed: number_before(line, "passed"),
        failed: number_before(line, "failed") + number_before(line, "error") + number_before(line, "errors"),
    }
}

/// `# pass 12`, `# fail 0` and `# cancelled 0` of `node --test`, under either of its reporters.
pub(crate) fn of_node(output: &str) -> Tally {
    let count = |word: &str| {
        let line = output.lines().rfind(|line| {
            let rest = line.trim_start_matches(['#', 'ℹ', ' ']);
            rest.len() < line.len() && rest.split(' ').next() == Some(word)
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    Tally {
        passed: count("pass"),
        failed: count("fail") + count("cancelled"),
    }
}

/// The last `Tests run: 11, Failures: 0, Errors: 0, Skipped: 0` of Maven's surefire.
pub(crate) fn of_maven(output: &str) -> Tally {
    let closing = |line: &&str| line.contains("Tests run: ") && !line.contains("Time elapsed");
    let line = output.lines().rfind(closing).unwrap_or_default();
    let count = |label: &str| {
        let rest = line.split_once(label).map_or("", |(_, rest)| rest).trim_start();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    let failed = count("Failures:") + count("Errors:");
    Tally {
        passed: u64::saturating_sub(count("Tests run:"), failed + count("Skipped:")),
        failed,
    }
}

/// The number that stands before a word.
fn number_before(line: &str, word: &str) -> u64 {
    let words: Vec<_> = line
        .split([' ', ',', ';', '.'])
        .filter(|word| !word.is_empty())
        .collect();
    let place = words.iter().position(|&other| other == word);
    place
        .and_then(|place| words.get(place.checked_sub(1)?)?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn cargo_is_summed() {
        let output = "test result: ok. 36 passed; 0 failed; 0 ignored; 0 measured; 11 filtered out; finished in 64.00s\n\
                      running 2 tests\n\
                      test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(of_cargo(output), tally(37, 3));
        assert_eq!(of_cargo("error: could not compile"), tally(0, 0));
    }

    #[test]
    fn pytest_is_read() {
        assert_eq!(of_pytest(".....\n5 passed in 0.10s\n"), tally(5, 0));
        let output = "E  assert 1 failed in 2 passed\n== 6 failed, 163 passed, 1 error in 37.87s ==\n";
        assert_eq!(of_pytest(output), tally(163, 7));
        assert_eq!(of_pytest("no tests ran in 0.01s\n"), tally(0, 0));
    }

    #[test]
    fn node_is_read() {
        assert_eq!(
            of_node("# tests 13\n# pass 11\n# fail 1\n# cancelled 1\n"),
            tally(11, 2)
        );
        assert_eq!(
            of_node("ℹ tests 12\nℹ pass 12\nℹ fail 0\nℹ cancelled 0\n"),
            tally(12, 0)
        );
        assert_eq!(of_node("pass 12\n"), tally(0, 0));
    }

    #[test]
    fn maven_is_read() {
        let output = "[INFO] Tests run: 11, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.8 s -- in X\n\
                      [ERROR] Tests run: 11, Failures: 1, Errors: 2, Skipped: 1\n[INFO] BUILD FAILURE\n";
        assert_eq!(of_maven(output), tally(7, 3));
        assert_eq!(of_maven("[INFO] BUILD SUCCESS"), tally(0, 0));
    }

    #[test]
    fn silence_and_bad_exits_are_failures() {
        assert_eq!(tally(0, 0).unless_empty("nothing"), tally(0, 1));
        assert_eq!(tally(5, 0).unless_exit(false), tally(5, 1));
        assert_eq!(tally(5, 2).unless_exit(false), tally(5, 2));
        assert_eq!(tally(5, 0).unless_exit(true), tally(5, 0));
        assert_eq!(tally(5, 2).to_string(), "5 passed, 2 failed");
    }
}

//! Lengths of time as resources write them: `90s`, `10m`, `24h`, `7d`, or several of them in that
//! order from the largest, `1h30m`.

use std::time::Duration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
/// What is wanted, for errors.
pub(crate) const FORM: &str = "a duration such as 90s, 10m, 24h, 7d or 1h30m";

/// The length of time that a text means.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut seconds = 0u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|&end| end > 0)?;
        let (number, behind) = rest.split_at(digits);
        let unit = behind.chars().next()?;
        // Each unit once, in their order: the iterator goes on where it stands.
        let (_, length) = units.find(|(known, _)| *known == unit)?;
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
        rest = behind.strip_prefix(unit)?;
    }
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_from_the_largest() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("60s", Some(60)),
            ("10m", Some(600)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
            ("1h30m", Some(5400)),
            ("1d0h5s", Some(86_405)),
            ("", None),
            ("60", None),
            ("s", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1s1s", None),
            ("-5s", None),
            ("5 s", None),
            ("1w", None),
            ("18446744073709551615d", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse(text).map(|period| period.as_secs()), seconds, "{text:?}");
        }
    }
}

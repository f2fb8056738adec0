//! When and by whom a record was made. Pure code cannot look at a clock or at random numbers, so
//! a program brings one [`Stamps`] along.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// Seconds since 1970, UTC. Shown to people; nothing is decided by it, because clocks jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl std::fmt::Display for Timestamp {
    /// RFC 3339, for example `2026-11-24T09:30:00Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a number of days since 1970, Gregorian. Counts in years that begin in
/// March, so that the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Tells one record from another that says the same: a record deleted and made again has another
/// token, so "delete if unchanged" never hits the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(pub u64);

impl From<Token> for String {
    fn from(token: Token) -> String {
        format!("{:016x}", token.0)
    }
}

impl TryFrom<String> for Token {
    type Error = egret_types::Invalid;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.len() == 16
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match u64::from_str_radix(&text, 16) {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(egret_types::Invalid::new(text, "a token (16 hexadecimal digits)")),
        }
    }
}

/// The clock and the source of tokens of one call.
#[derive(Debug)]
pub struct Stamps {
    now: Timestamp,
    next: Cell<u64>,
}

impl Stamps {
    /// The time of the call and a random number; tokens count up from it.
    pub fn new(now: Timestamp, random: u64) -> Self {
        Self { now, next: Cell::new(random) }
    }

    /// The time of the call.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A token that nobody had before.
    pub fn token(&self) -> Token {
        Token(self.next.replace(self.next.get().wrapping_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_reads_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_519_084, "2026-11-24T11:18:04Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }

    #[test]
    fn tokens_differ_and_read_what_they_print() {
        let stamps = Stamps::new(Timestamp(0), u64::MAX);
        let (first, second) = (stamps.token(), stamps.token());
        assert_ne!(first, second);
        assert_eq!(Token::try_from(String::from(first)), Ok(first));
        assert!(Token::try_from("+123456789abcdef".to_owned()).is_err());
    }
}

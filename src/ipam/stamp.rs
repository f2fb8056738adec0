//! When and by whom a record was made. Pure code cannot look at a clock or at random numbers, so
//! a program brings one [`Stamps`] along.
//!
//! What runs out is measured by the time that the machine has been up, which nobody can set. Across a
//! boot that says nothing, so there it begins anew: what must rest rests too long rather than not long
//! enough, whatever the wall clock says.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use crate::BootId;

/// The clocks at the time of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// For people.
    pub now: Timestamp,
    /// Which run of the machine this is.
    pub boot: BootId,
    /// Seconds since it began, suspended time included.
    pub uptime: u64,
}

impl Clock {
    /// Seconds since a mark was made, as far as they are known: never too many.
    pub fn since(&self, mark: &Mark) -> u64 {
        if mark.boot == self.boot { self.uptime.saturating_sub(mark.uptime) } else { self.uptime }
    }
}

/// A point in time from which something runs out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mark {
    /// For people.
    pub at: Timestamp,
    /// The run of the machine in which it was made.
    pub boot: BootId,
    /// How long that had run, in seconds.
    pub uptime: u64,
    /// How it is known.
    pub witness: Witness,
}

/// How one knows that the last holder of a lease left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Witness {
    /// It said so: a DEL, or a GC for it.
    Told,
    /// Somebody saw a lease that nobody holds. Its ADD may be about to write the holder.
    Seen,
}

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

/// The clocks and the source of tokens of one call.
#[derive(Debug)]
pub struct Stamps {
    clock: Clock,
    next: Cell<u64>,
}

impl Stamps {
    /// The time of the call and a random number; tokens count up from it.
    pub fn new(clock: Clock, random: u64) -> Self {
        Self { clock, next: Cell::new(random) }
    }

    /// The clocks.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time of the call.
    pub fn now(&self) -> Timestamp {
        self.clock.now
    }

    /// A mark of this time.
    pub(crate) fn mark(&self, witness: Witness) -> Mark {
        let Clock { now, boot, uptime } = self.clock.clone();
        Mark { at: now, boot, uptime, witness }
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

    fn clock(boot: &str, uptime: u64) -> Clock {
        Clock { now: Timestamp(0), boot: BootId::try_from(boot.to_owned()).unwrap(), uptime }
    }

    #[test]
    fn time_is_never_counted_too_long() {
        let mark = Stamps::new(clock("a", 100), 0).mark(Witness::Told);
        for (boot, uptime, seconds) in [
            ("a", 100, 0),
            ("a", 160, 60),
            ("a", 40, 0),
            ("b", 0, 0),
            ("b", 30, 30),
            ("b", 500, 500),
        ] {
            assert_eq!(clock(boot, uptime).since(&mark), seconds, "{boot} {uptime}");
        }
    }

    #[test]
    fn tokens_differ_and_read_what_they_print() {
        let stamps = Stamps::new(clock("a", 0), u64::MAX);
        let (first, second) = (stamps.token(), stamps.token());
        assert_ne!(first, second);
        assert_eq!(Token::try_from(String::from(first)), Ok(first));
        assert!(Token::try_from("+123456789abcdef".to_owned()).is_err());
    }
}

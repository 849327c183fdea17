//! What the real-time clock shows at power-on.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of a deterministic run: 2026-01-01T00:00:00.
const FIXED_SECONDS: i64 = 1_767_225_600;

/// Where the real-time clock starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcBase {
    /// At the host's time, in UTC.
    Host,
    /// At this many seconds since 1970-01-01T00:00:00.
    Seconds(i64),
}

impl RtcBase {
    /// The base where the command line has none.
    pub fn default_for(icount: bool) -> Self {
        if icount { RtcBase::Seconds(FIXED_SECONDS) } else { RtcBase::Host }
    }
    /// Seconds since 1970-01-01T00:00:00.
    pub fn unix_seconds(self) -> i64 {
        match self {
            RtcBase::Seconds(seconds) => seconds,
            RtcBase::Host => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |duration| duration.as_secs() as i64)
            }
        }
    }
}

impl FromStr for RtcBase {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "utc" {
            return Ok(RtcBase::Host);
        }
        let seconds = text.parse().ok().or_else(|| parse_date(text));
        // The CMOS clock counts 1970 to 2069 without doubt about the century.
        let seconds = seconds.filter(|seconds| (0..3_155_760_000).contains(seconds));
        seconds.map(RtcBase::Seconds).ok_or_else(|| {
            "write utc, a date from 1970 on like 2026-01-31T12:00:00, or seconds since 1970".to_owned()
        })
    }
}

/// Seconds since 1970 of `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`.
fn parse_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, separator: char| -> Option<[i64; 3]> {
        let parts: Vec<i64> = text.split(separator).map(str::parse).collect::<Result<_, _>>().ok()?;
        parts.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let in_range = (1970..2070).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    let days_of_years: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
    let days_of_months: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    let days = days_of_years + days_of_months + day - 1;
    in_range.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds() {
        assert_eq!("2026-01-01".parse(), Ok(RtcBase::Seconds(FIXED_SECONDS)));
        assert_eq!("2000-02-29T23:59:59".parse(), Ok(RtcBase::Seconds(951_868_799)));
        assert_eq!("1000".parse(), Ok(RtcBase::Seconds(1000)));
        assert_eq!("utc".parse(), Ok(RtcBase::Host));
        for text in
            ["2025-02-29", "2025-13-01", "1969-12-31", "now", "2025-01-01T24:00:00", "2025-01-00", "-5"]
        {
            assert!(text.parse::<RtcBase>().is_err(), "{text}");
        }
    }
}

//! Dates from seconds and back (proleptic Gregorian calendar).

/// Seconds in a day.
const DAY_SECONDS: i64 = 86_400;

/// A date and time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DateTime {
    /// Year, such as 2026.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second.
    pub second: u8,
    /// Day of the week, 0 is Sunday.
    pub weekday: u8,
}

impl DateTime {
    /// The date of a number of seconds since 1970-01-01T00:00:00.
    pub fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY_SECONDS);
        let within = seconds.rem_euclid(DAY_SECONDS);
        // Years that start in March put the leap day last; 719468 days lead from 0000-03-01.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u8,
            hour: (within / 3600) as u8,
            minute: (within / 60 % 60) as u8,
            second: (within % 60) as u8,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }
    /// Seconds since 1970-01-01T00:00:00. Fields out of range count on into the next unit; the
    /// weekday is ignored.
    pub fn to_seconds(self) -> i64 {
        let months = self.year * 12 + i64::from(self.month) - 1;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let march_month = (month + 9) % 12;
        let day_of_year = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        let days =
            era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        days * DAY_SECONDS
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let date = DateTime::from_seconds(951_782_400);
        assert_eq!((date.year, date.month, date.day, date.weekday), (2000, 2, 29, 2));
        let date = DateTime::from_seconds(0);
        assert_eq!((date.year, date.month, date.day, date.weekday), (1970, 1, 1, 4));
    }

    #[test]
    fn there_and_back() {
        for seconds in (-10_000_000_000..10_000_000_000).step_by(86_400 * 17 + 12_345) {
            assert_eq!(DateTime::from_seconds(seconds).to_seconds(), seconds);
        }
    }
}

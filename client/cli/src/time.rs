//! Unix milliseconds to text and back, in UTC.

/// Now, Unix time.
pub(crate) fn now_ms() -> i64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis() as i64)
}

/// `2026-01-31T12:00:00.000Z`.
pub(crate) fn format_utc(ms: i64) -> String {
    let (days, in_day_ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date_of(days);
    let (seconds, millis) = (in_day_ms / 1000, in_day_ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The same, also without fraction, seconds, time, or with a space for the T. None: not a time.
pub(crate) fn parse_utc(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut fields = date.split('-');
    let year = digits(fields.next()?, 4)?;
    let month = digits(fields.next()?, 2)?;
    let day = digits(fields.next()?, 2)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':');
    let hour = digits(clock.next()?, 2)?;
    let minute = digits(clock.next()?, 2)?;
    let second = clock.next().map_or(Some(0), |second| digits(second, 2))?;
    let rest = fields.next().is_some() || clock.next().is_some();
    if rest || hour > 23 || minute > 59 || second > 59 || fraction.is_empty() {
        return None;
    }
    let mut millis = 0;
    for index in 0..3 {
        millis = millis * 10
            + i64::from(
                fraction
                    .as_bytes()
                    .get(index)
                    .map_or(0, |b| b.wrapping_sub(b'0')),
            );
    }
    let days = days_of(year, month, day);
    let valid = fraction.bytes().all(|b| b.is_ascii_digit()) && date_of(days) == (year, month, day);
    valid.then_some(days * 86_400_000 + (hour * 3600 + minute * 60 + second) * 1000 + millis)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date in the Gregorian calendar; years begin in March so that leap days come last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(format_utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(format_utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(parse_utc("2000-02-29"), Some(951_782_400_000));
        assert_eq!(parse_utc("2000-02-29 00:00"), Some(951_782_400_000));
        assert_eq!(parse_utc("1970-01-01T00:00:00.25Z"), Some(250));
        for wrong in [
            "2001-02-29",
            "2026-1-1",
            "2026-01-01T24:00:00",
            "x",
            "2026-01-01T00:00:00.x",
        ] {
            assert_eq!(parse_utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_a_few_centuries_comes_back() {
        for days in (-100_000..100_000).step_by(7) {
            let ms = days * 86_400_000 + 12_345_678;
            assert_eq!(parse_utc(&format_utc(ms)), Some(ms));
        }
    }
}

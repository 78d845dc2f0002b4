//! Times as people write and read them.

use std::time::Duration;

use castmq_client::StartFrom;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Zoned};

/// What [`parse`] takes, for messages.
const FORMS: &str = "milliseconds since the epoch, 2026-01-31T12:00:00Z, a local time like 2026-01-31 12:00, or how long ago like 15m";

/// The time of day in milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Reads a time as milliseconds since the epoch.
fn parse(text: &str, now: &Zoned) -> Result<i64, String> {
    let unreadable = || format!("{text:?} is not a time: it takes {FORMS}");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| unreadable());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let zone: &TimeZone = now.time_zone();
    if let Ok(local) = text.parse::<DateTime>() {
        let zoned = local.to_zoned(zone.clone());
        return zoned
            .map(|time| time.timestamp().as_millisecond())
            .map_err(|_| unreadable());
    }
    if let Ok(day) = text.parse::<Date>() {
        let zoned = day.to_zoned(zone.clone());
        return zoned
            .map(|time| time.timestamp().as_millisecond())
            .map_err(|_| unreadable());
    }
    let span: Span = text.parse().map_err(|_| unreadable())?;
    let time = now.checked_sub(span.abs()).map_err(|_| unreadable())?;
    Ok(time.timestamp().as_millisecond())
}

/// Reads a time, for a flag.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    parse(text, &Zoned::now())
}

/// Reads a length of time, for a flag. A day has 24 hours, whichever it is.
pub(crate) fn parse_length(text: &str) -> Result<Duration, String> {
    let unreadable = || {
        format!(
            "{text:?} is not a length of time: it takes milliseconds, or a time like 90s or 2h 30m"
        )
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let length_ms = text.parse().map_err(|_| unreadable())?;
        return Ok(Duration::from_millis(length_ms));
    }
    let span: Span = text.parse().map_err(|_| unreadable())?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!(
            "{text:?} is not a length of time: months and years have no length of their own, say it in days"
        ));
    }
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours());
    length
        .ok()
        .and_then(|length| Duration::try_from(length).ok())
        .ok_or_else(unreadable)
}

/// Reads where to begin, for a flag.
pub(super) fn parse_start(text: &str) -> Result<StartFrom, String> {
    match text {
        "earliest" => Ok(StartFrom::Earliest),
        "latest" => Ok(StartFrom::Latest),
        _ => parse_time(text).map(StartFrom::Timestamp).map_err(|_| {
            format!("{text:?} is not a place to begin: it takes earliest, latest, {FORMS}")
        }),
    }
}

/// A time in milliseconds since the epoch, in UTC; `-` for none.
pub(super) fn show(timestamp_ms: i64) -> String {
    match Timestamp::from_millisecond(timestamp_ms) {
        Ok(time) if timestamp_ms != 0 => format!("{time:.3}"),
        _ => "-".to_owned(),
    }
}

/// A length of time, to its two largest units.
pub(super) fn show_duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) if seconds < 10 => format!("{seconds}.{}s", millis % 1000 / 100),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {}m", minutes % 60),
        (days, hours, _) => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Zoned {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        "2026-01-31T10:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .to_zoned(zone)
    }

    #[test]
    fn times_are_read_in_every_form_that_is_named() {
        let at_noon = noon().timestamp().as_millisecond();
        for text in [
            "1769853600000",
            "2026-01-31T10:00:00Z",
            "2026-01-31T12:00:00+02:00",
            "2026-01-31 12:00",
            "2026-01-31T12:00:00",
        ] {
            assert_eq!(parse(text, &noon()), Ok(at_noon), "{text}");
        }
        assert_eq!(parse("15m", &noon()), Ok(at_noon - 900_000));
        assert_eq!(parse("1d", &noon()), Ok(at_noon - 86_400_000));
        assert_eq!(parse("2026-01-31", &noon()), Ok(at_noon - 43_200_000));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms_there_are() {
        for text in ["", "yesterday", "2026-13-01", "99999999999999999999"] {
            let error = parse(text, &noon()).unwrap_err();
            assert!(error.contains("15m"), "{error}");
        }
        assert!(parse_start("soon").unwrap_err().contains("earliest"));
    }

    #[test]
    fn lengths_are_the_same_on_every_day() {
        const DAY_S: u64 = 86_400;
        for (text, length) in [
            ("1500", Duration::from_millis(1500)),
            ("500ms", Duration::from_millis(500)),
            ("1.5s", Duration::from_millis(1500)),
            ("2h 30m", Duration::from_secs(9000)),
            ("1d", Duration::from_secs(DAY_S)),
            // Longer than it takes any clock to be changed for summer and back.
            ("365d", Duration::from_secs(365 * DAY_S)),
            ("1w 1d", Duration::from_secs(8 * DAY_S)),
            ("PT10S", Duration::from_secs(10)),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(parse_length(text), Ok(length), "{text}");
        }
        for text in ["", "soon", "-1s", "99999999999999999999"] {
            let error = parse_length(text).unwrap_err();
            assert!(error.contains("90s"), "{error}");
        }
        for text in ["1mo", "1y 2d"] {
            let error = parse_length(text).unwrap_err();
            assert!(error.contains("in days"), "{error}");
        }
    }

    #[test]
    fn times_are_shown_in_utc_and_no_time_as_none() {
        assert_eq!(show(1_769_853_600_007), "2026-01-31T10:00:00.007Z");
        assert_eq!(show(0), "-");
        assert_eq!(show_duration(1_234), "1.2s");
        assert_eq!(show_duration(61_000), "1m 1s");
        assert_eq!(show_duration(90_000_000), "1d 1h");
    }
}

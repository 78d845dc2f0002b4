//! Names of index files: the local time at which they were made, `yyyyMMddHHmmssSSS`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether a file has such a name.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == 17 && name.bytes().all(|digit| digit.is_ascii_digit())
}

/// The name of a file made now, behind the one before in the order of names: where the clock goes back, at a change of
/// the season or by hand, the next number is taken.
pub(super) fn next_name(now_ms: i64, zone: TimeZone, last: Option<&str>) -> String {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let now = now.to_zoned(zone);
    let name = now.strftime("%Y%m%d%H%M%S").to_string() + &format!("{:03}", now.millisecond());
    match last {
        Some(last) if name.as_str() <= last => {
            let number: u64 = last.parse().unwrap_or(0);
            format!("{:017}", number + 1)
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:20.042 UTC
    const NOW_MS: i64 = 1_700_000_000_042;

    #[test]
    fn a_name_is_the_local_time() {
        assert_eq!(next_name(NOW_MS, TimeZone::UTC, None), "20231114221320042");
        let east = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(next_name(NOW_MS, east, None), "20231115061320042");
    }

    #[test]
    fn names_stay_in_order_when_the_clock_goes_back() {
        let next = |last| next_name(NOW_MS, TimeZone::UTC, Some(last));
        assert_eq!(next("20231114221320041"), "20231114221320042");
        assert_eq!(next("20231114221320042"), "20231114221320043");
        assert_eq!(next("20240101000059999"), "20240101000060000");
        assert!(is_name(&next("20240101000059999")));
    }

    #[test]
    fn other_files_have_other_names() {
        for name in [
            "",
            "2023111422132004",
            "202311142213200421",
            "2023111422132004x",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}

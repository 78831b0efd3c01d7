//! What is printed reads back as what it was, to the precision that was printed.

use std::time::Duration;

use memprof::units::{LONGEST, format_duration, format_size, parse_duration, parse_size};
use proptest::prelude::*;

/// All magnitudes alike: uniform numbers are nearly all huge.
fn any_magnitude() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(bits, shift)| bits >> shift)
}

proptest! {
    #[test]
    fn a_printed_size_reads_back_within_its_printed_digit(bytes in any_magnitude()) {
        let text = format_size(bytes);
        let Ok(read) = parse_size(&text) else {
            // Only what rounds up to 2^64 is printed as a size that is too large to read.
            prop_assert_eq!(text, "16.0 EiB");
            return Ok(());
        };
        // Printed to a tenth of a unit, at least one unit: wrong by at most a twentieth.
        prop_assert!(read.abs_diff(bytes) <= bytes / 16, "{bytes} read back as {read}");
        prop_assert_eq!(format_size(read), text);
    }

    #[test]
    fn a_size_in_whole_units_reads_back_exactly(number in 0..1000u64, power in 0..6u32) {
        let unit = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power as usize];
        let bytes = number * 1024u64.pow(power);
        prop_assert_eq!(parse_size(&format!("{number}{unit}")), Ok(bytes));
        prop_assert_eq!(parse_size(&bytes.to_string()), Ok(bytes));
    }

    #[test]
    fn a_printed_duration_reads_back_within_its_smaller_unit(
        milliseconds in any_magnitude().prop_map(|n| n % (LONGEST.as_millis() as u64)),
    ) {
        let duration = Duration::from_millis(milliseconds);
        let text = format_duration(duration);
        let read = parse_duration(&text).unwrap();
        prop_assert!(
            read.abs_diff(duration) <= duration / 16,
            "{duration:?} read back as {read:?}"
        );
        prop_assert_eq!(format_duration(read), text);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC*", number in "[0-9]{0,30}(\\.[0-9]{0,30})?[a-zA-Z ]{0,4}") {
        for input in [text, number] {
            if let Ok(duration) = parse_duration(&input) {
                prop_assert!(duration <= LONGEST);
            }
            if let Err(error) = parse_size(&input) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}

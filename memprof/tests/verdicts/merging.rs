//! That intervals of births merge as they age changes nothing that matters.

use memprof::growth::{Context, Judgement, Series, Ticks, judge};

use crate::corpus::{FILLING, Half, INNOCENTS, LEAKS, Sample};
use crate::score::samples_per_kind;

fn judged(sample: &Sample, series: fn(u32) -> Series) -> Judgement {
    let context = Context::new(Ticks::new(0, sample.shift));
    let mut verdict = None;
    sample.play_into(series, sample.shift, |interval, series| {
        if interval == sample.intervals {
            verdict = Some(judge(series, interval, &context));
        }
    });
    verdict.expect("a sample has a last interval")
}

#[test]
fn verdicts_do_not_change_by_merging() {
    let (mut all, mut others) = (0, 0);
    for kinds in [LEAKS, INNOCENTS, FILLING] {
        for &kind in kinds {
            for number in 0..samples_per_kind(4) {
                let sample = Sample::new(kind, Half::Tuning, number, 600);
                let merged = judged(&sample, Series::new);
                let exact = judged(&sample, Series::unmerged);
                all += 1;
                if merged.verdict != exact.verdict {
                    others += 1;
                    let verdicts = (merged.verdict, exact.verdict);
                    println!("{} {number}: {verdicts:?} without merging", kind.0);
                }
            }
        }
    }
    // At a threshold's edge a hair's breadth decides.
    println!("{others} of {all} differ");
    assert!(others * 100 <= all, "{others} of {all}");
}

#[test]
fn a_window_of_60_ticks_is_followed_exactly() {
    for &kind in LEAKS.iter().chain(INNOCENTS) {
        let sample = Sample::new(kind, Half::Tuning, 0, 60);
        assert_eq!(
            judged(&sample, Series::new),
            judged(&sample, Series::unmerged),
            "{}",
            kind.0
        );
    }
}

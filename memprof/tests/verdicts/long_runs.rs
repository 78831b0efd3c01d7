//! Judged again and again: how many innocents are ever called a leak, and how many leaks.

use memprof::growth::{Context, Ticks, Verdict, judge};

use crate::corpus::{Kind, Sample};
use crate::score::{half, is_whole, samples_per_kind, share};

/// At this confidence a pipeline may fail by default.
const SURE: f64 = 0.8;

/// The highest confidence of a leak's verdict at any time.
fn surest(sample: &Sample) -> f64 {
    let context = Context::new(Ticks::new(0, sample.shift));
    let every = if is_whole() { 1 } else { 5 };
    let mut surest: f64 = 0.0;
    sample.play(sample.shift, |interval, series| {
        if interval % every == 0 {
            let judgement = judge(series, interval, &context);
            if judgement.verdict == Verdict::Leak {
                surest = surest.max(judgement.confidence.expect("a leak has a confidence"));
            }
        }
    });
    surest
}

/// The share of kinds' samples that are surely called a leak at any time.
fn ever_sure(
    what: &str,
    kinds: &[Kind],
    samples: u64,
    sample: impl Fn(Kind, u64) -> Sample,
) -> f64 {
    let (mut sure, mut all) = (0, 0);
    for &kind in kinds {
        let of_kind = (0..samples)
            .filter(|number| surest(&sample(kind, *number)) >= SURE)
            .count() as u64;
        println!("{:24}{:.2}  {what}", kind.0, share(of_kind, samples));
        sure += of_kind;
        all += samples;
    }
    println!(
        "{what}: {:.3} ever called a leak at {SURE}",
        share(sure, all)
    );
    share(sure, all)
}

#[test]
fn watched_for_ten_windows_few_innocents_are_ever_surely_called_a_leak_and_most_leaks_are() {
    let samples = samples_per_kind(6);
    let watched = |kind, number| Sample::running_on(kind, half(), number, 60, 10);
    let innocents = ever_sure(
        "10 windows, innocents",
        &half().innocents(),
        samples,
        watched,
    );
    let leaks = ever_sure("10 windows, leaks", &half().leaks(), samples, watched);
    assert!(innocents <= 0.02, "{innocents}");
    assert!(leaks >= 0.5, "{leaks}");
}

/// Stores that take up to three quarters of a run of 600 intervals to fill: until then they are the
/// same data as a leak, and a run of an hour is long enough to be sure of that. The goal of 2 %
/// is missed here; what is reached is held.
#[test]
fn stores_that_fill_for_most_of_a_long_run_are_seldom_surely_called_a_leak() {
    let samples = samples_per_kind(6);
    let stretched = |kind, number| Sample::new(kind, half(), number, 600);
    let innocents = ever_sure(
        "one long window, innocents",
        &half().innocents(),
        samples,
        stretched,
    );
    assert!(innocents <= 0.06, "{innocents}");
}

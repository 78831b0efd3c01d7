//! Reasons as people read them.

use memprof::growth::{Context, Judgement, Room, Series, Tick, Ticks, Verdict, judge};

/// Ticks of 1.07 s.
fn judged(end: Tick, mut step: impl FnMut(Tick, &mut Series, &mut Room)) -> Judgement {
    let mut room = Room::default();
    let mut series = Series::new(0);
    for tick in 0..end {
        step(tick, &mut series, &mut room);
    }
    judge(&series, end, &Context::new(Ticks::new(0, 30)))
}

fn hold(judgement: &Judgement, verdict: Verdict, reasons: &[&str]) {
    assert_eq!(judgement.verdict, verdict, "{:#?}", judgement.reasons);
    assert_eq!(judgement.reasons, reasons);
}

#[test]
fn of_a_leak() {
    let judgement = judged(60, |tick, series, room| {
        series.born(tick, 1000, room);
        for _ in 0..1 + tick % 3 {
            series.born(tick, 1000, room);
            series.died(tick, tick, 1000, room);
        }
    });
    hold(
        &judgement,
        Verdict::Leak,
        &[
            "none of the bytes that reached an age of 1.1s has been freed",
            "59 blocks (57.6 KiB) that were allocated over 1m 03s are still there",
            "newer generations leave as much as older ones",
            "it grows by +931.3 B/s (95 % interval +914.7 B/s to +948.3 B/s)",
            "seen for 1m 04s: a store that is still filling looks the same until it is full",
        ],
    );
}

#[test]
fn of_a_cache() {
    let judgement = judged(100, |tick, series, room| {
        series.born(tick, 1000, room);
        if let Some(birth) = tick.checked_sub(40) {
            series.died(birth, tick, 1000, room);
        }
    });
    hold(
        &judgement,
        Verdict::Bounded,
        &[
            "it grew for 43s and has stayed at about 39.1 KiB for 1m 04s, while 100 % of it has been replaced",
        ],
    );
    assert_eq!(judgement.rate, Some(0.0));
}

#[test]
fn of_a_warm_up() {
    let judgement = judged(100, |tick, series, room| {
        if tick < 30 {
            series.born(tick, 1000, room);
        }
    });
    hold(
        &judgement,
        Verdict::WarmUp,
        &[
            "it grew for 32.2s and has stayed at about 29.3 KiB for 1m 15s, with 100 % of it from that time",
        ],
    );
}

#[test]
fn of_a_sawtooth() {
    let judgement = judged(100, |tick, series, room| {
        (0..10).for_each(|_| series.born(tick, 1000, room));
        if tick % 20 == 19 {
            for birth in tick - 19..=tick {
                (0..10).for_each(|_| series.died(birth, tick, 1000, room));
            }
        }
    });
    hold(
        &judgement,
        Verdict::Sawtooth,
        &["it fell back 4 times by a third or more, from 185.5 KiB at the most"],
    );
}

#[test]
fn of_what_does_not_grow() {
    let judgement = judged(100, |tick, series, room| {
        series.born(tick, 1000, room);
        if let Some(birth) = tick.checked_sub(1) {
            series.died(birth, tick, 1000, room);
        }
    });
    hold(
        &judgement,
        Verdict::Stable,
        &["the total does not grow: 0 B/s (95 % interval 0 B/s to 0 B/s), 1000 B now"],
    );
}

#[test]
fn of_too_few_blocks() {
    let judgement = judged(100, |tick, series, room| {
        if tick % 25 == 10 {
            series.born(tick, 1000, room);
        }
    });
    hold(
        &judgement,
        Verdict::InsufficientData,
        &["only 4 blocks are left: too few to judge"],
    );
    assert!(judgement.sparse);
}

#[test]
fn of_a_store_that_has_begun_to_turn_over() {
    let judgement = judged(100, |tick, series, room| {
        (0..10).for_each(|_| series.born(tick, 1000, room));
        if let Some(birth) = tick.checked_sub(92) {
            (0..10).for_each(|_| series.died(birth, tick, 1000, room));
        }
    });
    hold(
        &judgement,
        Verdict::Growing,
        &["the total rises by +9.1 KiB/s over the whole time (Mann–Kendall p < 0.001)"],
    );
}

#[test]
fn of_a_full_store_in_which_some_blocks_stay() {
    // Of 400 places, all are taken after 10 ticks; every third tick a block is kept for good in
    // the place of one that goes.
    let judgement = judged(100, |tick, series, room| {
        let kept = |tick: Tick| tick.is_multiple_of(3);
        if tick < 10 {
            (0..40).for_each(|_| series.born(tick, 1000, room));
        } else if kept(tick) {
            series.born(tick, 1000, room);
        }
        if let Some(birth) = tick.checked_sub(10).map(|since| since / 9)
            && kept(tick)
        {
            series.died(birth, tick, 1000, room);
        }
    });
    hold(
        &judgement,
        Verdict::WarmUp,
        &[
            "it grew for 10.7s and has stayed at about 390.6 KiB for 1m 37s, with 92 % of it from that time",
            "some blocks stay, but the total has been level for 1m 37s: they replace others",
        ],
    );
}

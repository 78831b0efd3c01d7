//! What a series costs in memory.

use memprof::growth::{Room, Series};

/// Ticks of 67 ms in 7 days.
const WEEK: u32 = 9_000_000;

#[test]
fn a_stack_that_allocates_and_frees_for_a_week_stays_small() {
    let mut room = Room::default();
    let mut series = Series::new(0);
    let mut most = 0;
    // Ever rarer deaths: at every age something dies, and at every time something stays.
    for tick in (0..WEEK).step_by(37) {
        series.born(tick, 100, &mut room);
        series.born(tick, 100, &mut room);
        let age = (tick / 37).trailing_zeros();
        if let Some(birth) = tick.checked_sub(37 << age.min(17)) {
            series.died(birth, tick, 100, &mut room);
        }
        most = most.max(series.memory_bytes());
    }
    println!("a busy stack, 7 days: {most} bytes at the most");
    assert!(most <= 8 << 10, "{most}");
}

#[test]
fn a_stack_that_allocates_at_the_start_only_takes_next_to_nothing() {
    let mut room = Room::default();
    let mut series = Series::new(3);
    for block in 0..1000 {
        series.born(3 + block / 500, 100, &mut room);
    }
    series.advance(WEEK, &mut room);
    println!("after a start: {} bytes", series.memory_bytes());
    assert!(series.memory_bytes() <= 800, "{}", series.memory_bytes());
}

#[test]
fn a_stack_whose_blocks_die_at_once_needs_no_history() {
    let mut room = Room::for_histories(0);
    let mut series = Series::new(0);
    for tick in 0..1000 {
        series.born(tick, 100, &mut room);
        series.died(tick, tick, 100, &mut room);
    }
    assert_eq!(series.memory_bytes(), size_of::<Series>());
    assert_eq!(room.refused(), 0);
    assert!(size_of::<Series>() <= 64);
}

#[test]
fn what_finds_no_room_is_counted_and_not_judged() {
    use memprof::growth::{Context, Ticks, Verdict, judge};

    let mut room = Room::for_histories(1);
    let mut stacks = [Series::new(0), Series::new(0)];
    for tick in 0..100 {
        for series in &mut stacks {
            series.born(tick, 100, &mut room);
        }
    }
    assert_eq!(room.refused(), 1);
    let context = Context::new(Ticks::new(0, 28));
    let verdicts = stacks.map(|series| judge(&series, 100, &context).verdict);
    assert_eq!(verdicts, [Verdict::Leak, Verdict::InsufficientData]);
}

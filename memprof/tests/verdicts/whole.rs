//! Verdicts on processes.

use memprof::growth::{
    Context, Course, Judgement, Limit, Losses, Room, Series, Severity, Tick, Ticks, Verdict, judge,
    judge_all,
};

const END: Tick = 240;

/// Ticks of 0.27 s.
fn context() -> Context {
    Context::new(Ticks::new(0, 28))
}

/// A process: its stacks, each told what happens at every tick.
struct Process {
    stacks: Vec<Series>,
    total: Course,
    room: Room,
}

impl Process {
    fn run(stacks: usize, mut step: impl FnMut(Tick, usize, &mut Series, &mut Room)) -> Self {
        let mut process = Self {
            stacks: vec![Series::new(0); stacks],
            total: Course::new(0),
            room: Room::default(),
        };
        for tick in 0..END {
            for (number, series) in process.stacks.iter_mut().enumerate() {
                step(tick, number, series, &mut process.room);
            }
            let bytes: u64 = process.stacks.iter().map(Series::outstanding_bytes).sum();
            let blocks = process.stacks.iter().map(Series::outstanding_count).sum();
            process.total.hold(tick + 1, bytes as f64, blocks);
        }
        process
    }

    fn judge(&self, resident: Option<&Course>, context: &Context) -> (Vec<Judgement>, Judgement) {
        let each: Vec<Judgement> = self
            .stacks
            .iter()
            .map(|series| judge(series, END, context))
            .collect();
        let stacks: Vec<&Series> = self.stacks.iter().collect();
        let whole = judge_all(&stacks, &self.total, resident, END, context).whole;
        (each, whole)
    }
}

/// Each tick a block; the one of `life` ticks ago dies.
fn queue(tick: Tick, life: Tick, series: &mut Series, room: &mut Room) {
    series.born(tick, 1000, room);
    if let Some(birth) = tick.checked_sub(life) {
        series.died(birth, tick, 1000, room);
    }
}

#[test]
fn a_leak_among_many_innocents_is_the_wholes() {
    let process = Process::run(20, |tick, number, series, room| match number {
        7 => series.born(tick, 100, room),
        _ => queue(tick, 5 + 3 * number as Tick, series, room),
    });
    let (each, whole) = process.judge(None, &context());
    assert_eq!(each[7].verdict, Verdict::Leak);
    assert_eq!(whole.verdict, Verdict::Leak);
    let rate = 100.0 / Ticks::new(0, 28).seconds(1.0);
    assert!((whole.rate.expect("a rate") / rate - 1.0).abs() < 0.05);
    assert!(
        whole.reasons[0].starts_with("1 call path leaks"),
        "{:?}",
        whole.reasons
    );
}

#[test]
fn rates_of_leaks_add_up_and_so_does_their_severity() {
    let process = Process::run(3, |tick, _, series, room| series.born(tick, 80_000, room));
    let (each, whole) = process.judge(None, &context());
    let sum: f64 = each.iter().filter_map(|judgement| judgement.rate).sum();
    assert!((whole.rate.expect("a rate") - sum).abs() < 1e-6 * sum);
    assert_eq!(each[0].severity, Some(Severity::Moderate));
    assert_eq!(whole.severity, Some(Severity::Severe));
}

#[test]
fn many_stacks_that_leak_a_block_or_two_each_leak_together() {
    // A thousand stacks, 240 of which lose one block each, one after the other.
    let process = Process::run(1000, |tick, number, series, room| {
        if number % 4 == 0 && number as Tick / 4 == tick {
            series.born(tick, 500, room);
        }
        series.born(tick, 64, room);
        series.died(tick, tick, 64, room);
    });
    let (each, whole) = process.judge(None, &context());
    assert!(
        each.iter()
            .all(|judgement| judgement.verdict != Verdict::Leak)
    );
    assert_eq!(whole.verdict, Verdict::Leak, "{:?}", whole.reasons);
    assert!(
        whole.reasons[0].contains("leak a little each"),
        "{:?}",
        whole.reasons
    );
}

#[test]
fn many_stacks_that_set_something_up_once_do_not_leak_together() {
    // First uses at times whose logarithms are spread evenly: half are over after an eighth.
    let process = Process::run(500, |tick, number, series, room| {
        let first = (f64::from(END) * 0.002f64.powf(number as f64 / 500.0)) as Tick;
        if tick == first {
            series.born(tick, 500, room);
        }
    });
    let (_, whole) = process.judge(None, &context());
    assert_ne!(whole.verdict, Verdict::Leak, "{:?}", whole.reasons);
}

#[test]
fn lost_frees_are_never_called_a_leak() {
    let process = Process::run(2, |tick, _, series, room| series.born(tick, 100, room));
    let lost = Losses {
        frees: 3,
        ..Losses::default()
    };
    let context = Context {
        losses: lost,
        ..context()
    };
    let (each, whole) = process.judge(None, &context);
    for judgement in each.iter().chain([&whole]) {
        assert_eq!(judgement.verdict, Verdict::InsufficientData);
        assert_eq!((judgement.rate, judgement.confidence), (None, None));
        assert_eq!(judgement.severity, None);
        assert!(judgement.reasons[0].contains("3 frees were lost"));
    }
}

#[test]
fn resident_memory_that_blocks_do_not_explain_is_told_and_no_leak() {
    let process = Process::run(1, |tick, _, series, room| queue(tick, 10, series, room));
    let mut resident = Course::new(0);
    for tick in 0..END {
        let bytes = 50e6 + 1e6 * f64::from(tick);
        resident.hold(tick + 1, bytes, (bytes / 4096.0) as u32);
    }
    let (_, whole) = process.judge(Some(&resident), &context());
    assert_eq!(whole.verdict, Verdict::Stable);
    let told = whole
        .reasons
        .iter()
        .any(|reason| reason.contains("resident memory grew by"));
    assert!(told, "{:?}", whole.reasons);
    let (_, quiet) = process.judge(None, &context());
    assert!(
        !quiet
            .reasons
            .iter()
            .any(|reason| reason.contains("resident"))
    );
}

#[test]
fn a_leak_is_projected_to_its_limit() {
    let process = Process::run(1, |tick, _, series, room| {
        series.born(tick, 1_000_000, room);
    });
    let limit = Limit {
        bytes: 1_000_000_000,
        used: 500_000_000,
    };
    let context = Context {
        limit: Some(limit),
        ..context()
    };
    let (each, whole) = process.judge(None, &context);
    let rate = 1e6 / Ticks::new(0, 28).seconds(1.0);
    for judgement in [&each[0], &whole] {
        let seconds = judgement.seconds_to_limit.expect("it grows");
        assert!((seconds / (5e8 / rate) - 1.0).abs() < 0.05, "{seconds}");
        let day = judgement.projected_24h.expect("it is judged") as f64;
        assert!(
            (day / (240e6 + 86_400.0 * rate) - 1.0).abs() < 0.05,
            "{day}"
        );
    }
}

#[test]
fn too_short_a_look_says_nothing() {
    let mut room = Room::default();
    let mut series = Series::new(0);
    for tick in 0..11 {
        series.born(tick, 100, &mut room);
    }
    let judgement = judge(&series, 11, &context());
    assert_eq!(judgement.verdict, Verdict::InsufficientData);
    assert!(
        judgement.reasons[0].contains("seen for"),
        "{:?}",
        judgement.reasons
    );
}

#[test]
fn a_forked_child_is_not_blamed_for_what_its_parent_leaked() {
    let mut room = Room::default();
    let mut parent = Series::new(0);
    for tick in 0..100 {
        parent.born(tick, 100, &mut room);
    }
    let mut child = parent.forked(100);
    assert_eq!(child.outstanding_bytes(), 10_000);
    child.died(40, 120, 100, &mut room);
    child.born(130, 50, &mut room);
    child.died(130, 150, 50, &mut room);
    let judgement = judge(&child, 240, &context());
    assert_eq!(
        judgement.verdict,
        Verdict::Stable,
        "{:?}",
        judgement.reasons
    );
    assert_eq!(child.outstanding_bytes(), 9_900);
    assert_eq!(judge(&parent, 100, &context()).verdict, Verdict::Leak);
}

#[test]
fn a_process_without_growth_is_named_by_its_total() {
    let cache = |life| {
        move |tick, _: usize, series: &mut Series, room: &mut Room| {
            queue(tick, life, series, room);
        }
    };
    let verdict_of = |process: Process| process.judge(None, &context()).1.verdict;
    assert_eq!(verdict_of(Process::run(3, cache(100))), Verdict::Bounded);
    assert_eq!(verdict_of(Process::run(3, cache(4))), Verdict::Stable);
    let warm_up = Process::run(2, |tick, _, series, room| {
        if tick < 60 {
            series.born(tick, 100, room);
        }
    });
    assert_eq!(verdict_of(warm_up), Verdict::WarmUp);
    let flushed = Process::run(1, |tick, _, series, room| {
        series.born(tick, 100, room);
        if tick % 30 == 29 {
            (tick - 29..=tick).for_each(|birth| series.died(birth, tick, 100, room));
        }
    });
    assert_eq!(verdict_of(flushed), Verdict::Sawtooth);
}

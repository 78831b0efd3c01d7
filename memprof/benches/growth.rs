//! What following growth costs per event, and judging it per verdict; and the bytes that series
//! take.

use std::cell::RefCell;
use std::collections::VecDeque;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use memprof::growth::{Context, Course, Room, Series, Tick, Ticks, judge, judge_all};

/// Stacks that take turns, as in `pipeline.rs`.
const STACKS: usize = 1_000;
const EVENTS: usize = 100_000;
/// Events of the process between two ticks: ten million a second, ticks of 67 ms.
const EVENTS_PER_TICK: usize = 670_000;
/// How far the judged series reach: a day of ticks of 67 ms.
const DAY: Tick = 1_300_000;

fn main() {
    sizes();
    divan::main();
}

/// A live block: its stack and the tick of its birth.
type Live = (u32, Tick);

/// Many stacks whose blocks live for about as long as there are blocks at a time.
struct Stacks {
    series: Vec<Series>,
    room: Room,
    live: VecDeque<Live>,
    random: u64,
    events: usize,
    live_blocks: usize,
}

impl Stacks {
    fn new(live_blocks: usize) -> Self {
        let mut stacks = Self {
            series: vec![Series::new(0); STACKS],
            room: Room::default(),
            live: VecDeque::with_capacity(live_blocks + 1),
            random: 42,
            events: 0,
            live_blocks,
        };
        stacks.run(2 * live_blocks + 20 * EVENTS_PER_TICK);
        stacks
    }

    /// Half allocations, half frees of the oldest block.
    fn run(&mut self, events: usize) {
        for _ in 0..events / 2 {
            self.events += 2;
            let tick = (self.events / EVENTS_PER_TICK) as Tick;
            // xorshift64* (Marsaglia 2003, Vigna 2016), scaled.
            self.random ^= self.random >> 12;
            self.random ^= self.random << 25;
            self.random ^= self.random >> 27;
            let upper = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
            let stack = (upper * STACKS as u64) >> 32;
            self.series[stack as usize].born(tick, 64, &mut self.room);
            self.live.push_back((stack as u32, tick));
            if self.live.len() > self.live_blocks
                && let Some((stack, birth)) = self.live.pop_front()
            {
                self.series[stack as usize].died(birth, tick, 64, &mut self.room);
            }
        }
    }
}

/// Lives of 10 ms, 0.1 s (across a tick) and 10 s of ten million events a second.
#[divan::bench(args = [50_000, 500_000, 50_000_000], sample_count = 50, sample_size = 1)]
fn per_event(bencher: Bencher, live_blocks: usize) {
    let stacks = RefCell::new(Stacks::new(live_blocks));
    bencher
        .counter(ItemsCount::new(EVENTS))
        .bench_local(|| stacks.borrow_mut().run(EVENTS));
}

/// A leak beside blocks that live for a while, for a day.
fn leak() -> Series {
    course(DAY, |tick, series, room| {
        series.born(tick, 64, room);
        series.born(tick, 64, room);
        if let Some(birth) = tick.checked_sub(1 << (tick % 12)) {
            series.died(birth, tick, 64, room);
        }
    })
}

/// A cache that filled within an hour and turns over.
fn cache() -> Series {
    course(DAY, |tick, series, room| {
        series.born(tick, 64, room);
        if let Some(birth) = tick.checked_sub(54_000) {
            series.died(birth, tick, 64, room);
        }
    })
}

/// Allocated at the start, and that was all.
fn start_up() -> Series {
    course(20, |tick, series, room| series.born(tick, 64, room))
}

fn course(end: Tick, step: impl Fn(Tick, &mut Series, &mut Room)) -> Series {
    let mut room = Room::default();
    let mut series = Series::new(0);
    for tick in (0..end).step_by(1.max(end as usize / 200_000)) {
        step(tick, &mut series, &mut room);
    }
    series
}

fn context() -> Context {
    Context::new(Ticks::new(0, 26))
}

#[divan::bench]
fn judge_a_leak(bencher: Bencher) {
    let series = leak();
    bencher.bench(|| judge(black_box(&series), DAY, &context()));
}

#[divan::bench]
fn judge_a_cache(bencher: Bencher) {
    let series = cache();
    bencher.bench(|| judge(black_box(&series), DAY, &context()));
}

#[divan::bench]
fn rule_out_a_start_up(bencher: Bencher) {
    let series = start_up();
    bencher.bench(|| black_box(&series).may_leak(DAY));
}

#[divan::bench(args = [100, 1_000, 10_000])]
fn judge_a_process_of(bencher: Bencher, stacks: usize) {
    let kinds = [leak(), cache(), start_up()];
    let series: Vec<Series> = (0..stacks)
        .map(|stack| kinds[if stack < 10 { stack % 2 } else { 2 }].clone())
        .collect();
    let mut total = Course::new(0);
    for tick in 1..DAY / 100 {
        total.hold(100 * tick, 1e6 + f64::from(tick), 10_000);
    }
    let stacks: Vec<&Series> = series.iter().collect();
    bencher.bench(|| judge_all(&stacks, &total, None, DAY, &context()));
}

fn sizes() {
    for (what, series) in [
        ("that never outlived a tick", Series::new(0)),
        ("that allocated at the start", start_up()),
        ("of a cache after a day", cache()),
        ("of a leak after a day", leak()),
    ] {
        println!("a series {what}: {} bytes", series.memory_bytes());
    }
}

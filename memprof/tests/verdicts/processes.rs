//! Processes of many stacks: what is rare for one stack must be rare for a process too.

use memprof::growth::{Context, Course, Judgement, Series, Ticks, Verdict, judge_all};

use crate::corpus::{Kind, Sample};
use crate::score::{half, samples_per_kind, share};

const INTERVALS: u32 = 60;
/// Stacks of an innocent process.
const STACKS: u64 = 40;

/// The verdict on a process whose stacks are of these kinds, each with the number of its sample.
fn judged(stacks: &[(Kind, u64)]) -> Judgement {
    let mut series: Vec<Series> = Vec::new();
    let mut bytes = vec![0u64; INTERVALS as usize];
    let mut blocks = vec![0u32; INTERVALS as usize];
    let mut shift = 0;
    for &(kind, number) in stacks {
        let sample = Sample::new(kind, half(), number, INTERVALS);
        shift = sample.shift;
        sample.play(shift, |interval, one| {
            bytes[interval as usize - 1] += one.outstanding_bytes();
            blocks[interval as usize - 1] += one.outstanding_count();
            if interval == INTERVALS {
                series.push(one.clone());
            }
        });
    }
    let mut total = Course::new(0);
    for (interval, (bytes, blocks)) in (1..).zip(bytes.iter().zip(&blocks)) {
        total.hold(interval, *bytes as f64, *blocks);
    }
    let stacks: Vec<&Series> = series.iter().collect();
    let context = Context::new(Ticks::new(0, shift));
    judge_all(&stacks, &total, None, INTERVALS, &context).whole
}

/// The stacks of an innocent process. Numbers that agree modulo 6 have intervals of one length.
fn innocents(process: u64) -> Vec<(Kind, u64)> {
    let kinds = half().innocents();
    let stack = |stack| {
        let nth = process * STACKS + stack;
        let kind = kinds[(nth % kinds.len() as u64) as usize];
        (kind, 6 * (1000 + nth / kinds.len() as u64) + process % 6)
    };
    (0..STACKS).map(stack).collect()
}

#[test]
fn many_innocent_stacks_do_not_make_a_leak_and_one_leak_among_them_is_found() {
    let processes = samples_per_kind(60);
    let leaks = half().leaks();
    let (mut false_alarms, mut sure, mut found) = (0, 0, 0);
    for process in 0..processes {
        let mut stacks = innocents(process);
        let whole = judged(&stacks);
        let leak = whole.verdict == Verdict::Leak;
        false_alarms += u64::from(leak);
        sure += u64::from(leak && whole.confidence >= Some(0.8));
        let kind = leaks[(process % leaks.len() as u64) as usize];
        stacks.push((kind, 6 * (2000 + process) + process % 6));
        found += u64::from(judged(&stacks).verdict == Verdict::Leak);
    }
    println!(
        "of {processes} processes of {STACKS} innocent stacks {:.3} were called a leak ({:.3} \
         surely); with one leak more {:.3} were",
        share(false_alarms, processes),
        share(sure, processes),
        share(found, processes)
    );
    assert_eq!(sure, 0);
    assert!(share(false_alarms, processes) <= 0.10);
    assert!(share(found, processes) >= 0.85);
}

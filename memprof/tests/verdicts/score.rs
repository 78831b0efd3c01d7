//! Counting how often verdicts are right, by kind and over all, beside the judgement in common use.

use std::env;

use memprof::growth::{Context, Judgement, Ticks, Verdict, judge};

use crate::corpus::{Half, Kind, Sample, Truth};

/// Samples per kind: so many by default, or as `MEMPROF_CORPUS` says.
pub fn samples_per_kind(by_default: u64) -> u64 {
    let asked = env::var("MEMPROF_CORPUS").ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or(by_default)
}

/// Whether the whole corpus was asked for.
pub fn is_whole() -> bool {
    env::var_os("MEMPROF_CORPUS").is_some()
}

/// The half to judge: the held-out one, unless the other is asked for.
pub fn half() -> Half {
    match env::var("MEMPROF_CORPUS_HALF").as_deref() {
        Ok("tuning") => Half::Tuning,
        _ => Half::HeldOut,
    }
}

/// The verdict on a sample at its end; ticks are 2^`finer` times as fine as its intervals.
pub fn judge_at_end(sample: &Sample, finer: u32) -> Judgement {
    let shift = sample.shift - finer;
    let context = Context::new(Ticks::new(0, shift));
    let mut verdict = None;
    sample.play(shift, |interval, series| {
        if interval == sample.intervals {
            verdict = Some(judge(series, interval << finer, &context));
        }
    });
    verdict.expect("a sample has a last interval")
}

/// Counts over samples.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub samples: u64,
    pub called_leak: u64,
    /// By a straight line with R² above 0.8.
    pub line_called_leak: u64,
    pub named_right: u64,
    /// Of leaks that were called one: whether the rate's interval covers the truth.
    pub intervals: u64,
    pub covering: u64,
}

impl Tally {
    pub fn of(sample: &Sample, judgement: &Judgement) -> Self {
        let called_leak = judgement.verdict == Verdict::Leak;
        let mut tally = Self {
            samples: 1,
            called_leak: u64::from(called_leak),
            line_called_leak: u64::from(judgement.line_says_leak),
            named_right: u64::from(sample.names.contains(&judgement.verdict)),
            ..Self::default()
        };
        if let Truth::Leak { bytes_per_interval } = sample.truth
            && called_leak
        {
            let seconds = Ticks::new(0, sample.shift).seconds(1.0);
            let truth = bytes_per_interval / seconds;
            let [low, high] = judgement.rate_ci95.expect("a leak has a rate");
            tally.intervals = 1;
            tally.covering = u64::from(low <= truth && truth <= high);
        }
        tally
    }

    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.called_leak += other.called_leak;
        self.line_called_leak += other.line_called_leak;
        self.named_right += other.named_right;
        self.intervals += other.intervals;
        self.covering += other.covering;
    }
}

/// The share of `part` in `all`.
pub fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

/// Sums over leaks and innocents.
#[derive(Clone, Copy, Default)]
pub struct Score {
    pub leaks: Tally,
    pub innocents: Tally,
    pub filling: Tally,
}

impl Score {
    /// Judges so many samples of every kind, and prints a line for each kind if asked.
    pub fn of(
        groups: [&[Kind]; 3],
        samples: u64,
        print: bool,
        sample: impl Fn(Kind, u64) -> Option<Sample>,
        judgement: impl Fn(&Sample) -> Judgement,
    ) -> Self {
        let mut score = Self::default();
        let heading = "share called leak, by a line, name right, interval covers";
        print_if(print, format!("{:24}{heading}", "kind"));
        for (group, kinds) in groups.iter().enumerate() {
            for &kind in *kinds {
                let mut tally = Tally::default();
                for number in 0..samples {
                    if let Some(sample) = sample(kind, number) {
                        tally.add(&Tally::of(&sample, &judgement(&sample)));
                    }
                }
                print_if(print, line(kind.0, &tally, group));
                [&mut score.leaks, &mut score.innocents, &mut score.filling][group].add(&tally);
            }
        }
        print_if(print, score.summary());
        score
    }

    pub fn precision(&self) -> f64 {
        let right = self.leaks.called_leak;
        share(right, right + self.innocents.called_leak)
    }

    pub fn recall(&self) -> f64 {
        share(self.leaks.called_leak, self.leaks.samples)
    }

    pub fn named_right(&self) -> f64 {
        share(self.innocents.named_right, self.innocents.samples)
    }

    pub fn coverage(&self) -> f64 {
        share(self.leaks.covering, self.leaks.intervals)
    }

    fn summary(&self) -> String {
        let line_right = self.leaks.line_called_leak;
        format!(
            "{} leaks, {} innocents: precision {:.4}, recall {:.3}; by a line {:.3} and {:.3}\n\
             name right {:.3}, interval covers {:.3}; of {} still filling {:.2} called leak",
            self.leaks.samples,
            self.innocents.samples,
            self.precision(),
            self.recall(),
            share(line_right, line_right + self.innocents.line_called_leak),
            share(line_right, self.leaks.samples),
            self.named_right(),
            self.coverage(),
            self.filling.samples,
            share(self.filling.called_leak, self.filling.samples),
        )
    }
}

fn line(kind: &str, tally: &Tally, group: usize) -> String {
    let called = share(tally.called_leak, tally.samples);
    let by_line = share(tally.line_called_leak, tally.samples);
    let last = match group {
        0 => format!("        {:.2}", share(tally.covering, tally.intervals)),
        _ => format!("  {:.2}", share(tally.named_right, tally.samples)),
    };
    format!("{kind:24}{called:.2}  {by_line:.2}{last}")
}

fn print_if(print: bool, line: String) {
    if print {
        println!("{line}");
    }
}

//! Are the verdicts right? Simulated stacks of known truth go through the same series and judgement
//! as real ones. Thresholds were chosen on one half of the corpus; these tests hold the goals on
//! the other.
//!
//! By default a small corpus, so that it takes seconds in a debug build. The figures of the whole:
//!
//! ```sh
//! MEMPROF_CORPUS=120 cargo test --release -p memprof --test verdicts -- --nocapture --test-threads 1
//! ```
//!
//! A multiple of 6, as there are 6 lengths of intervals. `MEMPROF_CORPUS_HALF=tuning` shows the half
//! to tune on instead.

mod bounds;
mod corpus;
mod long_runs;
mod merging;
mod processes;
mod score;
mod sentences;
mod short_runs;
mod whole;
mod window;

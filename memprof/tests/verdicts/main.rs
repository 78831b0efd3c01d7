//! Are the verdicts right? Simulated stacks of known truth through the same series and judgement as
//! real ones.

#[allow(dead_code)]
mod corpus;

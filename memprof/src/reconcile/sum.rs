//! The parts as the report has them, of one process and of several together.

use super::tally::{Blocks, Tally};
use crate::report::{Part, PartKind, PartKnownBy, ReconciledProcess, Reconciliation};

/// The parts of one process.
pub(crate) fn parts(tally: &Tally) -> Vec<Part> {
    let total = tally.total();
    let is_said = |part| match part {
        PartKind::SlackWithSurvivors | PartKind::SlackFree => tally.blocks == Blocks::Seen,
        PartKind::Slack => tally.blocks != Blocks::Seen,
        _ => true,
    };
    let said = PartKind::ALL.into_iter().filter(|part| is_said(*part));
    said.map(|part| {
        let known_by = known_by(tally, part);
        let bytes = (known_by != PartKnownBy::Unknown).then(|| tally.bytes(part));
        one(part, bytes, total, known_by)
    })
    .collect()
}

fn known_by(tally: &Tally, part: PartKind) -> PartKnownBy {
    let known = match part {
        PartKind::Held | PartKind::Slack if matches!(tally.blocks, Blocks::Sampled(_)) => {
            PartKnownBy::Sample
        }
        PartKind::Held if tally.blocks == Blocks::Unseen => PartKnownBy::Unknown,
        PartKind::Held | PartKind::SlackWithSurvivors => PartKnownBy::Pages,
        PartKind::MappedByProgram if tally.follows_mappings => PartKnownBy::Events,
        PartKind::MappedByProgram => PartKnownBy::Unknown,
        PartKind::BeforeAttaching => tally.before.unwrap_or(PartKnownBy::Unknown),
        PartKind::Slack
        | PartKind::SlackFree
        | PartKind::Stacks
        | PartKind::MappedFiles
        | PartKind::Shared => PartKnownBy::Name,
        PartKind::Unexplained => PartKnownBy::Rest,
    };
    let known = match known {
        PartKnownBy::Name if tally.is_by_events(part) => PartKnownBy::Events,
        known => known,
    };
    match tally.is_guessed(part) {
        true => known.max(PartKnownBy::Shape),
        false => known,
    }
}

fn one(part: PartKind, bytes: Option<u64>, total: u64, known_by: PartKnownBy) -> Part {
    Part {
        part,
        bytes,
        share: bytes.map(|bytes| share(bytes, total)),
        known_by,
    }
}

fn share(bytes: u64, total: u64) -> f64 {
    match total {
        0 => 0.0,
        total => bytes as f64 / total as f64,
    }
}

/// What of some parts is not explained, of the whole: 0 to 1.
pub(crate) fn unexplained_share(parts: &[Part]) -> f64 {
    let unexplained = parts.iter().find(|one| one.part == PartKind::Unexplained);
    unexplained.and_then(|one| one.share).unwrap_or(0.0)
}

/// All processes together. `None` if there is none.
pub(crate) fn together(
    at_seconds: f64,
    processes: Vec<ReconciledProcess>,
    reasons: Vec<String>,
    processes_left_out: u64,
) -> Option<Reconciliation> {
    if processes.is_empty() {
        return None;
    }
    let rss_bytes = processes.iter().map(|one| one.rss_bytes).sum();
    let counters = processes.iter().map(|one| one.rss_counter_bytes);
    let parts = sum(&processes, rss_bytes);
    Some(Reconciliation {
        at_seconds,
        rss_bytes,
        rss_counter_bytes: counters.sum(),
        unexplained_share: unexplained_share(&parts),
        parts,
        reasons,
        processes,
        processes_left_out,
    })
}

/// The parts of all. One that is unknown of some has what is known of the others.
fn sum(processes: &[ReconciledProcess], total: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    for part in PartKind::ALL {
        let all = processes.iter().flat_map(|one| &one.parts);
        let mut bytes = None;
        let mut known_by = None;
        for one in all.filter(|one| one.part == part) {
            known_by = known_by.max(Some(one.known_by));
            if let Some(more) = one.bytes {
                *bytes.get_or_insert(0) += more;
            }
        }
        parts.extend(known_by.map(|known_by| one(part, bytes, total, known_by)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, unexplained: u64, before: Option<u64>) -> ReconciledProcess {
        let total = unexplained + before.unwrap_or(0);
        let before_known = match before {
            Some(_) => PartKnownBy::Pages,
            None => PartKnownBy::Unknown,
        };
        let parts = vec![
            one(PartKind::BeforeAttaching, before, total, before_known),
            one(
                PartKind::Unexplained,
                Some(unexplained),
                total,
                PartKnownBy::Rest,
            ),
        ];
        ReconciledProcess {
            pid,
            rss_bytes: total,
            rss_counter_bytes: Some(total),
            unexplained_share: unexplained_share(&parts),
            parts,
            ..ReconciledProcess::default()
        }
    }

    #[test]
    fn parts_of_several_processes_add_up_and_a_sum_is_known_as_its_weakest_part_is() {
        let all = vec![process(1, 300, Some(100)), process(2, 100, None)];
        let sum = together(2.0, all, Vec::new(), 3).unwrap();
        assert_eq!((sum.rss_bytes, sum.rss_counter_bytes), (500, Some(500)));
        assert_eq!(sum.unexplained_share, 0.8);
        let known: u64 = sum.parts.iter().filter_map(|part| part.bytes).sum();
        assert_eq!(known, sum.rss_bytes);
        assert_eq!(sum.parts[0].bytes, Some(100));
        assert_eq!(sum.parts[0].known_by, PartKnownBy::Unknown);
        assert_eq!(sum.processes_left_out, 3);
    }

    #[test]
    fn of_nobody_there_is_nothing_to_say() {
        assert_eq!(together(1.0, Vec::new(), Vec::new(), 0), None);
    }

    #[test]
    fn nothing_in_memory_is_nothing_unexplained() {
        let sum = together(1.0, vec![process(1, 0, Some(0))], Vec::new(), 0).unwrap();
        assert_eq!(sum.unexplained_share, 0.0);
    }

    #[test]
    fn every_part_is_listed_with_how_it_is_known_and_both_slacks_are_one_in_a_sample() {
        let names = |tally: &Tally| -> Vec<_> {
            let parts = parts(tally);
            parts.iter().map(|one| (one.part, one.known_by)).collect()
        };
        let exact = names(&Tally::default());
        assert_eq!(exact.len(), PartKind::ALL.len() - 1);
        assert!(exact.contains(&(PartKind::Held, PartKnownBy::Pages)));
        assert!(exact.contains(&(PartKind::MappedByProgram, PartKnownBy::Unknown)));
        let sampled = names(&Tally {
            blocks: Blocks::Sampled(1.0),
            follows_mappings: true,
            before: Some(PartKnownBy::Launch),
            ..Tally::default()
        });
        assert!(sampled.contains(&(PartKind::Slack, PartKnownBy::Sample)));
        assert!(sampled.contains(&(PartKind::MappedByProgram, PartKnownBy::Events)));
        assert!(sampled.contains(&(PartKind::BeforeAttaching, PartKnownBy::Launch)));
        assert_eq!(sampled.len(), PartKind::ALL.len() - 2);
    }
}

//! What resident memory is made of, in text.

use insta::assert_snapshot;
use memprof::report::Reconciliation;

use super::{export, plain, sample};

fn section(width: usize) -> String {
    let text = export("text", plain(width), &[], &sample::reconciled());
    let from = text.find("Resident memory").unwrap();
    let to = text.find("Top allocators").unwrap();
    text[from..to].to_owned()
}

#[test]
fn most_of_it_is_not_explained() {
    assert_snapshot!(section(100));
}

#[test]
fn on_a_narrow_page_the_figures_stay() {
    let section = section(40);
    for figure in ["5.7 MiB", "15.0%", "27.7 MiB", "72.5%"] {
        assert!(section.contains(figure), "{figure}: {section}");
    }
}

#[test]
fn what_could_not_be_looked_at_is_said_and_why() {
    let mut report = sample::report();
    let text = export("text", plain(100), &[], &report);
    assert!(!text.contains("Resident memory"), "an older report");
    report.reconciliation_unknown = Some("nobody lived long enough".to_owned());
    let text = export("text", plain(100), &[], &report);
    assert!(
        text.contains("is unknown: nobody lived long enough"),
        "{text}"
    );
}

#[test]
fn a_share_of_nothing_is_no_line() {
    let mut report = sample::reconciled();
    report.reconciliation = Some(Reconciliation {
        reasons: Vec::new(),
        ..report.reconciliation.unwrap()
    });
    let text = export("text", plain(100), &[], &report);
    assert!(!text.contains("shared memory") && !text.contains("mapped by the program"));
    assert!(!text.contains("Most of it is not explained"));
}

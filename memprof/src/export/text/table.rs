//! A table of a snapshot: columns of figures, aligned to the right, and what they are of behind them.

use std::io;

use super::fit::{columns, keep_end, pad_left};
use super::page::{Page, Paint};

/// One line: its figures, and what they are of.
pub(super) struct Row<const N: usize> {
    pub figures: [String; N],
    /// What stands before the name and is never shortened.
    pub lead: String,
    pub name: String,
}

/// Writes a title, the columns' names, the rows, and an empty line. Of names that are too long the end
/// stays, as it tells most of a path.
pub(super) fn write<const N: usize>(
    page: &mut Page<'_>,
    title: &str,
    heads: [&str; N],
    rows: &[Row<N>],
) -> io::Result<()> {
    page.text(title, Paint::Strong)?;
    let mut widths = heads.map(columns);
    for row in rows {
        for (width, figure) in widths.iter_mut().zip(&row.figures) {
            *width = columns(figure).max(*width);
        }
    }
    let line = |figures: [&str; N]| {
        let mut line = String::new();
        for (figure, width) in figures.into_iter().zip(widths) {
            line.push_str("  ");
            line.push_str(&pad_left(figure, width));
        }
        line
    };
    page.text(&line(heads), Paint::Faint)?;
    for row in rows {
        let [first, rest @ ..] = &row.figures[..] else {
            continue;
        };
        let first = format!("  {}", pad_left(first, widths[0]));
        let mut others = String::new();
        for (figure, width) in rest.iter().zip(&widths[1..]) {
            others.push_str("  ");
            others.push_str(&pad_left(figure, *width));
        }
        let taken = columns(&first) + columns(&others) + 2 + columns(&row.lead);
        let room = page.width().saturating_sub(taken);
        let name = keep_end(&page.clean(&row.name), room, page.ellipsis());
        page.line(&[
            (first, Paint::Strong),
            (others, Paint::Plain),
            (format!("  {}{name}", row.lead), Paint::Plain),
        ])?;
    }
    page.blank()
}

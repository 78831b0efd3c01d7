//! One stack, a frame a line: the allocator's own frames faint, the guilty one marked, a long
//! stack shortened in the middle.

use std::io;

use super::fit::{columns, keep_end, pad_right};
use super::name::shorten;
use super::page::{Page, Paint};
use crate::export::label::{file_name, function_label, source_label};
use crate::report::{CallPath, Frame};

/// Frames of the allocator and its wrappers that are shown in full; of more, the first two and the
/// last one.
const PLUMBING_FRAMES: usize = 4;
/// Callers of the guilty frame that are shown, itself included.
const CALLER_FRAMES: usize = 7;
/// Outermost frames that are shown: they tell which thread this is.
const OUTERMOST_FRAMES: usize = 3;
/// Where function names begin.
const INDENT: usize = 7;

/// A line of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// The frame of this index.
    Frame(usize),
    /// So many frames left out.
    Gap(usize),
}

pub(super) fn write<'a>(page: &mut Page<'_>, path: impl Into<CallPath<'a>>) -> io::Result<()> {
    let path = path.into();
    let guilty = path.guilty_frame();
    let lines: Vec<Line> = pieces(path.stack.len(), guilty)
        .into_iter()
        .map(|piece| match piece {
            Piece::Frame(index) => Line::Frame {
                role: Role::of(index, guilty),
                name: page.clean(&function_label(&path.stack[index])),
                place: page.clean(&place_of(&path.stack[index])),
            },
            Piece::Gap(frames) => Line::Gap(frames),
        })
        .collect();
    write_aligned(page, &lines)
}

/// A line of a stack, as text.
enum Line {
    Frame {
        role: Role,
        name: String,
        place: String,
    },
    Gap(usize),
}

/// What a frame is to the allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Inside of the allocator or what wraps it.
    Plumbing,
    /// Where a person would look first.
    Guilty,
    /// What called that.
    Caller,
}

impl Role {
    fn of(index: usize, guilty: Option<usize>) -> Self {
        match guilty {
            Some(guilty) if index == guilty => Role::Guilty,
            Some(guilty) if index < guilty => Role::Plumbing,
            _ => Role::Caller,
        }
    }
}

/// Writes names and places in two columns. Names may take what the places leave, and three fifths
/// of the page in any case.
fn write_aligned(page: &mut Page<'_>, lines: &[Line]) -> io::Result<()> {
    let ellipsis = page.ellipsis();
    let room = page.width().saturating_sub(INDENT);
    let widest_place = lines.iter().map(|line| match line {
        Line::Frame { place, .. } => columns(place),
        Line::Gap(_) => 0,
    });
    let left_by_places = room.saturating_sub(widest_place.max().unwrap_or_default() + 2);
    let name_limit = left_by_places.max(room * 3 / 5);
    let short_name = |name: &str| shorten(name, name_limit, ellipsis);
    let widest_name = lines.iter().map(|line| match line {
        Line::Frame { name, .. } => columns(&short_name(name)),
        Line::Gap(_) => 0,
    });
    let name_columns = widest_name.max().unwrap_or_default() + 2;
    for line in lines {
        match line {
            Line::Frame { role, name, place } => {
                let (marker, name_paint, place_paint) = match role {
                    Role::Plumbing => ("", Paint::Faint, Paint::Faint),
                    Role::Guilty => (page.pointer(), Paint::Guilty, Paint::Guilty),
                    Role::Caller => ("", Paint::Plain, Paint::Faint),
                };
                let place = keep_end(place, room.saturating_sub(name_columns), ellipsis);
                page.line(&[
                    (" ".repeat(INDENT - 2), Paint::Plain),
                    (pad_right(marker, 2), Paint::Guilty),
                    (pad_right(&short_name(name), name_columns), name_paint),
                    (place, place_paint),
                ])?;
            }
            Line::Gap(frames) => {
                let text = format!("{:INDENT$}{ellipsis} {frames} more frames", "");
                page.text(&text, Paint::Faint)?;
            }
        }
    }
    Ok(())
}

/// Where a frame is: its source line, else its module; and why it has no name.
fn place_of(frame: &Frame) -> String {
    let mut place = match (
        source_label(frame.file.as_deref(), frame.line),
        &frame.module,
    ) {
        (Some(source), _) => source,
        // A frame without a name has its module's name in its place already.
        (None, Some(module)) if frame.function.is_some() => file_name(module).to_owned(),
        (None, _) => String::new(),
    };
    let remark = match &frame.unknown {
        Some(reason) if frame.function.is_none() => reason.as_str(),
        _ if frame.inlined => "inlined",
        _ => return place,
    };
    if !place.is_empty() {
        place.push(' ');
    }
    place.push_str(&format!("({remark})"));
    place
}

/// Which of `frames` frames are shown, around the `guilty` one.
fn pieces(frames: usize, guilty: Option<usize>) -> Vec<Piece> {
    let guilty = guilty.unwrap_or_default();
    let is_shown = |index: usize| {
        let plumbing =
            index < guilty && (guilty <= PLUMBING_FRAMES || index < 2 || index + 1 == guilty);
        let near = index >= guilty && index < guilty + CALLER_FRAMES;
        let outermost = index + OUTERMOST_FRAMES >= frames;
        plumbing || near || outermost
    };
    let mut pieces = Vec::new();
    let mut index = 0;
    while index < frames {
        let hidden = (index..frames).take_while(|i| !is_shown(*i)).count();
        match hidden {
            // The line that says "1 more frame" would take as much room as the frame.
            0 | 1 => pieces.push(Piece::Frame(index)),
            _ => pieces.push(Piece::Gap(hidden)),
        }
        index += hidden.max(1);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_covered(pieces: &[Piece]) -> usize {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Frame(_) => 1,
                Piece::Gap(frames) => *frames,
            })
            .sum()
    }

    #[test]
    fn a_shortened_stack_keeps_the_guilty_frame_both_ends_and_a_bounded_length() {
        for frames in 1..200 {
            for guilty in (0..frames).map(Some).chain([None]) {
                let pieces = pieces(frames, guilty);
                assert_eq!(frames_covered(&pieces), frames);
                assert!(pieces.len() <= 18, "{frames} {guilty:?}: {}", pieces.len());
                assert!(pieces.contains(&Piece::Frame(guilty.unwrap_or(0))));
                assert!(pieces.contains(&Piece::Frame(0)));
                assert!(pieces.contains(&Piece::Frame(frames - 1)));
                assert!(!pieces.contains(&Piece::Gap(1)));
            }
        }
    }

    #[test]
    fn a_stack_of_ordinary_depth_is_shown_whole() {
        assert!(
            !pieces(12, Some(1))
                .iter()
                .any(|piece| matches!(piece, Piece::Gap(_)))
        );
        assert_eq!(pieces(30, Some(1))[8], Piece::Gap(19));
    }
}

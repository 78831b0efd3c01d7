//! The only place that writes text: it keeps every line within the width, escapes what it writes
//! and colours it if that is wanted.

use std::io::{self, Write};

use anstyle::{AnsiColor, Effects};

use super::super::{Style, escape};
use super::fit::{columns, start_within, wrap};

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Ordinary text.
    Plain,
    /// A heading, or the figure that matters.
    Strong,
    /// What the eye may skip.
    Faint,
    /// The place to go and look at.
    Guilty,
    /// Good news.
    Good,
    /// What needs attention.
    Warning,
}

impl Paint {
    fn ansi(self) -> anstyle::Style {
        let plain = anstyle::Style::new();
        match self {
            Paint::Plain => plain,
            Paint::Strong => plain.effects(Effects::BOLD),
            Paint::Faint => plain.effects(Effects::DIMMED),
            Paint::Guilty => AnsiColor::Yellow.on_default().effects(Effects::BOLD),
            Paint::Good => AnsiColor::Green.on_default(),
            Paint::Warning => AnsiColor::Red.on_default().effects(Effects::BOLD),
        }
    }
}

/// A piece of a line.
pub(super) type Span = (String, Paint);

/// A run of lines on `out`.
pub(super) struct Page<'a> {
    out: &'a mut dyn Write,
    style: Style,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut dyn Write, style: Style) -> Self {
        Page { out, style }
    }

    pub(super) fn width(&self) -> usize {
        self.style.width
    }

    /// Text from outside as it will be written: for measuring it.
    pub(super) fn clean(&self, text: &str) -> String {
        escape(text, self.style.unicode).into_owned()
    }

    pub(super) fn ellipsis(&self) -> &'static str {
        if self.style.unicode { "…" } else { "..." }
    }

    /// What points at the guilty frame; one column.
    pub(super) fn pointer(&self) -> &'static str {
        if self.style.unicode { "▶" } else { ">" }
    }

    /// From one to another.
    pub(super) fn arrow(&self) -> &'static str {
        if self.style.unicode { "→" } else { "->" }
    }

    /// An empty line.
    pub(super) fn blank(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// One line of several pieces, cut at the width.
    pub(super) fn line(&mut self, spans: &[Span]) -> io::Result<()> {
        // The last guard: whatever comes from the target, nothing but text leaves here.
        let mut spans: Vec<Span> = spans
            .iter()
            .map(|(text, paint)| (self.clean(text), *paint))
            .collect();
        self.cut(&mut spans);
        trim_end(&mut spans);
        for (text, paint) in &spans {
            if self.style.color && *paint != Paint::Plain {
                let ansi = paint.ansi();
                write!(self.out, "{ansi}{text}{ansi:#}")?;
            } else {
                self.out.write_all(text.as_bytes())?;
            }
        }
        self.blank()
    }

    /// One line of one piece.
    pub(super) fn text(&mut self, text: &str, paint: Paint) -> io::Result<()> {
        self.line(&[(text.to_owned(), paint)])
    }

    /// The parts of a text behind `front`, over as many lines as they need, the further ones
    /// indented to where the text begins.
    pub(super) fn paragraph(
        &mut self,
        mut front: Vec<Span>,
        parts: &[String],
        paint: Paint,
    ) -> io::Result<()> {
        let parts: Vec<String> = parts.iter().map(|part| self.clean(part)).collect();
        let indent: usize = front.iter().map(|(text, _)| columns(text)).sum();
        let mut lines = wrap(&parts, self.width().saturating_sub(indent));
        if lines.is_empty() {
            lines.push(String::new());
        }
        for line in lines {
            front.push((line, paint));
            self.line(&front)?;
            front = vec![(" ".repeat(indent), Paint::Plain)];
        }
        Ok(())
    }

    fn cut(&self, spans: &mut Vec<Span>) {
        let total: usize = spans.iter().map(|(text, _)| columns(text)).sum();
        if total <= self.width() {
            return;
        }
        let ellipsis = start_within(self.ellipsis(), self.width());
        let mut room = self.width() - columns(ellipsis);
        for index in 0..spans.len() {
            let needed = columns(&spans[index].0);
            if needed > room {
                let kept = start_within(&spans[index].0, room).to_owned();
                spans[index].0 = kept + ellipsis;
                spans.truncate(index + 1);
                return;
            }
            room -= needed;
        }
    }
}

fn trim_end(spans: &mut Vec<Span>) {
    while let Some((text, _)) = spans.last_mut() {
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            return;
        }
        spans.pop();
    }
}

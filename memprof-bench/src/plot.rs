//! The comparison as a picture: what each tracer adds to a pair, on a logarithmic scale.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::results::{Outcome, Row};
use crate::statistics::Spread;
use crate::tracers::TRACERS;

/// Pixels.
const WIDTH: u32 = 1100;
const BAR_HEIGHT: u32 = 14;
const MARGIN: u32 = 70;
const LABELS_WIDTH: u32 = 140;
const LEGEND_WIDTH: u32 = 190;
const LINE_HEIGHT: i32 = 20;
/// A colour for each tracer, told apart by colour-blind readers too (Okabe and Ito's palette).
const COLOURS: [RGBColor; TRACERS.len()] = [
    RGBColor(0, 0, 0),
    RGBColor(153, 153, 153),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
];

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;

/// A bar to draw.
struct Bar {
    /// Its tracer's place in the table.
    tracer: usize,
    /// How many bars from the top, with the gaps between workloads.
    place: usize,
    added: Spread,
}

/// Draws the SVG at `path`.
pub(crate) fn draw(outcomes: &[Outcome], path: &Path) -> Result<()> {
    let (bars, names, places) = arrange(outcomes);
    let bounds = bars.iter().map(|bar| bar.added);
    let least = bounds
        .clone()
        .map(|added| added.least)
        .fold(f64::INFINITY, f64::min);
    let most = bounds.map(|added| added.most).fold(0.0, f64::max);
    if bars.is_empty() {
        return Ok(());
    }
    let size = (WIDTH, 2 * MARGIN + places as u32 * BAR_HEIGHT);
    let area = SVGBackend::new(path, size).into_drawing_area();
    draw_on(
        &area,
        &bars,
        &names,
        places as f64,
        (least / 2.0, most * 2.0),
    )
    .map_err(|error| anyhow!("can't draw {}: {error}", path.display()))
}

/// Bars from top to bottom, workload by workload, each with its name's place; and the height of all.
fn arrange(outcomes: &[Outcome]) -> (Vec<Bar>, Vec<(&'static str, f64)>, usize) {
    let (mut bars, mut names, mut place) = (Vec::new(), Vec::new(), 0);
    for outcome in outcomes {
        let first = place;
        for (tracer, row) in outcome.rows.iter().enumerate() {
            if let Some(added) = drawable(row) {
                bars.push(Bar {
                    tracer,
                    place,
                    added,
                });
                place += 1;
            }
        }
        if place > first {
            names.push((outcome.workload, (first + place) as f64 / 2.0));
            place += 1;
        }
    }
    (bars, names, place)
}

/// What was added, if a logarithm can show it.
fn drawable(row: &Row) -> Option<Spread> {
    let added = row.added_ns_per_pair.filter(|added| added.median > 0.0)?;
    // Noise may reach below nothing, which has no place on the scale.
    let least = if added.least > 0.0 {
        added.least
    } else {
        added.median
    };
    Some(Spread { least, ..added })
}

fn draw_on(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    bars: &[Bar],
    names: &[(&'static str, f64)],
    places: f64,
    (from, to): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
        .caption(
            "Nanoseconds that tracing adds to a malloc/free pair",
            ("sans-serif", 20),
        )
        .margin(10)
        .margin_left(LABELS_WIDTH)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(40)
        .build_cartesian_2d((from..to).log_scale(), places..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(8)
        .x_label_formatter(&|ns| format!("{ns:.0}"))
        .x_desc("CPU ns, median; the line reaches from the fastest to the slowest round")
        .draw()?;
    let mut legend = MARGIN as i32;
    for (number, tracer) in TRACERS.iter().enumerate() {
        let colour = COLOURS[number];
        let own: Vec<&Bar> = bars.iter().filter(|bar| bar.tracer == number).collect();
        if own.is_empty() {
            continue;
        }
        let series = own.iter().map(|bar| {
            let (top, bottom) = (bar.place as f64 + 0.1, bar.place as f64 + 0.9);
            Rectangle::new([(from, top), (bar.added.median, bottom)], colour.filled())
        });
        chart.draw_series(series)?;
        let left = (WIDTH - LEGEND_WIDTH + 10) as i32;
        let square = [(left, legend), (left + 12, legend + 12)];
        area.draw(&Rectangle::new(square, colour.filled()))?;
        area.draw(&Text::new(
            tracer.name,
            (left + 18, legend),
            ("sans-serif", 13),
        ))?;
        legend += LINE_HEIGHT;
        chart.draw_series(own.iter().map(|bar| {
            let middle = bar.place as f64 + 0.5;
            PathElement::new([(bar.added.least, middle), (bar.added.most, middle)], BLACK)
        }))?;
    }
    for (name, place) in names {
        let (_, y) = chart.backend_coord(&(from, *place));
        area.draw(&Text::new(*name, (10, y - 7), ("sans-serif", 14)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::two_rounds;
    use crate::workloads::WORKLOADS;

    #[test]
    fn every_workload_and_every_tracer_that_added_something_is_in_the_picture() {
        let directory = std::env::temp_dir().join(format!("memprof-plot-{}", std::process::id()));
        let outcomes = [two_rounds(&WORKLOADS[0]), two_rounds(&WORKLOADS[2])];
        draw(&outcomes, &directory).unwrap();
        let picture = std::fs::read_to_string(&directory).unwrap();
        std::fs::remove_file(&directory).unwrap();
        for text in ["loop-1", "server-little", "floor", "memprof", "bpftrace"] {
            assert!(
                picture.contains(&format!("\n{text}\n")),
                "{text} is missing"
            );
        }
        assert!(!picture.contains("\nvalgrind\n"), "it was not measured");
    }

    #[test]
    fn what_is_not_above_the_noise_has_no_bar() {
        let mut outcome = two_rounds(&WORKLOADS[0]);
        for row in &mut outcome.rows {
            row.added_ns_per_pair = Spread::of([-3.0, -1.0]);
        }
        let (bars, names, places) = arrange(&[outcome]);
        assert!(bars.is_empty() && names.is_empty() && places == 0);
    }
}

//! The verdict on resident memory by itself, where no blocks are followed: what its course looks like.
//! Nothing says whose it is or whether it will be given back, so it is never called a leak, and of a
//! course that rose to a level nothing says whether it is replaced since.

use super::course::Course;
use super::judge::unjudgeable;
use super::reasons;
use super::shape;
use super::ticks::Tick;
use super::verdict::{Context, Judgement};
use super::view::View;

/// Judges the course of resident memory, which is `latest` bytes now.
pub fn judge_resident(course: &Course, latest: f64, now: Tick, context: &Context) -> Judgement {
    let view = View::of_course(course, latest, now);
    if let Some(reason) = unjudgeable(&view, context) {
        return Judgement::insufficient(reason);
    }
    let Some(shape) = shape::of(&view.totals, view.falls, &[]) else {
        return Judgement::insufficient(reasons::NO_COURSE.to_owned());
    };
    let mut judgement = Judgement::measured(&view, context);
    judgement.take_shape(&shape, &view, context);
    if let Some((first, _)) = course.ends() {
        judgement
            .reasons
            .insert(0, reasons::resident(first, latest));
    }
    judgement
}

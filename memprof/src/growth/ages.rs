//! Deaths by age, in quarter octaves of the age, all of them and the recent ones.

use super::ticks::Tick;

/// The class of an age in ticks: 0, 1, 2, 3, 4 … 8, 10, 12, 14, 16, 20 …
#[inline]
pub fn age_class(age: Tick) -> usize {
    if age < 4 {
        return age as usize;
    }
    let octave = age.ilog2();
    (4 * (octave - 1) + ((age >> (octave - 2)) & 3)) as usize
}

/// The youngest age of a class, ticks.
pub fn youngest_of(class: usize) -> u64 {
    if class < 4 {
        return class as u64;
    }
    (4 + class as u64 % 4) << (class / 4 - 1)
}

/// What died at ages of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Deaths {
    /// Bytes, since the start.
    pub bytes: u64,
    /// Blocks, since the start; no more than 2^32 - 1.
    pub count: u32,
    /// Bytes in the period before the current one, and in the current one.
    recent: [f32; 2],
}

impl Deaths {
    /// Bytes since [`Ages::recent_since`].
    pub fn recent_bytes(&self) -> f64 {
        f64::from(self.recent[0]) + f64::from(self.recent[1])
    }
}

/// Deaths by age.
#[derive(Clone, Debug)]
pub struct Ages {
    classes: Vec<Deaths>,
    /// When the period before the current one began, and the current one.
    periods: [Tick; 2],
}

/// A period of what counts as recent is an eighth of the run, and at least this many ticks.
const SHORTEST_PERIOD: Tick = 4;

impl Ages {
    /// No deaths yet.
    pub fn new(since: Tick) -> Self {
        Self {
            classes: Vec::new(),
            periods: [since; 2],
        }
    }

    /// Counts the death of one block.
    #[inline]
    pub fn died(&mut self, age: Tick, bytes: u64) {
        self.died_many(age, bytes, 1);
    }

    /// Counts the deaths of several blocks of one age.
    #[inline]
    pub fn died_many(&mut self, age: Tick, bytes: u64, count: u32) {
        let class = age_class(age);
        if class >= self.classes.len() {
            self.classes.reserve_exact(class + 1 - self.classes.len());
            self.classes.resize(class + 1, Deaths::default());
        }
        let deaths = &mut self.classes[class];
        deaths.bytes += bytes;
        deaths.count = deaths.count.saturating_add(count);
        deaths.recent[1] += bytes as f32;
    }

    /// Takes a death back that was none.
    pub fn revived(&mut self, age: Tick, bytes: u64) {
        if let Some(deaths) = self.classes.get_mut(age_class(age)) {
            deaths.bytes = deaths.bytes.saturating_sub(bytes);
            deaths.count = deaths.count.saturating_sub(1);
            deaths.recent[1] = (deaths.recent[1] - bytes as f32).max(0.0);
        }
    }

    /// Begins a new period if the current one has lasted long enough.
    pub fn advance(&mut self, since: Tick, now: Tick) {
        let period = SHORTEST_PERIOD.max((now - since) / 8);
        if now - self.periods[1] >= period {
            self.periods = [self.periods[1], now];
            for deaths in &mut self.classes {
                deaths.recent = [deaths.recent[1], 0.0];
            }
        }
    }

    /// Deaths by class, as far as there are any.
    pub fn classes(&self) -> &[Deaths] {
        &self.classes
    }

    /// Since when deaths are recent.
    pub fn recent_since(&self) -> Tick {
        self.periods[0]
    }

    /// Adds the deaths of another series.
    pub fn absorb(&mut self, other: &Self) {
        if other.classes.len() > self.classes.len() {
            self.classes.resize(other.classes.len(), Deaths::default());
        }
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.bytes += theirs.bytes;
            mine.count = mine.count.saturating_add(theirs.count);
            mine.recent[0] += theirs.recent[0];
            mine.recent[1] += theirs.recent[1];
        }
        // What either of the two no longer counts as recent may be missing: the shorter span.
        self.periods[0] = self.periods[0].max(other.periods[0]);
    }

    /// Heap bytes.
    pub fn memory_bytes(&self) -> usize {
        self.classes.capacity() * size_of::<Deaths>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bits of age, four classes an octave.
    const AGE_CLASSES: usize = 4 * 31;

    #[test]
    fn classes_are_quarter_octaves_and_follow_without_gaps() {
        let starts: Vec<_> = (0..14).map(youngest_of).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20]);
        for class in 1..AGE_CLASSES {
            let youngest = youngest_of(class) as Tick;
            assert_eq!(age_class(youngest), class);
            assert_eq!(age_class(youngest - 1), class - 1);
        }
        assert_eq!(age_class(Tick::MAX), AGE_CLASSES - 1);
    }

    #[test]
    fn deaths_are_recent_for_a_quarter_of_the_run_at_most() {
        let mut ages = Ages::new(0);
        ages.died(3, 100);
        ages.advance(0, 80);
        assert_eq!(ages.classes()[3].recent_bytes(), 100.0);
        ages.died(3, 10);
        ages.advance(0, 92);
        assert_eq!(ages.classes()[3].recent_bytes(), 10.0);
        assert_eq!((ages.classes()[3].bytes, ages.recent_since()), (110, 80));
    }
}

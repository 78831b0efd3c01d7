//! Keeps account of what tracing takes from the targets: has the kernel time the programs at the
//! start and then ever more rarely, for the timing takes the targets some ten nanoseconds a hit.

use std::{os::fd::OwnedFd, time::Duration};

use aya::sys::{Stats, enable_stats};
use tokio::time::Instant;

use crate::probes::{
    cost::{CostMeter, Estimate, Reading},
    kernel_side::KernelSide,
};

/// How long the programs are timed.
const WINDOW: Duration = Duration::from_millis(200);
/// From the end of the first window to the next; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The account.
pub struct Cost {
    /// `None` if a trap's cost could not be measured.
    meter: Option<CostMeter>,
    window: Option<Window>,
    next: Instant,
    pause: Duration,
}

/// A time in which the kernel times the programs.
struct Window {
    begin: Reading,
    until: Instant,
    /// It stops when this is closed.
    _statistics: OwnedFd,
}

impl Cost {
    /// Begins the account, and the first window; before the gate opens.
    pub fn begin(side: &mut KernelSide) -> Self {
        let mut cost = Self {
            meter: side.emulation().costs.map(CostMeter::new),
            window: None,
            next: Instant::now(),
            pause: FIRST_PAUSE,
        };
        cost.look(side);
        cost
    }

    /// Charges what was hit since the last look; opens and closes windows.
    pub fn look(&mut self, side: &mut KernelSide) {
        let Some(meter) = &mut self.meter else { return };
        let now = Instant::now();
        if self
            .window
            .as_ref()
            .is_some_and(|window| now < window.until)
        {
            return;
        }
        // What the kernel does not tell is not charged; it is asked again.
        let Ok(reading) = side.reading() else { return };
        if let Some(window) = self.window.take() {
            meter.measured(&window.begin, &reading);
            self.next = now + self.pause;
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
            return;
        }
        meter.charge(reading.hits);
        if now >= self.next {
            self.window = open(reading, now);
            // Refused once, it is refused for good.
            self.next = now + LONGEST_PAUSE;
        }
    }

    /// Hits take something else from now on: measures them soon.
    pub fn measure_anew(&mut self) {
        self.window = None;
        self.next = Instant::now();
        self.pause = FIRST_PAUSE;
    }

    /// What the hits so far have taken; `None` if that is not known.
    pub fn estimate(&mut self, side: &mut KernelSide) -> Option<Estimate> {
        let meter = self.meter.as_mut()?;
        let reading = side.reading().ok()?;
        if let Some(window) = self.window.as_mut() {
            meter.measured(&window.begin, &reading);
            window.begin = reading;
        } else {
            meter.charge(reading.hits);
        }
        meter.estimate()
    }
}

fn open(begin: Reading, now: Instant) -> Option<Window> {
    Some(Window {
        begin,
        until: now + WINDOW,
        _statistics: enable_stats(Stats::RunTime).ok()?,
    })
}

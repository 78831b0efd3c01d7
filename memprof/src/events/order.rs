//! Events of several rings in the order in which they happened.
//!
//! Every CPU has a ring of its own, and a poll reads ring after ring; what happened in turn on
//! two CPUs arrives out of turn. Each event carries the time that was taken *inside* its probe,
//! so if A's probe had run to its end before B's began, then time(A) < time(B), whatever CPUs
//! they ran on (`CLOCK_MONOTONIC` is one clock for all). A free is probed at the function's
//! entry, an allocation at its return: the free of a block ends before the allocator can give
//! its address away again, and that allocation's return comes later still. Sorting by time
//! therefore never puts an allocation before the free that made room for it, nor a free before
//! its allocation, since the program can't pass on a pointer that `malloc` hasn't returned.
//! Events with no such relation may fall either way: no table can tell the difference.
//!
//! What is still on its way is the other half: an event may only be applied once nothing earlier
//! can arrive. The caller says so with a watermark: a time such that every event up to it has
//! been pushed or has no successor that has. The clock, read before a poll that emptied all rings,
//! is one: a record that was reserved after its ring was emptied belongs to a probe that ended
//! after that, and so does whatever follows from it. Of a ring that was not emptied, the time of
//! the last record read is one, by the same argument.

use std::vec::Drain;

use super::event::{Event, Nanoseconds};

/// How many events a [`Sink`] hears of before the first of them is applied.
const LOOK_AHEAD: usize = 8;

/// Where events go, in order of time. Any `FnMut(Event)` is one.
pub trait Sink {
    /// These events come next: time to fetch into the cache what applying them will touch.
    #[inline]
    fn expect(&self, event: &Event) {
        let _ = event;
    }

    /// Takes the next event.
    fn apply(&mut self, event: Event);

    /// How many frequent events in a row are worth a call of [`Sink::apply_run`].
    fn least_run(&self) -> usize {
        usize::MAX
    }

    /// Takes the next events, all of them frequent ([`What::is_frequent`]), at once; `false`: none of
    /// them, they have to come one by one.
    ///
    /// [`What::is_frequent`]: super::event::What::is_frequent
    fn apply_run(&mut self, run: &[Event]) -> bool {
        let _ = run;
        false
    }
}

impl<F: FnMut(Event)> Sink for F {
    #[inline]
    fn apply(&mut self, event: Event) {
        self(event);
    }
}

/// Merges events by time behind a watermark. Equal times stay in the order of their pushes.
#[derive(Debug, Default)]
pub struct Order {
    /// The first `sorted` are in order, the rest as pushed.
    pending: Vec<Event>,
    sorted: usize,
    released_to: Nanoseconds,
    late: u64,
}

impl Order {
    /// Nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event in; in any order, though the nearer to sorted runs the cheaper.
    #[inline]
    pub fn push(&mut self, event: Event) {
        self.pending.push(event);
    }

    /// Hands every event with a time up to and including `watermark` to `sink`, in order of
    /// time; later ones stay. The sort finds the rings' runs and merges them; besides that a call
    /// costs one move of what stays.
    pub fn release(&mut self, watermark: Nanoseconds, sink: &mut impl Sink) {
        self.sort();
        let due = self
            .pending
            .partition_point(|event| event.time <= watermark);
        self.hand_out(due, sink);
        self.released_to = self.released_to.max(watermark);
    }

    /// Hands out everything that is pending, in order of time: the end of a run.
    pub fn flush(&mut self, sink: &mut impl Sink) {
        self.sort();
        let last = self.pending.last().map_or(0, |event| event.time);
        self.hand_out(self.pending.len(), sink);
        self.released_to = self.released_to.max(last);
    }

    /// Events that wait for their watermark.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Events that came after a watermark had passed them: applied out of order. Not zero means
    /// that the caller's watermarks were too early.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn sort(&mut self) {
        if self.sorted < self.pending.len() {
            // Stable and adaptive: linear on sorted runs, see `slice::sort_by_key`.
            self.pending.sort_by_key(|event| event.time);
            self.sorted = self.pending.len();
        }
    }

    fn hand_out(&mut self, due: usize, sink: &mut impl Sink) {
        let released_to = self.released_to;
        self.late += self
            .pending
            .iter()
            .take(due)
            .take_while(|event| event.time < released_to)
            .count() as u64;
        self.sorted -= due;
        let mut due = self.pending.drain(..due);
        let least = sink.least_run().max(1);
        while due.len() >= least {
            let frequent = |event: &&Event| event.what.is_frequent();
            let run = due.as_slice().iter().take_while(frequent).count();
            if run >= least && sink.apply_run(&due.as_slice()[..run]) {
                due.by_ref().take(run).for_each(drop);
            } else {
                // With the rare one behind it.
                one_by_one(&mut due, run + 1, sink);
            }
        }
        let rest = due.len();
        one_by_one(&mut due, rest, sink);
    }
}

fn one_by_one(due: &mut Drain<'_, Event>, count: usize, sink: &mut impl Sink) {
    for event in due.as_slice().iter().take(LOOK_AHEAD) {
        sink.expect(event);
    }
    for _ in 0..count {
        let Some(event) = due.next() else { break };
        if let Some(ahead) = due.as_slice().get(LOOK_AHEAD - 1) {
            sink.expect(ahead);
        }
        sink.apply(event);
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{SpaceId, What};
    use super::*;

    fn event(time: Nanoseconds, address: u64) -> Event {
        Event {
            time,
            space: SpaceId(1),
            what: What::Free { address },
        }
    }

    fn released(order: &mut Order, watermark: Nanoseconds) -> Vec<Event> {
        let mut out = Vec::new();
        order.release(watermark, &mut |event: Event| out.push(event));
        out
    }

    #[test]
    fn rings_are_merged_and_later_events_wait_for_their_watermark() {
        let mut order = Order::new();
        for time in [10, 30, 50] {
            order.push(event(time, 1));
        }
        for time in [20, 40, 60] {
            order.push(event(time, 2));
        }
        let first: Vec<_> = released(&mut order, 40).iter().map(|e| e.time).collect();
        assert_eq!(first, [10, 20, 30, 40]);
        assert_eq!(order.len(), 2);
        order.push(event(45, 3));
        assert!(released(&mut order, 44).is_empty());
        let mut rest = Vec::new();
        order.flush(&mut |event: Event| rest.push(event.time));
        assert_eq!(rest, [45, 50, 60]);
        assert!(order.is_empty());
        assert_eq!(order.late(), 0);
    }

    #[test]
    fn equal_times_keep_the_order_of_their_pushes_across_releases() {
        let mut order = Order::new();
        for address in 0..50 {
            order.push(event(7, address));
        }
        order.push(event(3, 99));
        assert_eq!(released(&mut order, 5), [event(3, 99)]);
        for address in 50..100 {
            order.push(event(7, address));
        }
        let expected: Vec<_> = (0..100).map(|address| event(7, address)).collect();
        assert_eq!(released(&mut order, 7), expected);
    }

    #[test]
    fn an_event_behind_a_passed_watermark_is_applied_and_counted() {
        let mut order = Order::new();
        order.push(event(10, 1));
        assert_eq!(released(&mut order, 20).len(), 1);
        order.push(event(15, 2));
        order.push(event(25, 3));
        assert_eq!(released(&mut order, 30).len(), 2);
        assert_eq!(order.late(), 1);
    }
}

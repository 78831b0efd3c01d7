//! The bound on what all series of a run remember together.

/// The most series with a history over all processes. One takes some hundred bytes when its stack
/// allocated at the start only, and at the most about 6 KiB after 7 days of steady allocation and
/// freeing. What comes later is counted, and can't be judged.
pub const MAX_HISTORIES: usize = 1 << 18;

/// Room for histories.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    left: usize,
    refused: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self::for_histories(MAX_HISTORIES)
    }
}

impl Room {
    /// Room for so many.
    pub fn for_histories(histories: usize) -> Self {
        Self {
            left: histories,
            refused: 0,
        }
    }

    /// Takes the room for one.
    pub(super) fn take(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.refused += 1;
                false
            }
        }
    }

    /// Sets room for so many aside, if there is as much, so that others can take it at the same time as
    /// from this.
    pub fn lend(&mut self, histories: usize) -> Option<Self> {
        self.left = self.left.checked_sub(histories)?;
        Some(Self::for_histories(histories))
    }

    /// Takes back what was not taken of room that was lent.
    pub fn take_back(&mut self, lent: Self) {
        self.left += lent.left;
        self.refused += lent.refused;
    }

    /// Gives the room of so many series back that are no more.
    pub fn give_back(&mut self, histories: usize) {
        self.left += histories;
    }

    /// How many series found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_was_lent_and_not_taken_comes_back() {
        let mut room = Room::for_histories(5);
        let mut lent = room.lend(3).expect("there are five");
        assert!(room.lend(3).is_none());
        assert!(lent.take() && lent.take());
        room.take_back(lent);
        assert_eq!((0..5).filter(|_| room.take()).count(), 3);
        assert_eq!(room.refused(), 2);
    }
}

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

    /// Gives the room of so many series back that are no more.
    pub fn give_back(&mut self, histories: usize) {
        self.left += histories;
    }

    /// How many series found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

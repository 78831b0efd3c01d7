//! One segment of a live table: the entries whose hashes begin with the same bits.
//!
//! Entries stand in one array in the order of their hashes, with gaps. An entry's *home* is its
//! hash scaled to the array; it stands there or, if others do, as little to the right as the
//! order allows. The array is a little longer than the homes, to hold what the last ones push
//! out. Every change of size happens in place: the entries are pushed together, then laid out
//! again.

use super::mix::HASH_BITS;
use super::packed::{EMPTY, Entry, hash_of};

/// Fewest slots that an array with entries has.
const MIN_SLOTS: usize = 8;
/// Load after a change of size, of 1024: 20.8 bytes a block, halfway between the two limits.
const GOOD_LOAD: usize = 788;
/// Load, of 1024, above which an insertion wants more room: 17.8 bytes a block.
const MAX_LOAD: usize = 922;
/// Load, of 1024, below which a removal gives room back: 23.7 bytes a block.
const MIN_LOAD: usize = 692;

#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    slots: Vec<Entry>,
    len: u32,
    homes: u32,
    /// The upper `depth` bits of all its hashes.
    pub(super) prefix: u32,
    pub(super) depth: u8,
}

/// What became of an insertion.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    Added,
    /// There was an entry with the same hash: this one.
    Replaced(Entry),
    /// Nothing was changed: the segment must grow or split first.
    Full,
}

/// Slots for `len` entries at a good load.
pub(super) fn good_slots(len: usize) -> usize {
    (len * 1024).div_ceil(GOOD_LOAD).max(MIN_SLOTS)
}

/// Slots behind the homes: entries that the last homes push out rarely need more.
fn margin(slots: usize) -> usize {
    (8 + slots / 64).min(slots / 4)
}

impl Segment {
    pub(super) fn new(prefix: u32, depth: u8) -> Self {
        Self {
            prefix,
            depth,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes that the array takes.
    pub(super) fn slot_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Entry>()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.slots.iter().copied().filter(|&entry| entry != EMPTY)
    }

    /// Where an entry would stand if it were alone: the hash below its prefix, scaled
    /// ("fastrange", Lemire 2019). Keeps the order of hashes.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        let below_prefix = hash << (64 - HASH_BITS + u32::from(self.depth));
        ((u128::from(below_prefix) * u128::from(self.homes)) >> 64) as usize
    }

    /// The slots that a search for a hash, or a shift behind it, touches first: for prefetching.
    #[inline]
    pub(super) fn first_slots(&self, hash: u64) -> &[Entry] {
        self.slots.get(self.home(hash)..).unwrap_or_default()
    }

    /// The position of the hash's entry, or else the one where it belongs.
    #[inline]
    fn locate(&self, hash: u64) -> Result<usize, usize> {
        let home = self.home(hash);
        let mut at = home;
        for &entry in self.slots.get(home..).unwrap_or_default() {
            let other = hash_of(entry);
            if other >= hash || other == 0 {
                return if other == hash { Ok(at) } else { Err(at) };
            }
            at += 1;
        }
        Err(at)
    }

    /// The position of the hash's entry, for [`Segment::remove_at`], and the entry.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<(usize, Entry)> {
        let at = self.locate(hash).ok()?;
        Some((at, self.slots[at]))
    }

    /// Puts an entry in, in place of the one with the same hash if there is one.
    #[inline]
    pub(super) fn insert(&mut self, entry: Entry) -> Inserted {
        let at = match self.locate(hash_of(entry)) {
            Ok(at) => {
                return Inserted::Replaced(std::mem::replace(&mut self.slots[at], entry));
            }
            Err(at) => at,
        };
        if (self.len() + 1) * 1024 > self.slots.len() * MAX_LOAD {
            return Inserted::Full;
        }
        self.len += 1;
        let mut carried = entry;
        for slot in &mut self.slots[at..] {
            carried = std::mem::replace(slot, carried);
            if carried == EMPTY {
                return Inserted::Added;
            }
        }
        self.extend(carried);
        Inserted::Added
    }

    /// Makes the array longer behind the homes for an entry that was pushed out at its end.
    #[cold]
    fn extend(&mut self, last: Entry) {
        let more = margin(self.slots.len()).max(2);
        self.slots.reserve_exact(more);
        self.slots.push(last);
        self.slots.resize(self.slots.len() + more - 1, EMPTY);
    }

    /// Takes out the entry at a position from [`Segment::find`]; those that it had pushed to the
    /// right move back.
    #[inline]
    pub(super) fn remove_at(&mut self, at: usize) {
        self.len -= 1;
        let mut gap = at;
        while let Some(&entry) = self.slots.get(gap + 1) {
            if entry == EMPTY || self.home(hash_of(entry)) > gap {
                break;
            }
            self.slots[gap] = entry;
            gap += 1;
        }
        self.slots[gap] = EMPTY;
    }

    /// Whether so little of the array is used that it should be given back. Arrays of up to
    /// `keep` slots are left as they are.
    #[inline]
    pub(super) fn is_sparse(&self, keep: usize) -> bool {
        self.slots.len() > keep && self.len() * 1024 < self.slots.len() * MIN_LOAD
    }

    /// Gives the array the size that suits its entries.
    pub(super) fn fit(&mut self) {
        self.push_together();
        self.spread();
    }

    /// Cuts off the upper half of the hashes; both halves are one bit deeper then.
    pub(super) fn split(&mut self) -> Self {
        self.push_together();
        self.depth += 1;
        self.prefix <<= 1;
        let mut upper = Self::new(self.prefix | 1, self.depth);
        let bit = HASH_BITS - u32::from(self.depth);
        let cut = self
            .slots
            .partition_point(|&entry| (hash_of(entry) >> bit) & 1 == 0);
        let count = self.slots.len() - cut;
        upper.slots.reserve_exact(good_slots(count));
        upper.slots.extend_from_slice(&self.slots[cut..]);
        upper.len = count as u32;
        upper.spread();
        self.slots.truncate(cut);
        self.len = cut as u32;
        self.spread();
        upper
    }

    /// Takes the entries of the segment that differs in the last bit of the prefix alone. `self`
    /// must be the lower one.
    pub(super) fn merge(&mut self, upper: &Self) {
        self.push_together();
        let len = self.len() + upper.len();
        self.slots
            .reserve_exact(good_slots(len).max(len) - self.slots.len());
        self.slots.extend(upper.entries());
        self.len = len as u32;
        self.depth -= 1;
        self.prefix >>= 1;
        self.spread();
    }

    /// Drops the gaps: `slots` holds the entries alone, in order.
    fn push_together(&mut self) {
        self.slots.retain(|&entry| entry != EMPTY);
    }

    /// From entries without gaps to an array of a good size. They are moved to the array's right
    /// end first and from there, left to right, to their places: never beyond their own.
    fn spread(&mut self) {
        let len = self.slots.len();
        let mut size = good_slots(len);
        self.homes = (size - margin(size)) as u32;
        let mut end = 0;
        for &entry in &self.slots {
            end = self.home(hash_of(entry)).max(end) + 1;
        }
        size = size.max(end);
        if size > self.slots.capacity() {
            self.slots.reserve_exact(size - len);
        }
        self.slots.resize(size, EMPTY);
        self.slots.shrink_to(size);
        let right = size - len;
        self.slots.copy_within(..len, right);
        self.slots[..right.min(len)].fill(EMPTY);
        let mut next = 0;
        for from in right..size {
            let entry = std::mem::replace(&mut self.slots[from], EMPTY);
            let place = self.home(hash_of(entry)).max(next);
            self.slots[place] = entry;
            next = place + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hash: u64) -> Entry {
        u128::from(hash) << (128 - HASH_BITS)
    }

    fn add(segment: &mut Segment, hash: u64) {
        if segment.insert(entry(hash)) == Inserted::Full {
            segment.fit();
            assert_eq!(segment.insert(entry(hash)), Inserted::Added);
        }
    }

    #[test]
    fn entries_that_all_want_the_last_home_are_found_and_removed() {
        let mut segment = Segment::new(0, 0);
        let last = (1 << HASH_BITS) - 1;
        for i in 0..200 {
            add(&mut segment, last - i);
        }
        let slots = segment.slots.len();
        assert!(slots < 200 * 2 + 64, "{slots} slots");
        for i in (0..200).rev() {
            let (at, found) = segment.find(last - i).expect("present");
            assert_eq!(found, entry(last - i));
            segment.remove_at(at);
            assert_eq!(segment.find(last - i), None);
        }
        assert_eq!(segment.len(), 0);
    }

    #[test]
    fn split_and_merge_lose_nothing_and_keep_the_order() {
        let mut whole = Segment::new(0, 0);
        let hashes: Vec<u64> = (1..500).map(|i| i * ((1 << HASH_BITS) / 500)).collect();
        for &hash in &hashes {
            add(&mut whole, hash);
        }
        let upper = whole.split();
        assert_eq!((whole.prefix, whole.depth), (0, 1));
        assert_eq!((upper.prefix, upper.depth), (1, 1));
        assert!(whole.len() > 200 && upper.len() > 200);
        for &hash in &hashes {
            let half = if hash >> (HASH_BITS - 1) == 0 {
                &whole
            } else {
                &upper
            };
            assert!(half.find(hash).is_some());
        }
        whole.merge(&upper);
        assert_eq!((whole.prefix, whole.depth), (0, 0));
        let merged: Vec<u64> = whole.entries().map(hash_of).collect();
        assert_eq!(merged, hashes);
        assert!(hashes.iter().all(|&hash| whole.find(hash).is_some()));
    }
}

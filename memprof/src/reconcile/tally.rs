//! Every page of one process in memory, counted once: as what it is.
//!
//! Where blocks may lie, memory is looked at page by page; what else is mapped is what its mapping is.
//! On a page, blocks come first; the rest of it is who mapped it, if that was followed, else an
//! allocator's if the mapping is one's, unless the page was in memory before memprof attached.

use std::ops::Range;

use super::held::HeldPages;
use super::unexplained::{Rest, RestKind};
use crate::events::event::MappingKind as MappedKind;
use crate::live::mappings::{Account, Owner};
use crate::report::{PartKind, PartKnownBy};
use crate::snapshot::{Class, KnownBy, MappingKind, Region, Regions};
use crate::target::resident_pages::{PAGE_BYTES, ResidentPages};

/// What was in memory before memprof attached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before<'a> {
    /// Nothing: memprof was there from the start.
    Nothing,
    /// These pages.
    Pages(&'a ResidentPages),
    /// That was not looked at.
    Unknown,
}

impl Before<'_> {
    fn has(self, page: u64) -> bool {
        matches!(self, Self::Pages(pages) if pages.contains(page))
    }

    fn is_whole(self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Pages(pages) => pages.end().is_none(),
            Self::Unknown => false,
        }
    }
}

/// Which of its blocks are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Blocks {
    /// All since memprof was there.
    #[default]
    Seen,
    /// A sample, which tells that so many bytes in memory are in blocks.
    Sampled(f64),
    /// None: no allocator is probed.
    Unseen,
}

/// All that is known of one process's memory at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'a> {
    /// What it has mapped.
    pub regions: &'a Regions,
    /// What that is for, one by one.
    pub classes: &'a [Class],
    /// Pages in memory, of the regions that [`is_looked_up`].
    pub resident: &'a ResidentPages,
    /// What of them is in blocks.
    pub held: &'a HeldPages,
    /// Which blocks are known.
    pub blocks: Blocks,
    /// Who mapped what, by address, if that was followed.
    pub mapped: Option<&'a [(Range<u64>, Owner)]>,
    /// What was there before.
    pub before: Before<'a>,
    /// Its allocators, all that are known, map each large block alone and unmap it when it is freed: a
    /// mapping with such a block in it is no more theirs than that block. glibc does.
    pub maps_blocks_alone: bool,
}

/// Bytes by part, and how they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(super) bytes: [u64; PartKind::ALL.len()],
    pub(super) guessed: [bool; PartKind::ALL.len()],
    pub(super) by_events: [bool; PartKind::ALL.len()],
    /// Which blocks are known.
    pub(crate) blocks: Blocks,
    /// Mappings are followed.
    pub(crate) follows_mappings: bool,
    /// What is known of before attaching; `None` if nothing.
    pub(crate) before: Option<PartKnownBy>,
    /// What the rest looks like.
    pub(crate) rest: Rest,
}

impl Tally {
    fn add(&mut self, part: PartKind, bytes: u64) {
        self.bytes[part as usize] += bytes;
    }

    fn guess(&mut self, part: PartKind, bytes: u64) {
        self.add(part, bytes);
        self.guessed[part as usize] |= bytes > 0;
    }

    fn leave(&mut self, kind: RestKind, region: &Region, bytes: u64) {
        self.add(PartKind::Unexplained, bytes);
        self.rest.add(kind, region, bytes);
    }

    /// Which slack memory of an allocator is, on a page with or without blocks.
    fn slack(&self, has_block: bool) -> PartKind {
        match (self.blocks, has_block) {
            (Blocks::Seen, true) => PartKind::SlackWithSurvivors,
            (Blocks::Seen, false) => PartKind::SlackFree,
            (Blocks::Sampled(_) | Blocks::Unseen, _) => PartKind::Slack,
        }
    }

    pub(crate) fn bytes(&self, part: PartKind) -> u64 {
        self.bytes[part as usize]
    }

    /// All of it.
    pub(crate) fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// Whether a part is in part a guess.
    pub(crate) fn is_guessed(&self, part: PartKind) -> bool {
        self.guessed[part as usize]
    }

    /// Whether a part is in part known from the system calls that mapped it.
    pub(crate) fn is_by_events(&self, part: PartKind) -> bool {
        self.by_events[part as usize]
    }
}

/// Whether a region is looked at page by page: blocks may lie in it, or its name does not say whose it is.
pub(crate) fn is_looked_up(region: &Region, class: Class) -> bool {
    use MappingKind::{Anonymous, Arena, File, Jit, Kernel, Reserved};
    let may_be_looked_up = match class.kind {
        Kernel => false,
        File => region.is_writable() && !region.is_shared(),
        Anonymous | Arena | Jit | Reserved => true,
        _ => region.is_writable(),
    };
    region.amounts.rss_bytes > 0 && may_be_looked_up
}

/// Whose the memory of a region is, where nothing else tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// An allocator's; whether that is a guess.
    Allocator {
        guessed: bool,
    },
    Stack {
        guessed: bool,
    },
    Files,
    Shared,
    Nobodys(RestKind),
}

/// Counts all pages of a process.
pub(crate) fn tally(memory: &Memory<'_>) -> Tally {
    let mut tally = Tally {
        blocks: memory.blocks,
        follows_mappings: memory.mapped.is_some(),
        before: match memory.before {
            Before::Nothing => Some(PartKnownBy::Launch),
            _ if memory.before.is_whole() => Some(PartKnownBy::Pages),
            Before::Pages(_) | Before::Unknown => None,
        },
        ..Tally::default()
    };
    let regions = &memory.regions.kept;
    for (at, (region, class)) in regions.iter().zip(memory.classes).enumerate() {
        tally.rest.meet(region);
        let bytes = region.amounts.rss_bytes;
        if !is_looked_up(region, *class) {
            whole(&mut tally, region, *class, bytes);
            continue;
        }
        if memory.resident.end().is_some_and(|end| region.end > end) {
            tally.leave(RestKind::NotLookedAt, region, bytes);
            continue;
        }
        let before = at.checked_sub(1).map(|before| &regions[before]);
        let home = home(memory, region, *class, before);
        by_page(&mut tally, memory, region, home);
    }
    tally.add(PartKind::Unexplained, memory.regions.beyond.rss_bytes);
    tally.rest.not_looked_at += memory.regions.beyond.rss_bytes;
    if let Blocks::Sampled(held) = memory.blocks {
        let kept = tally.bytes(PartKind::Slack);
        let held = (held.round() as u64).min(kept);
        tally.add(PartKind::Held, held);
        tally.bytes[PartKind::Slack as usize] -= held;
    }
    tally
}

/// A region of which the pages are not looked at one by one.
fn whole(tally: &mut Tally, region: &Region, class: Class, bytes: u64) {
    match home_of(class) {
        Home::Files => tally.add(PartKind::MappedFiles, bytes),
        Home::Shared => tally.add(PartKind::Shared, bytes),
        Home::Stack { guessed: false } => tally.add(PartKind::Stacks, bytes),
        Home::Stack { guessed: true } => tally.guess(PartKind::Stacks, bytes),
        Home::Allocator { .. } => tally.guess(tally.slack(false), bytes),
        Home::Nobodys(kind) => tally.leave(kind, region, bytes),
    }
}

/// What the class of a region alone says.
fn home_of(class: Class) -> Home {
    let guessed = matches!(class.known_by, KnownBy::Guard | KnownBy::Shape);
    match class.kind {
        MappingKind::Heap | MappingKind::Arena => Home::Allocator { guessed },
        MappingKind::Stack | MappingKind::ThreadStack => Home::Stack { guessed },
        MappingKind::Code | MappingKind::File | MappingKind::Kernel => Home::Files,
        MappingKind::Shared => Home::Shared,
        MappingKind::Anonymous => Home::Nobodys(RestKind::Private),
        MappingKind::Jit => Home::Nobodys(RestKind::Jit),
        MappingKind::Reserved => Home::Nobodys(RestKind::NoAccess),
        MappingKind::Others => Home::Nobodys(RestKind::NotLookedAt),
    }
}

/// Whose a region is, also by the blocks in it and by what lies before it.
fn home(memory: &Memory<'_>, region: &Region, class: Class, before: Option<&Region>) -> Home {
    let home = home_of(class);
    let range = region.start..region.end;
    let is_allocators = || {
        let mut pages = memory.resident.pages_in(range.clone());
        pages.any(|page| {
            let page = memory.held.page(page);
            page.has_cut || page.has_block && !memory.maps_blocks_alone
        })
    };
    match home {
        // A stack has no blocks: what looked like its guard is an allocator's.
        Home::Stack { guessed: true } if is_allocators() => Home::Allocator { guessed: true },
        // The variables of a file that begin as zeros lie behind those that don't.
        Home::Nobodys(RestKind::Private) if is_bss(region, before) => Home::Files,
        Home::Nobodys(_) if is_allocators() => Home::Allocator { guessed: true },
        home => home,
    }
}

fn is_bss(region: &Region, before: Option<&Region>) -> bool {
    before.is_some_and(|before| {
        before.has_inode
            && before.end == region.start
            && before.is_writable()
            && !before.is_shared()
            && region.name.is_empty()
    })
}

/// Counts the pages of a region.
fn by_page(tally: &mut Tally, memory: &Memory<'_>, region: &Region, home: Home) {
    let mapped = memory.mapped.unwrap_or_default();
    let mut left = 0;
    for page in memory.resident.pages_in(region.start..region.end) {
        let held = memory.held.page(page);
        let bytes = match tally.blocks {
            Blocks::Seen => {
                tally.add(PartKind::Held, held.bytes);
                PAGE_BYTES - held.bytes
            }
            Blocks::Sampled(_) | Blocks::Unseen => PAGE_BYTES,
        };
        let is_sampled = matches!(tally.blocks, Blocks::Sampled(_));
        let slack = tally.slack(held.has_block);
        let owner = owner_at(mapped, page);
        let part = match owner.map(|owner| (owner.account, owner.kind)) {
            // Of a block that was sampled in it, it is known where it lies.
            _ if is_sampled && held.has_block => slack,
            Some((Account::Allocator, _)) => slack,
            Some((Account::File, _)) => PartKind::MappedFiles,
            Some((Account::Site(_), MappedKind::ThreadStack)) => PartKind::Stacks,
            Some((Account::Site(_), MappedKind::Shared)) => PartKind::Shared,
            Some((Account::Site(_), _)) => PartKind::MappedByProgram,
            None => match home {
                Home::Files => PartKind::MappedFiles,
                Home::Shared => PartKind::Shared,
                Home::Stack { guessed } => {
                    tally.guessed[PartKind::Stacks as usize] |= guessed;
                    PartKind::Stacks
                }
                _ if memory.before.has(page) => PartKind::BeforeAttaching,
                Home::Allocator { guessed } => {
                    // What a block lies beside is its allocator's, whatever the mapping.
                    tally.guessed[slack as usize] |= guessed && !held.has_block;
                    slack
                }
                Home::Nobodys(_) if held.has_block => slack,
                Home::Nobodys(_) => {
                    left += bytes;
                    continue;
                }
            },
        };
        tally.by_events[part as usize] |= owner.is_some();
        tally.add(part, bytes);
    }
    if let Home::Nobodys(kind) = home
        && left > 0
    {
        tally.leave(kind, region, left);
    }
}

/// Who has mapped the page at an address.
fn owner_at(mapped: &[(Range<u64>, Owner)], page: u64) -> Option<Owner> {
    let after = mapped.partition_point(|(range, _)| range.start <= page);
    let (range, owner) = mapped.get(after.checked_sub(1)?)?;
    range.contains(&page).then_some(*owner)
}

#[cfg(test)]
mod tests;

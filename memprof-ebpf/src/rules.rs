//! The unwind rule of a program counter: from the cache, or down the tables.

use memprof_common::{
    settings::RULE_CACHE_ENTRIES,
    unwind::{
        FRAME_POINTER_RULE, NO_EXE, NO_RULE, NOWHERE_RULE, PENDING_EXE, ProcessMappings,
        SEGMENT_CHUNKS, last_address_at_or_below, last_at_or_below, page_key,
    },
};

use crate::{
    maps::{MAPPINGS, PAGES, RULE_CACHE, SEGMENTS},
    unwind::Code,
};

/// Spreads keys over all bits (Fibonacci hashing).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits of the product that pick the entry; the next 32 are the tag.
const INDEX_BITS: u32 = RULE_CACHE_ENTRIES.trailing_zeros();

/// The rule of the instruction at `pc` in this code.
#[inline(always)]
pub fn rule_at(code: Code, pc: u64) -> u32 {
    // The product of an odd number takes different keys to different hashes; what index and tag
    // leave out of it are 18 bits, so two keys of one entry are confused once in 2^46.
    let hash = (pc ^ code.generation.rotate_right(16)).wrapping_mul(GOLDEN);
    let tag = (hash << INDEX_BITS) >> 32;
    let Some(entry) = RULE_CACHE.get_ptr_mut((hash >> (64 - INDEX_BITS)) as u32) else {
        return NO_RULE;
    };
    // SAFETY: a live map value, read and written as one word.
    let cached = unsafe { entry.read_volatile() };
    if cached >> 32 == tag && cached as u32 != NO_RULE {
        return cached as u32;
    }
    let Some(mappings) = MAPPINGS.get_ptr(code.space) else {
        return NO_RULE;
    };
    // SAFETY: a map value stays readable for the length of a program; shared and never written
    // in place, for the collector replaces it whole.
    let mappings = unsafe { &*mappings };
    let rule = look_up(mappings, pc);
    // Mappings that were replaced meanwhile say nothing of those of the same generation elsewhere.
    if rule != NO_RULE && mappings.generation == code.generation {
        // SAFETY: as above.
        unsafe { entry.write_volatile((tag << 32) | u64::from(rule)) };
    }
    rule
}

/// Whether `pc` is in code that the process is known to have mapped.
#[inline(always)]
pub fn is_code(code: Code, pc: u64) -> bool {
    let Some(mappings) = MAPPINGS.get_ptr(code.space) else {
        return false;
    };
    // SAFETY: a map value stays readable for the length of a program.
    let mappings = unsafe { &*mappings };
    let index = last_address_at_or_below(&mappings.start, pc & (u64::MAX >> 1));
    pc >= mappings.start[index] && pc < mappings.end[index]
}

#[inline(always)]
fn look_up(mappings: &ProcessMappings, pc: u64) -> u32 {
    // The search takes numbers below 2^63; what is above is no user address.
    let index = last_address_at_or_below(&mappings.start, pc & (u64::MAX >> 1));
    if pc < mappings.start[index] || pc >= mappings.end[index] {
        return NO_RULE;
    }
    let exe = mappings.exe[index];
    if exe == NO_EXE {
        return FRAME_POINTER_RULE;
    }
    if exe == PENDING_EXE {
        return NOWHERE_RULE;
    }
    let relative = pc.wrapping_sub(mappings.bias[index]);
    let Some(page) = PAGES.get_ptr(page_key(exe, relative)) else {
        return NO_RULE;
    };
    // SAFETY: as above.
    let page = unsafe { &*page };
    let chunk = page.first_chunk + last_at_or_below(&page.split, relative & 0xffff_ffff) as u32;
    let Some(chunk) = SEGMENTS.get_value(chunk / SEGMENT_CHUNKS, &(chunk % SEGMENT_CHUNKS)) else {
        return NO_RULE;
    };
    chunk.rule[last_at_or_below(&chunk.pc, relative & 0xffff_ffff)]
}

//! What a trial makes of sites that are right, and of such that are wrong in one thing each.

use memprof_common::{allocator::Shape, placement::SizeAt};

use super::{Subject, prove};
use crate::probes::inner::{InnerSite, Task, tests::debian_12_sites};

/// Words of the saved registers.
const RBX: u8 = 5;
const RAX: u8 = 10;

/// The C library's `malloc` and `calloc`, with what `change` makes of the sites of `malloc`.
fn trial(change: impl FnOnce(&mut Vec<InnerSite>)) -> Option<Result<(), String>> {
    let (mut malloc, calloc) = debian_12_sites()?;
    change(&mut malloc);
    let subjects = [
        Subject {
            start: libc::malloc as *const () as usize as u64,
            shape: Shape::Size,
            sites: malloc,
        },
        Subject {
            start: libc::calloc as *const () as usize as u64,
            shape: Shape::Product,
            sites: calloc,
        },
    ];
    let result = prove(&subjects, libc::free as *const () as usize as u64);
    if let Err(refusal) = &result
        && refusal.reason == "a probe of another tool is in it"
    {
        eprintln!("SKIPPED: {}", refusal.reason);
        return None;
    }
    Some(result.map_err(|refusal| {
        assert_eq!(refusal.subject, Some(0), "{}", refusal.reason);
        refusal.reason
    }))
}

#[track_caller]
fn refused(why: &str, change: impl FnOnce(&mut Vec<InnerSite>)) {
    let Some(result) = trial(change) else { return };
    assert_eq!(result, Err(why.to_owned()));
}

/// The site that small blocks pass.
fn small(sites: &mut [InnerSite]) -> &mut InnerSite {
    let mut sites = sites.iter_mut();
    sites
        .find(|site| site.place.offset == 0x157)
        .expect("it is among them")
}

#[test]
fn what_the_analysis_found_agrees_call_by_call() {
    if let Some(result) = trial(|_| ()) {
        assert_eq!(result, Ok(()));
    }
}

#[test]
fn a_block_that_no_site_sees_is_found_out() {
    refused("a block was not met, or another one", |sites| {
        sites.retain(|site| site.place.offset != 0x157);
    });
}

#[test]
fn a_block_that_two_sites_see_is_found_out() {
    refused("a block was met twice", |sites| {
        let mut second = small(sites).clone();
        // `mov rsi, rax`, two instructions on.
        second.place.offset = 0x15d;
        sites.push(second);
    });
}

#[test]
fn another_register_than_the_block_s_is_found_out() {
    refused("a block was not met, or another one", |sites| {
        small(sites).place.result = RBX;
        small(sites).place.size = SizeAt::Word(RBX);
    });
}

#[test]
fn another_register_than_the_size_s_is_found_out() {
    refused("the size is another one", |sites| {
        small(sites).place.size = SizeAt::Word(RAX);
    });
}

#[test]
fn a_size_that_nobody_noted_is_found_out() {
    refused("the size is another one", |sites| {
        sites.retain(|site| site.task == Task::Give);
    });
}

#[test]
fn another_place_of_the_return_address_is_found_out() {
    refused("the return address is elsewhere", |sites| {
        small(sites).place.pushed_words += 1;
    });
}

#[test]
fn another_place_of_a_register_of_the_caller_s_is_found_out() {
    refused("a register of the caller's is elsewhere", |sites| {
        small(sites).place.preserved[0] = Some(0);
    });
}

#[test]
fn a_site_that_no_call_passes_is_found_out() {
    refused("no call came by +0x205", |sites| {
        let mut never = small(sites).clone();
        // The call of the message that aborts.
        never.place.offset = 0x205;
        sites.push(never);
    });
}

//! USDT probes that tell of blocks: from the notes of a file to what to attach. Pure, so that tests
//! need no kernel.

use memprof_common::{
    allocator::{USDT_ALLOC_PROGRAM, USDT_FREE_PROGRAM},
    usdt::{ARGUMENTS, Argument, Place},
};

use super::{families::Demand, placement::SAVED_WORDS, plan::Plan};
use crate::target::elf::{Semaphore, UsdtProbe};

/// The provider that is always looked for.
pub const OTEL_MEMORY: &str = "otel_memory";
const ALLOC: &str = "alloc";
const FREE: &str = "free";

/// One place in the code with a probe to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsdtSite {
    /// `provider:name`.
    pub name: String,
    /// Its instruction, bytes from the start of the file.
    pub offset: u64,
    /// Its semaphore, bytes from the start of the file, if it has one.
    pub semaphore: Option<u64>,
    /// The program.
    pub program: &'static str,
    /// Where the arguments are.
    pub cookie: u64,
    /// The arguments, as the file has them.
    pub arguments: String,
}

impl UsdtSite {
    /// Whether it tells of a block that is given, and not of one that is taken back.
    pub fn gives(&self) -> bool {
        self.program == USDT_ALLOC_PROGRAM
    }
}

/// Whether a probe of this name tells of blocks.
pub fn is_wanted(name: &[u8]) -> bool {
    name == ALLOC.as_bytes() || name == FREE.as_bytes()
}

/// Adds to the plan of a file its probes of these providers; `asked`: the user named the provider. Of
/// a provider whose probes only give or only take nothing is followed, unless it was asked for.
pub fn add_to(plan: &mut Plan, probes: &[UsdtProbe], providers: &[(String, bool)]) {
    for (provider, asked) in providers {
        let own = || probes.iter().filter(|probe| probe.provider == *provider);
        let has = |name: &str| own().any(|probe| probe.name == name);
        let counts = if *asked {
            own().next().is_some()
        } else {
            has(ALLOC) && has(FREE)
        };
        if !counts {
            continue;
        }
        if *asked {
            plan.met.push(Demand::Provider(provider.clone()));
        }
        plan.allocators.push(format!("usdt {provider}"));
        for name in [ALLOC, FREE] {
            let full = format!("{provider}:{name}");
            let before = plan.usdt.len();
            for probe in own().filter(|probe| probe.name == name) {
                match site(probe, &full) {
                    Ok(site) if plan.usdt.contains(&site) => {}
                    Ok(site) => plan.usdt.push(site),
                    Err(why) => plan.refusals.push(format!("{full}: {why}")),
                }
            }
            if plan.usdt.len() == before {
                plan.missing.push(full);
            }
        }
    }
}

fn site(probe: &UsdtProbe, name: &str) -> Result<UsdtSite, String> {
    let (program, wanted) = if probe.name == ALLOC {
        (USDT_ALLOC_PROGRAM, 2)
    } else {
        (USDT_FREE_PROGRAM, 1)
    };
    let outside = |what: &str| format!("{what} is in no segment of the file");
    Ok(UsdtSite {
        name: name.to_owned(),
        offset: probe.offset.ok_or_else(|| outside("its place"))?,
        semaphore: match probe.semaphore {
            Semaphore::None => None,
            Semaphore::At(offset) => Some(offset),
            Semaphore::Lost => return Err(outside("its semaphore")),
        },
        program,
        cookie: cookie(&probe.arguments, wanted)?,
        arguments: probe.arguments.clone(),
    })
}

/// The first `wanted` arguments, packed.
fn cookie(arguments: &str, wanted: usize) -> Result<u64, String> {
    let mut cookie = 0;
    let mut texts = arguments.split_ascii_whitespace();
    for number in 0..wanted.min(ARGUMENTS) {
        let text = texts.next().ok_or_else(|| {
            format!("its arguments are {arguments:?}, of which {wanted} are needed")
        })?;
        let half = argument(text).and_then(Argument::pack);
        let half = half.ok_or_else(|| {
            format!(
                "its argument {text:?} is none that is followed: a register, a small constant, or what \
                 is a small distance from where a register points"
            )
        })?;
        cookie |= u64::from(half) << (32 * number);
    }
    Ok(cookie)
}

/// `-4@-20(%rbp)`: width and sign, then where.
fn argument(text: &str) -> Option<Argument> {
    let (width, operand) = text.split_once('@')?;
    let (signed, bytes) = match width.strip_prefix('-') {
        Some(bytes) => (true, bytes),
        None => (false, width),
    };
    let width = match bytes {
        "1" => 0,
        "2" => 1,
        "4" => 2,
        "8" => 3,
        _ => return None,
    };
    let place = if let Some(constant) = operand.strip_prefix('$') {
        Place::Constant(number(constant)?)
    } else if let Some(name) = operand.strip_prefix('%') {
        Place::Register(word_of(name)?)
    } else {
        let (offset, base) = operand.strip_suffix(')')?.split_once("(%")?;
        let offset = if offset.is_empty() {
            0
        } else {
            number(offset)?
        };
        // An address is all of a register.
        let base = LEGACY.contains(&base.strip_prefix('r')?) || is_numbered(base);
        let name = operand.rsplit_once('%')?.1.strip_suffix(')')?;
        Place::Memory(base.then(|| word_of(name))??, offset)
    };
    Some(Argument {
        place,
        width,
        signed,
    })
}

/// Decimal or hexadecimal, as assemblers write it.
fn number(text: &str) -> Option<i32> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let value = match digits.strip_prefix("0x") {
        Some(digits) => i32::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = value.ok()?;
    Some(if negative { -value } else { value })
}

/// The older registers by the names of their lower halves, in the order of their numbers.
const LEGACY: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
/// Registers from `r8` on.
const NUMBERED: std::ops::Range<usize> = 8..16;

fn is_numbered(name: &str) -> bool {
    numbered(name).is_some()
}

fn numbered(name: &str) -> Option<usize> {
    let number = name.strip_prefix('r')?;
    NUMBERED
        .clone()
        .find(|candidate| *number == candidate.to_string())
}

/// The word of the saved registers that holds the register of this name, whatever its width; its low
/// bytes are what the name means. Not `%ah` and its like.
fn word_of(name: &str) -> Option<u8> {
    let plain = name.strip_suffix(['d', 'w', 'b']).unwrap_or(name);
    if let Some(number) = numbered(plain) {
        return Some(SAVED_WORDS[number]);
    }
    let half = match name.strip_prefix(['r', 'e']) {
        Some(half) => half.to_owned(),
        None => match name.strip_suffix('l') {
            // `al`, but `sil`.
            Some(one) if one.len() == 1 => format!("{one}x"),
            Some(two) => two.to_owned(),
            None => name.to_owned(),
        },
    };
    let number = LEGACY.iter().position(|legacy| *legacy == half)?;
    Some(SAVED_WORDS[number])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RAX: u8 = 10;
    const RBP: u8 = 4;
    const RSP: u8 = 19;
    const RSI: u8 = 13;
    const RDI: u8 = 14;
    const R8: u8 = 9;
    const R12: u8 = 3;

    fn place(text: &str) -> Option<Place> {
        argument(text).map(|argument| argument.place)
    }

    #[test]
    fn every_name_of_a_register_is_known() {
        for (names, word) in [
            (["rax", "eax", "ax", "al"], RAX),
            (["rdi", "edi", "di", "dil"], RDI),
            (["rsi", "esi", "si", "sil"], RSI),
            (["rsp", "esp", "sp", "spl"], RSP),
            (["r8", "r8d", "r8w", "r8b"], R8),
            (["r12", "r12d", "r12w", "r12b"], R12),
        ] {
            for name in names {
                let found = place(&format!("8@%{name}"));
                assert_eq!(found, Some(Place::Register(word)), "{name}");
            }
        }
    }

    #[test]
    fn what_compilers_write_is_understood() {
        assert_eq!(place("8@-24(%rbp)"), Some(Place::Memory(RBP, -24)));
        assert_eq!(place("8@(%rsp)"), Some(Place::Memory(RSP, 0)));
        assert_eq!(place("8@8(%r12)"), Some(Place::Memory(R12, 8)));
        assert_eq!(place("-4@$-1"), Some(Place::Constant(-1)));
        assert_eq!(place("8@$0x40"), Some(Place::Constant(64)));
        let four = argument("-4@%esi").unwrap();
        assert_eq!((four.width, four.signed), (2, true));
        let eight = argument("8@%rsi").unwrap();
        assert_eq!((eight.width, eight.signed), (3, false));
    }

    #[test]
    fn what_is_not_followed_is_refused() {
        for text in [
            "",
            "8@",
            "%rdi",
            "3@%rdi",
            "16@%xmm0",
            "8@%ah",
            "8@%r16",
            "8@%r08",
            "8@%rip",
            "8@%",
            "8@8(%rax,%rcx,4)",
            "8@(%eax)",
            "8@name(%rip)",
            "8@8(%rdi",
            "8@+8(%rdi)",
            "8@$name",
            "8@$99999999999",
            "8@--8(%rdi)",
            "8@%fs:8",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
        assert!(cookie("8@%rdi", 2).unwrap_err().contains("2 are needed"));
        assert!(cookie("8@%rdi 8@$4194304", 2).is_err());
        assert!(cookie("8@%rdi 8@$4194304", 1).is_ok());
    }

    fn probe(name: &str, arguments: &str) -> UsdtProbe {
        UsdtProbe {
            provider: OTEL_MEMORY.to_owned(),
            name: name.to_owned(),
            offset: Some(0x1000),
            semaphore: Semaphore::None,
            arguments: arguments.to_owned(),
        }
    }

    fn planned(probes: &[UsdtProbe], asked: bool) -> Plan {
        let mut plan = Plan::default();
        add_to(&mut plan, probes, &[(OTEL_MEMORY.to_owned(), asked)]);
        plan
    }

    #[test]
    fn a_pair_of_probes_is_an_allocator_and_half_of_one_only_if_it_was_asked_for() {
        let alloc = probe("alloc", "8@%rax 8@%rdi");
        let pair = [alloc.clone(), probe("free", "8@%rdi"), alloc.clone()];
        let plan = planned(&pair, false);
        assert_eq!(plan.allocators, ["usdt otel_memory"]);
        let names: Vec<_> = plan.usdt.iter().map(|site| &*site.name).collect();
        assert_eq!(names, ["otel_memory:alloc", "otel_memory:free"]);
        assert_eq!(planned(&pair[..1], false), Plan::default());
        let half = planned(&pair[..1], true);
        assert_eq!(half.missing, ["otel_memory:free"]);
        assert_eq!(half.met, [Demand::Provider(OTEL_MEMORY.to_owned())]);
    }

    #[test]
    fn a_probe_that_cant_be_followed_says_why() {
        let lost = UsdtProbe {
            semaphore: Semaphore::Lost,
            ..probe("free", "8@%rdi")
        };
        let plan = planned(&[probe("alloc", "8@%rax 8@%xmm0"), lost], false);
        assert!(plan.usdt.is_empty());
        assert_eq!(plan.missing, ["otel_memory:alloc", "otel_memory:free"]);
        assert!(plan.refusals[0].contains("%xmm0"), "{:?}", plan.refusals);
        assert!(plan.refusals[1].contains("semaphore"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_a_panic(text in "[-0-9a-z@$%() ]{0,40}") {
            let _ = cookie(&text, 2);
        }
    }
}

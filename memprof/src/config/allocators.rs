//! The allocators that the user names, validated.

use anyhow::Result;

use crate::{
    bad_input,
    probes::families::{Families, HomeMade, NamedArgument},
};

/// The longest symbol that is looked for, bytes.
const MAX_SYMBOL_BYTES: usize = 512;
/// The most prefixes, and the most allocators of the user's own.
const MAX_NAMED: usize = 32;
/// Arguments of a function that are in registers.
const MAX_ARGUMENTS: u8 = 6;

/// All that is looked for.
///
/// # Errors
/// The first argument that makes no sense, as bad input.
pub fn families(prefixes: &[String], probes: &[String], providers: &[String]) -> Result<Families> {
    for (option, given) in [
        ("--allocator-prefix", prefixes),
        ("--probe", probes),
        ("--usdt", providers),
    ] {
        if given.len() > MAX_NAMED {
            return Err(bad_input!("{option} is given more than {MAX_NAMED} times"));
        }
    }
    for prefix in prefixes {
        if !is_symbol(prefix) {
            return Err(bad_input!(
                "--allocator-prefix {prefix:?} begins no function's name: give what stands before \
                 malloc, such as je_"
            ));
        }
    }
    for provider in providers {
        if !is_symbol(provider) {
            return Err(bad_input!(
                "--usdt {provider:?} is no provider of USDT probes: give what stands before the colon of \
                 their names, such as otel_memory"
            ));
        }
    }
    let home_made: Vec<HomeMade> = probes
        .iter()
        .map(|text| home_made(text))
        .collect::<Result<_>>()?;
    Ok(Families::new(prefixes, &home_made).and_providers(providers))
}

fn home_made(text: &str) -> Result<HomeMade> {
    let refuse = |why: String| {
        bad_input!(
            "--probe {text:?}: {why}: give alloc=SYMBOL,free=SYMBOL, and if it has them realloc=SYMBOL,calloc=SYMBOL"
        )
    };
    let (mut alloc, mut free, mut realloc, mut calloc) = (None, None, None, None);
    for part in text.split(',') {
        let Some((role, function)) = part.split_once('=') else {
            return Err(refuse(format!("{part:?} has no =")));
        };
        let slot = match role {
            "alloc" => &mut alloc,
            "free" => &mut free,
            "realloc" => &mut realloc,
            "calloc" => &mut calloc,
            _ => return Err(refuse(format!("{role:?} is unknown"))),
        };
        if slot.is_some() {
            return Err(refuse(format!("{role}= is there twice")));
        }
        let Some(named) = named_argument(function) else {
            return Err(refuse(format!(
                "{function:?} is no symbol with an argument from 1 to {MAX_ARGUMENTS}"
            )));
        };
        if matches!(role, "realloc" | "calloc") && function.contains(':') {
            return Err(refuse(format!("{role}= takes no argument's number")));
        }
        *slot = Some(named);
    }
    let symbol = |named: NamedArgument| named.symbol;
    match (alloc, free) {
        (Some(alloc), Some(free)) => Ok(HomeMade {
            alloc,
            free,
            realloc: realloc.map(symbol),
            calloc: calloc.map(symbol),
        }),
        (None, _) => Err(refuse("alloc= is missing".to_owned())),
        (_, None) => Err(refuse("free= is missing".to_owned())),
    }
}

/// `SYMBOL` or `SYMBOL:NUMBER`, numbered from 1.
fn named_argument(text: &str) -> Option<NamedArgument> {
    let (symbol, argument) = match text.rsplit_once(':') {
        None => (text, 1),
        Some((symbol, number)) => (symbol, number.parse().ok()?),
    };
    let fits = is_symbol(symbol) && (1..=MAX_ARGUMENTS).contains(&argument);
    fits.then(|| NamedArgument {
        symbol: symbol.to_owned(),
        argument: argument - 1,
    })
}

/// Symbols as linkers have them: mangled ones too.
fn is_symbol(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_$.@".contains(&byte) || byte >= 0x80;
    !text.is_empty() && text.len() <= MAX_SYMBOL_BYTES && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_the_first_unless_it_is_said() {
        let one = home_made("free=pool_put:3,alloc=pool_get:2,calloc=pool_zero").unwrap();
        assert_eq!(one.alloc.symbol, "pool_get");
        assert_eq!((one.alloc.argument, one.free.argument), (1, 2));
        assert_eq!(one.calloc.as_deref(), Some("pool_zero"));
        assert_eq!(one.realloc, None);
        let plain = home_made("alloc=get,free=put").unwrap();
        assert_eq!((plain.alloc.argument, plain.free.argument), (0, 0));
    }

    #[test]
    fn what_names_no_allocator_is_refused() {
        for (text, why) in [
            ("", "no ="),
            ("alloc=a", "free= is missing"),
            ("free=a", "alloc= is missing"),
            ("alloc=a,free=b,free=c", "twice"),
            ("alloc=a,free=b,resize=c", "unknown"),
            ("alloc=a:0,free=b", "from 1 to 6"),
            ("alloc=a:7,free=b", "from 1 to 6"),
            ("alloc=a:x,free=b", "from 1 to 6"),
            ("alloc=,free=b", "no symbol"),
            ("alloc=a b,free=b", "no symbol"),
            ("alloc=a,free=b,calloc=c:2", "no argument"),
        ] {
            let error = home_made(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

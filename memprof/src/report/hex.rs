//! Numbers that people compare with other tools' output, and that JSON readers limited to doubles
//! would round: they stand in the report as hexadecimal strings.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address or a file offset, written `0x7f12ab`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HexAddress(pub u64);

/// The name of a stack, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HexStackId(pub u64);

impl fmt::Display for HexAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for HexStackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for HexAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for HexStackId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("0x")
            .and_then(parse_digits)
            .map(HexAddress)
            .ok_or_else(|| D::Error::custom("an address is 0x and up to 16 hexadecimal digits"))
    }
}

impl<'de> Deserialize<'de> for HexStackId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_digits(&text)
            .map(HexStackId)
            .ok_or_else(|| D::Error::custom("a stack id is up to 16 hexadecimal digits"))
    }
}

/// `from_str_radix` alone would accept a sign.
fn parse_digits(digits: &str) -> Option<u64> {
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_strings_read_back_and_nonsense_is_refused() {
        let address = HexAddress(u64::MAX);
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(json, "\"0xffffffffffffffff\"");
        assert_eq!(serde_json::from_str::<HexAddress>(&json).unwrap(), address);
        assert_eq!(
            serde_json::to_string(&HexStackId(0x9f1c)).unwrap(),
            "\"0000000000009f1c\""
        );
        for bad in [
            "\"\"",
            "\"0x\"",
            "\"12\"",
            "\"0x+1\"",
            "\"0x1ffffffffffffffff\"",
            "7",
        ] {
            assert!(serde_json::from_str::<HexAddress>(bad).is_err(), "{bad}");
        }
        for bad in ["\"\"", "\"-1\"", "\"0x12\""] {
            assert!(serde_json::from_str::<HexStackId>(bad).is_err(), "{bad}");
        }
    }
}

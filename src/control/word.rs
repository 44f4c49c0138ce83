//! Serializes enums as the label that logs and metrics use, for `#[serde(with)]`.

use portcullis_layers::track::Activity;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::{handoff::RestartResult, lifecycle::Phase};

/// An enum with a label for each value.
pub(super) trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;
}

macro_rules! word {
    ($($type:ty),+) => {
        $(impl Word for $type {
            const ALL: &'static [Self] = &Self::ALL;

            fn word(self) -> &'static str {
                self.as_str()
            }
        })+
    };
}

word!(Activity, Phase, RestartResult);

// The signature that serde requires.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(super) fn serialize<T: Word, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.word())
}

pub(super) fn deserialize<'de, T: Word, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let word = String::deserialize(deserializer)?;
    let found = T::ALL.iter().copied().find(|value| value.word() == word);
    found.ok_or_else(|| D::Error::custom(format_args!("the value `{word}` is unknown")))
}

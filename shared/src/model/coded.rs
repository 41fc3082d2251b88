//! Enums that have one code for people and files, and one number on the wire.

use thiserror::Error;

/// A word that is not one of an enum's codes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown {kind} \"{given}\"; one of: {known}")]
pub struct UnknownCode {
    /// What was expected, such as "cause".
    pub kind: &'static str,
    /// What was given, at most 64 characters.
    pub given: String,
    /// The codes that exist, joined by commas.
    pub known: String,
}

/// Declares an enum whose variants carry a wire number and a code; order of declaration is the order of `Ord`.
macro_rules! coded_enum {
    ($(#[$meta:meta])* $name:ident, $kind:literal { $($(#[$vmeta:meta])* $variant:ident = $number:literal, $code:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every variant in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code used in configuration, queries, metrics and documents.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The number of the proto enum.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number),+ }
            }

            /// The variant of a proto enum number; `None` for unspecified and numbers of newer peers.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.code())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::UnknownCode;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|v| v.code() == text).ok_or_else(|| {
                    $crate::model::UnknownCode {
                        kind: $kind,
                        given: text.chars().take(64).collect(),
                        known: Self::ALL.iter().map(|v| v.code()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use coded_enum;

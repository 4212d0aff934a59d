//! Lists from which code follows, so that a name is written once.

/// An enum whose members have names, the same in files and in text: all of them in their order, their number, and how they
/// are shown.
macro_rules! named {
    (
        $(#[$of_type:meta])*
        pub enum $name:ident {
            $($(#[$of_member:meta])* $member:ident = $text:literal,)*
        }
    ) => {
        $(#[$of_type])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$of_member])* #[serde(rename = $text)] $member,)*
        }

        impl $name {
            /// All of them, in this order.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$member),*];
            /// Their number.
            pub const COUNT: usize = [$($text),*].len();
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$member => $text,)*
                })
            }
        }
    };
}

/// What a user chooses by a name, on the command line as in a file.
pub trait Choice: Copy + Send + Sync + 'static {
    /// All choices, in the order in which they are offered.
    const ALL: &'static [Self];

    /// Its name.
    fn name(self) -> &'static str;

    /// What it means, a phrase.
    fn about(self) -> &'static str;
}

/// A [`named`] enum of choices; what a member means is its documentation of one line.
macro_rules! choices {
    (
        $(#[$of_type:meta])*
        pub enum $name:ident {
            $(#[doc = $doc:literal] $member:ident = $text:literal,)*
        }
    ) => {
        $crate::base::table::named! {
            $(#[$of_type])*
            pub enum $name {
                $(#[doc = $doc] $member = $text,)*
            }
        }

        impl $crate::base::table::Choice for $name {
            const ALL: &'static [Self] = &Self::ALL;

            fn name(self) -> &'static str {
                match self {
                    $(Self::$member => $text,)*
                }
            }

            fn about(self) -> &'static str {
                match self {
                    $(Self::$member => $doc,)*
                }
            }
        }
    };
}

/// Counts that add up, field by field.
macro_rules! counts {
    (
        $(#[$of_type:meta])*
        pub struct $name:ident {
            $($(#[$of_field:meta])* pub $field:ident: u64,)*
        }
    ) => {
        $(#[$of_type])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$of_field])* pub $field: u64,)*
        }

        impl $name {
            /// Adds `other`.
            pub fn merge(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }

        impl std::ops::AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.merge(&other);
            }
        }

        impl std::ops::SubAssign for $name {
            /// Takes away what was added before.
            fn sub_assign(&mut self, other: Self) {
                $(self.$field -= other.$field;)*
            }
        }
    };
}

pub(crate) use {choices, counts, named};

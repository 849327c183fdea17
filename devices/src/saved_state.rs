//! Saved states of parts that save each of their fields as it is.
//!
//! A saved state is a type of its own, so that a change of the run-time type cannot change silently what saved machines
//! mean. Where both have the same fields, [`saved_state!`] writes the conversions; a field that one of the two lacks does not
//! compile.

/// Defines the saved state of a run-time type with the same fields, and how one becomes the other. A field may have a saved
/// type of its own, into which the run-time one converts.
macro_rules! saved_state {
    ($(#[$attribute:meta])* $visible:vis struct $Saved:ident of $Runtime:ident { $($field:ident: $Type:ty),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        $visible struct $Saved {
            $($field: $Type),*
        }
        #[allow(clippy::useless_conversion, reason = "most fields have the same type in both")]
        impl From<$Runtime> for $Saved {
            fn from(part: $Runtime) -> Self {
                let $Runtime { $($field),* } = part;
                Self { $($field: $field.into()),* }
            }
        }
        #[allow(clippy::useless_conversion, reason = "most fields have the same type in both")]
        impl From<$Saved> for $Runtime {
            fn from(state: $Saved) -> Self {
                let $Saved { $($field),* } = state;
                Self { $($field: $field.into()),* }
            }
        }
    };
}
pub(crate) use saved_state;

/// The same for an enumeration: a variant has no content, one value, which is given a name here, or named fields.
macro_rules! saved_variants {
    ($(#[$attribute:meta])* $visible:vis enum $Saved:ident of $Runtime:ident {
        $($Variant:ident $(($value:ident: $Value:ty))? $({ $($field:ident: $Type:ty),* $(,)? })?),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        $visible enum $Saved {
            $($Variant $(($Value))? $({ $($field: $Type),* })?),*
        }
        #[allow(clippy::useless_conversion, reason = "most values have the same type in both")]
        impl From<$Runtime> for $Saved {
            fn from(part: $Runtime) -> Self {
                match part {
                    $($Runtime::$Variant $(($value))? $({ $($field),* })? =>
                        Self::$Variant $(($value.into()))? $({ $($field: $field.into()),* })?),*
                }
            }
        }
        #[allow(clippy::useless_conversion, reason = "most values have the same type in both")]
        impl From<$Saved> for $Runtime {
            fn from(state: $Saved) -> Self {
                match state {
                    $($Saved::$Variant $(($value))? $({ $($field),* })? =>
                        Self::$Variant $(($value.into()))? $({ $($field: $field.into()),* })?),*
                }
            }
        }
    };
}
pub(crate) use saved_variants;

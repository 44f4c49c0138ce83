//! The sum of a histogram, as an exact number.

use std::{fmt, str::FromStr};

/// A number with nine decimals.
///
/// Floating point will not do: what departed generations left is added up in another order than the pages of those that
/// live, the last digit could fall by that, and to Prometheus a counter that falls has begun anew. Whole billionths give
/// the same total in any order. Further decimals are cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    billionths: i128,
}

const DECIMALS: usize = 9;
const ONE: i128 = 10_i128.pow(DECIMALS as u32);

impl Amount {
    pub(super) const fn add(self, other: Self) -> Self {
        Self { billionths: self.billionths.saturating_add(other.billionths) }
    }
}

/// It is no decimal number, or too large a one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAnAmount;

/// Reads what `f64` displays as, but for infinities and what is not a number.
impl FromStr for Amount {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(NotAnAmount);
        }
        let fraction = &fraction[..fraction.len().min(DECIMALS)];
        let billionths = format!("{whole}{fraction:0<DECIMALS$}").parse::<i128>().map_err(|_| NotAnAmount)?;
        Ok(Self { billionths: if negative { -billionths } else { billionths } })
    }
}

/// As `f64` does, without zeros at the end.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.billionths < 0 { "-" } else { "" };
        let (whole, fraction) =
            (self.billionths.unsigned_abs() / ONE as u128, self.billionths.unsigned_abs() % ONE as u128);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:0DECIMALS$}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_displayed_is_what_was_read() {
        for text in ["0", "1", "0.3", "12.000000001", "-2.5", "43200", "123456789012345678901234567"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
        assert_eq!("0.30000000000000004".parse::<Amount>().unwrap().to_string(), "0.3");
        assert_eq!("0.1000".parse::<Amount>().unwrap().to_string(), "0.1");
        for garbage in ["", "-", ".5", "1.", "NaN", "inf", "1e9", "+1", "1.-2", &"9".repeat(60)] {
            assert_eq!(garbage.parse::<Amount>(), Err(NotAnAmount), "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_sum_is_never_a_smaller_amount(a in 0.0..1e12_f64, b in 0.0..1e12_f64) {
            let amount = |number: f64| number.to_string().parse::<Amount>().unwrap().billionths;
            prop_assert!(amount(a.max(b)) >= amount(a.min(b)));
        }

        #[test]
        fn any_amount_survives_a_page(billionths in -(1_i128 << 120)..(1_i128 << 120)) {
            let amount = Amount { billionths };
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }
}

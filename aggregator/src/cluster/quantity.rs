//! Quantities as Kubernetes writes them: `512Mi`, `1.5G`, `1e9`, `100m`.
//!
//! Owns the reading into whole units. Must not know what is measured.

/// The value in whole units, rounded up; `None` for what is no quantity or is negative. A value beyond 64 bits saturates.
/// Source: `k8s.io/apimachinery/pkg/api/resource`, grammar of `Quantity`.
pub(super) fn units(text: &str) -> Option<u64> {
    let split = text
        .find(|char: char| !char.is_ascii_digit() && char != '.' && char != '+')
        .unwrap_or(text.len());
    let (number, suffix) = (text.get(..split)?, text.get(split..)?);
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) {
        return None;
    }
    let scale = scale(suffix)?;
    if let (Ok(number), Scale::Times(factor)) = (number.parse::<u64>(), scale)
        && factor >= 1.0
        && let Some(exact) = number.checked_mul(saturated(factor))
    {
        return Some(exact);
    }
    let value: f64 = format!("0{whole}.{fraction}0").parse().ok()?;
    Some(saturated(match scale {
        Scale::Times(factor) => value * factor,
        Scale::Part(divisor) => value / divisor,
    }))
}

/// What a suffix means. Parts are divided, because a division of whole numbers without rest is exact.
#[derive(Clone, Copy)]
enum Scale {
    Times(f64),
    Part(f64),
}

fn scale(suffix: &str) -> Option<Scale> {
    let binary = |power: i32| 1024_f64.powi(power);
    Some(Scale::Times(match suffix {
        "n" => return Some(Scale::Part(1e9)),
        "u" => return Some(Scale::Part(1e6)),
        "m" => return Some(Scale::Part(1e3)),
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            if power < 0 {
                return Some(Scale::Part(10_f64.powi(power.saturating_neg().min(30))));
            }
            10_f64.powi(power.min(30))
        }
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and negative values do not occur"
)]
const fn saturated(value: f64) -> u64 {
    value.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_every_spelling_that_manifests_use() {
        for (text, bytes) in [
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("123Mi", 128_974_848),
            ("128974848000m", 128_974_848),
            ("1.5Gi", 1_610_612_736),
            ("0.1", 1),
            ("9007199254740993", 9_007_199_254_740_993),
            ("100E", u64::MAX),
        ] {
            assert_eq!(units(text), Some(bytes), "{text}");
        }
        for text in ["", "Mi", "-1", "1.2.3", "12 Mi", "1Xi", ".", "e9"] {
            assert_eq!(units(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_whole_number_of_mebibytes_is_exact(count in 0..1_u64 << 40) {
            proptest::prop_assert_eq!(units(&format!("{count}Mi")), Some(count << 20));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in ".{0,20}") {
            let _ = units(&text);
        }
    }
}

//! The delays that a broker knows, in RocketMQ's notation: `1s 5s 10s 30s 1m 2h`.

/// Levels of one broker.
pub const LEVELS_MAX: usize = 64;
/// Longest delay: a year.
const DELAY_MS_MAX: i64 = 366 * 24 * 3_600_000;

/// RocketMQ's own levels.
pub const DEFAULT: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// Delays by level; level 1 is the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: Vec<i64>,
}

impl Default for DelayLevels {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("RocketMQ's levels are valid")
    }
}

impl DelayLevels {
    /// Reads whole numbers with a unit (s, m, h, d), separated by spaces.
    pub fn parse(text: &str) -> Result<Self, String> {
        let delays_ms = text
            .split_ascii_whitespace()
            .map(delay_ms)
            .collect::<Result<Vec<_>, _>>()?;
        if (1..=LEVELS_MAX).contains(&delays_ms.len()) {
            return Ok(Self { delays_ms });
        }
        Err(format!(
            "there are {} levels; 1 to {LEVELS_MAX} are possible",
            delays_ms.len()
        ))
    }

    /// How many levels there are.
    pub fn count(&self) -> usize {
        self.delays_ms.len()
    }

    /// The level that is meant by `asked`, and its delay: one that is too high means the highest. `None`: no delay.
    pub fn resolve(&self, asked: i32) -> Option<(usize, i64)> {
        let level = usize::try_from(asked).ok().filter(|level| *level > 0)?;
        let level = level.min(self.count());
        Some((level, self.delays_ms[level - 1]))
    }

    /// The delay of the queue with that id; of the highest level for a queue of a level that is no more.
    pub fn of_queue(&self, queue: usize) -> i64 {
        self.delays_ms[queue.min(self.count() - 1)]
    }
}

fn delay_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a delay such as 30s, 5m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let unit_ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let delay_ms = number.checked_mul(unit_ms).ok_or_else(wrong)?;
    if (1..=DELAY_MS_MAX).contains(&delay_ms) {
        Ok(delay_ms)
    } else {
        Err(format!("{text:?} is not between 1s and 366d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_rocketmq_writes_them() {
        let levels = DelayLevels::default();
        assert_eq!(levels.count(), 18);
        assert_eq!(levels.resolve(1), Some((1, 1_000)));
        assert_eq!(levels.resolve(3), Some((3, 10_000)));
        assert_eq!(levels.resolve(18), Some((18, 7_200_000)));
        assert_eq!(levels.resolve(19), Some((18, 7_200_000)));
        assert_eq!((levels.resolve(0), levels.resolve(-1)), (None, None));
        assert_eq!(
            (levels.of_queue(0), levels.of_queue(40)),
            (1_000, 7_200_000)
        );
        assert_eq!(
            DelayLevels::parse("1d").expect("a day").of_queue(0),
            86_400_000
        );
    }

    #[test]
    fn what_is_no_delay_is_said() {
        for wrong in [
            "",
            "s",
            "1",
            "1x",
            "-1s",
            "0s",
            "1.5s",
            "400d",
            "é",
            "9223372036854775807h",
        ] {
            assert!(DelayLevels::parse(wrong).is_err(), "{wrong}");
        }
        assert!(DelayLevels::parse(&"1s ".repeat(LEVELS_MAX + 1)).is_err());
    }
}

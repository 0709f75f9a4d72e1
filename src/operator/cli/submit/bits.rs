//! One bit a request.

/// As many bits as there are requests, and how many of them are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
    set: u64,
}

impl Bits {
    pub(super) fn new(count: u64) -> Self {
        Self { words: vec![0; place(count).0 + 1], set: 0 }
    }

    pub(super) fn get(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Sets a bit; false when it was set already, or there is no such bit.
    pub(super) fn set(&mut self, index: u64) -> bool {
        let (word, bit) = place(index);
        match self.words.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                self.set += 1;
                true
            }
            _ => false,
        }
    }

    /// How many are set.
    pub(super) fn count(&self) -> u64 {
        self.set
    }
}

fn place(index: u64) -> (usize, u64) {
    (usize::try_from(index / 64).unwrap_or(usize::MAX - 1), 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_counts_once() {
        let mut bits = Bits::new(130);
        assert_eq!([0, 63, 64, 129, 0].map(|index| bits.set(index)), [true, true, true, true, false]);
        assert_eq!((bits.count(), bits.get(64), bits.get(65)), (4, true, false));
        assert!(!bits.get(u64::MAX) && !bits.set(u64::MAX));
    }
}

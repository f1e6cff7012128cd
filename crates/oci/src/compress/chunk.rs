//! Cuts a byte stream where its content says so (FastCDC's rule over a gear hash), so that one changed file moves few cuts.
//!
//! The cuts are part of every layer's bytes: a change to any number here changes the digest of every layer.

/// Shortest piece; below this a gzip member loses too much of its dictionary.
pub(super) const PIECE_MIN: usize = 256 << 10;

/// The length pieces gather around.
const PIECE_AVERAGE: usize = 1 << 20;

/// Longest piece: what one job holds in memory.
pub(super) const PIECE_MAX: usize = 4 << 20;

/// Before the average a cut needs 21 zero bits, after it 18: lengths then lie close to the average (FastCDC, section 4.3).
const MASK_EARLY: u64 = !0 << (64 - 21);
const MASK_LATE: u64 = !0 << (64 - 18);

/// One random number a byte value. Made by splitmix64 from a fixed seed so that no table has to be copied anywhere.
const GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state: u64 = 0x636f_6f70_6572_2e31;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = z ^ (z >> 31);
        at += 1;
    }
    table
}

/// Finds the end of the current piece while its bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    hash: u64,
    /// Bytes of the piece looked at.
    seen: usize,
}

impl Cutter {
    /// Looks at the bytes that follow those seen; how many of them belong to the piece, and whether it ends there.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = PIECE_MIN.saturating_sub(self.seen).min(bytes.len());
        for (end, mask) in [(PIECE_AVERAGE, MASK_EARLY), (PIECE_MAX, MASK_LATE)] {
            let until = end.saturating_sub(self.seen).min(bytes.len());
            if let Some(cut) = self.find(bytes.get(at..until).unwrap_or_default(), mask) {
                *self = Self::default();
                return (at + cut, true);
            }
            at = at.max(until);
        }
        self.seen += at;
        let full = self.seen == PIECE_MAX;
        if full {
            *self = Self::default();
        }
        (at, full)
    }

    fn find(&mut self, bytes: &[u8], mask: u64) -> Option<usize> {
        let mut hash = self.hash;
        for (at, byte) in bytes.iter().enumerate() {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            if hash & mask == 0 {
                return Some(at + 1);
            }
        }
        self.hash = hash;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn cuts(bytes: &[u8], step: usize) -> Vec<usize> {
        let (mut cutter, mut cuts, mut at) = (Cutter::default(), Vec::new(), 0);
        while at < bytes.len() {
            let (used, cut) = cutter.scan(&bytes[at..bytes.len().min(at + step)]);
            at += used;
            if cut {
                cuts.push(at);
            }
        }
        cuts
    }

    #[test]
    fn cuts_do_not_depend_on_how_bytes_arrive() {
        let bytes = noise(8 << 20, 1);
        let whole = cuts(&bytes, usize::MAX >> 1);
        assert!(whole.len() >= 3, "{whole:?}");
        for step in [511, 65_536, 1 << 20, PIECE_MAX] {
            assert_eq!(cuts(&bytes, step), whole, "{step}");
        }
        let mut start = 0;
        for cut in whole {
            assert!((PIECE_MIN..=PIECE_MAX).contains(&(cut - start)));
            start = cut;
        }
    }

    #[test]
    fn cuts_come_back_after_a_change() {
        let bytes = noise(12 << 20, 2);
        let before = cuts(&bytes, 1 << 16);
        let changed = [&bytes[..100], &[7; 1000], &bytes[100..]].concat();
        let after: Vec<usize> = cuts(&changed, 1 << 16).iter().map(|cut| cut.saturating_sub(1000)).collect();
        let kept = before.iter().filter(|cut| after.contains(cut)).count();
        assert!(kept + 3 >= before.len(), "{kept} of {}", before.len());
    }

    #[test]
    fn constant_bytes_are_cut_at_the_longest() {
        assert_eq!(cuts(&vec![0; 9 << 20], 1 << 16), [PIECE_MAX, 2 * PIECE_MAX]);
    }
}

//! Samples of one figure, and what is quoted of them: minimum, quartiles, maximum, and the ratio to
//! a peer pair by pair. Means are not: one pause of a shared machine moves a mean, not a median.

/// Samples in the order they were taken; the n-th of two figures belong to the same round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// One more.
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest, the quartiles with the middle one between them, and the largest.
    pub(crate) fn spread(&self) -> [f64; 5] {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => [f64::NAN; 5],
            count => {
                // The middle one of an odd number belongs to both halves.
                let (low, high) = (&sorted[..count.div_ceil(2)], &sorted[count / 2..]);
                [sorted[0], middle(low), middle(&sorted), middle(high), sorted[count - 1]]
            }
        }
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.spread()[2]
    }

    /// The one that nine in ten do not exceed. Others on the machine make a rate smaller, hardly
    /// ever larger: of many short samples the best tenth was disturbed least.
    pub(crate) fn best(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(f64::NAN)
    }

    /// All together.
    pub(crate) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Each sample divided by that of a peer in the same round.
    pub(crate) fn over(&self, peer: &Samples) -> Samples {
        self.paired(peer, |own, peer| own / peer)
    }

    /// Each sample and that of another figure in the same round, put together.
    pub(crate) fn paired(&self, other: &Samples, put: impl Fn(f64, f64) -> f64) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(own, other)| put(*own, *other)).collect())
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    #[test]
    fn a_spread_needs_no_order() {
        for (values, spread) in [
            (&[3.0, 1.0, 2.0][..], [1.0, 1.5, 2.0, 2.5, 3.0]),
            (&[4.0, 1.0, 3.0, 2.0], [1.0, 1.5, 2.5, 3.5, 4.0]),
            (&[5.0, 1.0, 3.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]),
            (&[7.0], [7.0; 5]),
        ] {
            assert!(
                samples(values)
                    .spread()
                    .iter()
                    .zip(spread)
                    .all(|(is, wanted)| (is - wanted).abs() < 1e-9)
            );
        }
        assert!(samples(&[]).median().is_nan());
    }

    #[test]
    fn one_in_ten_is_better_than_the_best() {
        let rates: Samples = (0..20).rev().map(f64::from).collect();
        assert!((rates.best() - 18.0).abs() < 1e-9);
        assert!((samples(&[7.0]).best() - 7.0).abs() < 1e-9);
        assert!(samples(&[]).best().is_nan());
    }

    #[test]
    fn a_ratio_is_taken_in_each_round() {
        let ratio = samples(&[2.0, 30.0]).over(&samples(&[1.0, 10.0]));
        assert_eq!(ratio.count(), 2);
        assert!(
            ratio
                .spread()
                .iter()
                .zip([2.0, 2.0, 2.5, 3.0, 3.0])
                .all(|(is, wanted)| (is - wanted).abs() < 1e-9)
        );
    }
}

//! Keys that nobody knows: accepted, as the protocol demands, but told to the operator together
//! with the key that was probably meant.

/// A key of the plugin configuration that the plugin does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Where it stands, `underlay.interfce`.
    pub path: String,
    /// The known key beside it that looks most like it.
    pub nearest: Option<&'static str>,
}

impl UnknownKey {
    /// The key `name` at `path`, where `known` would have been possible.
    pub(crate) fn new(path: String, name: &str, known: &[&[&'static str]]) -> Self {
        let length = name.chars().count();
        // More than a third of the letters wrong is another word, not a typing error.
        let limit = length.div_ceil(3);
        // A length that differs by as much says so at once, which matters for names of a mebibyte.
        let keys = known.iter().copied().flatten().copied();
        let similar = keys.filter(|key| key.len().abs_diff(length) <= limit);
        let nearest = similar.map(|key| (distance(name, key), key)).min_by_key(|(d, _)| *d);
        let nearest = nearest.filter(|(distance, _)| *distance <= limit).map(|(_, key)| key);
        Self { path, nearest }
    }
}

impl std::fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown key {:?}", self.path)?;
        self.nearest.map_or(Ok(()), |nearest| write!(f, "; the nearest known one is {nearest:?}"))
    }
}

/// Letters to insert, delete or replace (Levenshtein), without regard to case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(!l.eq_ignore_ascii_case(r));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_that_was_probably_meant() {
        let known: &[&[&'static str]] = &[&["resourcesDir", "stateDir", "runDir"], &["name"]];
        for (name, nearest) in [
            ("resourceDir", Some("resourcesDir")),
            ("statedirs", Some("stateDir")),
            ("rundri", Some("runDir")),
            ("nmae", Some("name")),
            ("bridge", None),
            ("x", None),
        ] {
            assert_eq!(UnknownKey::new(name.into(), name, known).nearest, nearest, "{name}");
        }
        let key = UnknownKey::new("ipam.nam".into(), "nam", known);
        assert_eq!(key.to_string(), "unknown key \"ipam.nam\"; the nearest known one is \"name\"");
    }

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in
            [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("Ab", "aB", 0)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }
}

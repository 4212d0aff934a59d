//! Keys of streams, one for each place of a connection.

use std::fmt;

/// Stream keys in their order. They show nowhere: debug output tells only how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StreamKeys {
    /// All keys, one after the other: a million of them is one allocation.
    text: String,
    /// Where each key ends.
    ends: Vec<usize>,
    longest: usize,
}

impl StreamKeys {
    /// The key of a place, counted from zero; none if there are fewer keys.
    pub fn get(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[begin..end])
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Length of the longest key in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }
}

impl<'a> Extend<&'a str> for StreamKeys {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, keys: I) {
        for key in keys {
            self.text.push_str(key);
            self.ends.push(self.text.len());
            self.longest = self.longest.max(key.len());
        }
    }
}

impl<'a> FromIterator<&'a str> for StreamKeys {
    fn from_iter<I: IntoIterator<Item = &'a str>>(keys: I) -> Self {
        let mut collected = Self::default();
        collected.extend(keys);
        collected
    }
}

impl fmt::Debug for StreamKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stream keys", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_place() {
        let keys: StreamKeys = ["a", "bcd", "ef"].into_iter().collect();
        assert_eq!([0, 1, 2, 3].map(|place| keys.get(place)), [Some("a"), Some("bcd"), Some("ef"), None]);
        assert_eq!((keys.len(), keys.longest(), keys.is_empty()), (3, 3, false));
        assert_eq!(StreamKeys::default().get(0), None);
    }

    #[test]
    fn keys_do_not_show() {
        assert_eq!(format!("{:?}", ["s3cret"].into_iter().collect::<StreamKeys>()), "1 stream keys");
    }
}

//! Binding keys of a topic exchange, as a tree of words.
//!
//! A key is words between dots; in a binding key `*` stands for exactly one word and `#` for any number of words
//! (AMQP 0-9-1, section 3.1.3.3). Matching walks the tree, so it costs the patterns that share the message's words, not
//! all patterns.

use crate::plant::{self, Plant};
use std::collections::{BTreeMap, BTreeSet};

/// Values of type `T` under binding keys.
#[derive(Clone, Debug)]
pub(crate) struct TopicTree<T> {
    children: BTreeMap<Vec<u8>, Self>,
    values: BTreeSet<T>,
}

impl<T> Default for TopicTree<T> {
    fn default() -> Self {
        Self {
            children: BTreeMap::new(),
            values: BTreeSet::new(),
        }
    }
}

impl<T: Ord + Clone> TopicTree<T> {
    pub(crate) fn insert(&mut self, key: &[u8], value: T) {
        let mut node = self;
        for word in words(key) {
            node = node.children.entry(word.to_vec()).or_default();
        }
        node.values.insert(value);
    }

    pub(crate) fn remove(&mut self, key: &[u8], value: &T) {
        let path: Vec<&[u8]> = words(key).collect();
        self.remove_at(&path, value);
    }

    /// Calls `found` for each value whose key matches; for one value more than once if several of its keys match.
    pub(crate) fn matches(&self, key: &[u8], found: &mut impl FnMut(&T)) {
        // The set of positions reached at a node bounds the work for patterns such as `#.#.#.x`: a routing key has at
        // most 255 bytes, and each node is visited once.
        let path: Vec<&[u8]> = words(key).collect();
        let mut start = vec![false; path.len() + 1];
        start[0] = true;
        let mut stack = vec![(self, start)];
        while let Some((node, reached)) = stack.pop() {
            if reached[path.len()] {
                node.values.iter().for_each(&mut *found);
            }
            for (word, child) in &node.children {
                let next = step(word, &reached, &path);
                if next.contains(&true) {
                    stack.push((child, next));
                }
            }
        }
    }

    fn remove_at(&mut self, path: &[&[u8]], value: &T) {
        let Some((word, rest)) = path.split_first() else {
            self.values.remove(value);
            return;
        };
        if let Some(child) = self.children.get_mut(*word) {
            child.remove_at(rest, value);
            if child.children.is_empty() && child.values.is_empty() {
                self.children.remove(*word);
            }
        }
    }
}

/// The positions in `path` after `word`, from the positions before it.
fn step(word: &[u8], reached: &[bool], path: &[&[u8]]) -> Vec<bool> {
    let mut next = vec![false; path.len() + 1];
    match word {
        b"#" => {
            if let Some(first) = reached.iter().position(|at| *at) {
                next[first + usize::from(plant::is(Plant::TopicHashNeedsWord))..].fill(true);
            }
        }
        b"*" => (0..path.len())
            .filter(|at| reached[*at])
            .for_each(|at| next[at + 1] = true),
        word => (0..path.len())
            .filter(|at| reached[*at] && path[*at] == word)
            .for_each(|at| next[at + 1] = true),
    }
    next
}

/// The words of a key; the empty key has none.
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|byte| *byte == b'.')
        .take(if key.is_empty() { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The specification, word by word.
    fn naive(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((&b"#", rest)), _) => naive(rest, key) || (!key.is_empty() && naive(pattern, &key[1..])),
            (Some(_), None) => false,
            (Some((word, rest)), Some((first, others))) => (*word == b"*" || word == first) && naive(rest, others),
        }
    }

    fn key() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "", "*", "#"]), 0..5).prop_map(|w| w.join("."))
    }

    proptest! {
        #[test]
        fn matches_as_the_specification_says(patterns in prop::collection::vec(key(), 0..8), gone in 0..8_usize, key in key()) {
            let mut tree = TopicTree::default();
            for (number, pattern) in patterns.iter().enumerate() {
                tree.insert(pattern.as_bytes(), number);
            }
            if gone < patterns.len() {
                tree.remove(patterns[gone].as_bytes(), &gone);
            }
            let mut found = BTreeSet::new();
            tree.matches(key.as_bytes(), &mut |number| { found.insert(*number); });
            let path: Vec<&[u8]> = words(key.as_bytes()).collect();
            let expected: BTreeSet<usize> = patterns
                .iter()
                .enumerate()
                .filter(|(number, pattern)| *number != gone && naive(&words(pattern.as_bytes()).collect::<Vec<_>>(), &path))
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}

//! Reading a document: one value with the way to it, and the keys of a mapping. Every problem that
//! a reader can have gets its file, line and path here.

use std::fmt::Display;
use std::str::FromStr;

use egret_types::Invalid;

use crate::{
    Problem, ProblemKind,
    document::{Content, Entry, Node, Place},
    nearest::nearest,
    problem::Problems,
};

/// A value of a document. The way to it is looked for when a problem needs it: most documents have
/// none, and an ADD reads them all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    file: &'a str,
    root: &'a Node<'a>,
    node: &'a Node<'a>,
}

impl<'a> Cursor<'a> {
    /// A document as a whole.
    pub(crate) fn root(file: &'a str, node: &'a Node<'a>) -> Self {
        Self { file, root: node, node }
    }

    /// What the contract does not allow.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        self.located(self.node.at, ProblemKind::Malformed, message.into())
    }

    /// What the contract allows and this version does not honour.
    pub(crate) fn not_honoured(&self, what: impl Display) -> Problem {
        let message = format!("{what} is not honoured by this version of Egret");
        self.located(self.node.at, ProblemKind::NotHonoured, message)
    }

    fn located(&self, at: Place, kind: ProblemKind, message: String) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            path: path(self.root, self.node),
            message,
            kind,
        }
    }

    fn wanted(&self, expected: &str) -> Problem {
        self.problem(format!("found {}, wanted {expected}", self.node.content.shown()))
    }

    /// `file:line`, to name this value in a problem of another one.
    pub(crate) fn whereabouts(&self) -> String {
        format!("{}:{}", self.file, self.node.at.line)
    }

    pub(crate) fn text(&self, expected: &str) -> Result<&'a str, Problem> {
        match &self.node.content {
            Content::Text(text) => Ok(text),
            Content::Number(text) => Err(self.problem(format!(
                "found the number {text}, wanted {expected}; put it in quotes if it is one"
            ))),
            _ => Err(self.wanted(expected)),
        }
    }

    /// A text that its own type checks.
    pub(crate) fn parse<T>(&self, expected: &str) -> Result<T, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(expected)?.parse().map_err(|error: T::Err| self.problem(error.to_string()))
    }

    /// A number that its own type checks.
    pub(crate) fn number<T: TryFrom<u32, Error = Invalid>>(&self) -> Result<T, Problem> {
        // No type of ours takes the largest number: it is asked for what it does take.
        let limit = || T::try_from(u32::MAX).err().map_or("a number", |invalid| invalid.expected);
        let Content::Number(text) = &self.node.content else { return Err(self.wanted(limit())) };
        let number: u32 = text.parse().map_err(|_| self.wanted(limit()))?;
        T::try_from(number).map_err(|invalid| self.problem(invalid.to_string()))
    }

    /// One of the contract's words, of which this version honours the first.
    pub(crate) fn word(&self, honoured: &str, later: &[&str]) -> Result<(), Problem> {
        let mut all: Vec<String> = vec![format!("{honoured:?}")];
        all.extend(later.iter().map(|word| format!("{word:?}")));
        let expected = format!("one of {}", all.join(", "));
        let found = self.text(&expected)?;
        if found == honoured {
            Ok(())
        } else if later.contains(&found) {
            let message =
                format!("{found:?} is not honoured by this version of Egret, only {honoured:?} is");
            Err(self.located(self.node.at, ProblemKind::NotHonoured, message))
        } else {
            Err(self.wanted(&expected))
        }
    }

    /// One of these words, by what it stands for.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Problem> {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let expected = format!("one of {}", all.join(", "));
        let found = self.text(&expected)?;
        let chosen = words.iter().find(|(word, _)| *word == found).map(|(_, meaning)| *meaning);
        chosen.ok_or_else(|| self.wanted(&expected))
    }

    pub(crate) fn boolean(&self) -> Result<bool, Problem> {
        match self.node.content {
            Content::Bool(value) => Ok(value),
            _ => Err(self.wanted("true or false")),
        }
    }

    pub(crate) fn items(&self, expected: &str) -> Result<Items<'a>, Problem> {
        let Content::List(nodes) = &self.node.content else { return Err(self.wanted(expected)) };
        Ok(Items { list: *self, nodes: nodes.iter() })
    }

    /// A list of which each item is read by itself, so that one bad item hides no other.
    pub(crate) fn list<T>(
        &self,
        expected: &str,
        problems: &mut Problems,
        read: impl Fn(&Cursor<'a>) -> Result<T, Problem>,
    ) -> Vec<T> {
        let items = problems.keep(self.items(expected));
        items.into_iter().flatten().filter_map(|item| problems.keep(read(&item))).collect()
    }

    /// The entries of a mapping that may have any keys, each key once.
    pub(crate) fn pairs(&self, expected: &str) -> Result<Vec<(&'a str, Cursor<'a>)>, Problem> {
        let entries = self.entries().ok_or_else(|| self.wanted(expected))?;
        for (index, entry) in entries.iter().enumerate() {
            if entries.iter().take(index).any(|earlier| earlier.key == entry.key) {
                return Err(self.problem(format!("the key {:?} stands twice", entry.key)));
            }
        }
        Ok(entries.iter().map(|entry| (&*entry.key, self.at_node(&entry.value))).collect())
    }

    fn entries(&self) -> Option<&'a [Entry<'a>]> {
        match &self.node.content {
            Content::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    fn at_node(&self, node: &'a Node<'a>) -> Cursor<'a> {
        Cursor { node, ..*self }
    }

    /// A key of a mapping, whatever else the mapping holds.
    pub(crate) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let entry = self.entries()?.iter().find(|entry| entry.key == key)?;
        Some(self.at_node(&entry.value))
    }

    /// The value at the end of a way of keys; as far along it as the document goes.
    pub(crate) fn along(&self, keys: &[&str]) -> Cursor<'a> {
        keys.iter().try_fold(*self, |at, key| at.get(key).ok_or(at)).unwrap_or_else(|at| at)
    }

    /// The `index`th item of the list at the end of a way of keys.
    pub(crate) fn item(&self, keys: &[&str], index: usize) -> Cursor<'a> {
        let list = self.along(keys);
        list.items("a list").ok().and_then(|mut items| items.nth(index)).unwrap_or(list)
    }
}

/// The items of a list.
#[derive(Debug, Clone)]
pub(crate) struct Items<'a> {
    list: Cursor<'a>,
    nodes: std::slice::Iter<'a, Node<'a>>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Cursor<'a>;
    fn next(&mut self) -> Option<Cursor<'a>> {
        self.nodes.next().map(|node| self.list.at_node(node))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.nodes.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}

/// The way from a document to one of its values, `spec.members[1]`.
fn path(root: &Node<'_>, target: &Node<'_>) -> String {
    let mut steps = Vec::new();
    search(root, target, &mut steps);
    steps.reverse();
    steps.concat().trim_start_matches('.').to_owned()
}

/// Puts the steps to `target` on the list, the last one first. Depth is limited where documents are
/// parsed.
fn search(from: &Node<'_>, target: &Node<'_>, steps: &mut Vec<String>) -> bool {
    if std::ptr::eq(from, target) {
        return true;
    }
    let step = match &from.content {
        Content::Mapping(entries) => entries
            .iter()
            .find(|entry| search(&entry.value, target, steps))
            .map(|entry| format!(".{}", entry.key)),
        Content::List(items) => items
            .iter()
            .position(|item| search(item, target, steps))
            .map(|index| format!("[{index}]")),
        _ => None,
    };
    let found = step.is_some();
    steps.extend(step);
    found
}

/// The keys of one mapping: what this version honours, and what the contract knows besides.
pub(crate) struct Keys {
    pub(crate) honoured: &'static [&'static str],
    pub(crate) later: &'static [&'static str],
}

/// A mapping of which every key was looked at.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    at: Cursor<'a>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping; unknown, repeated and empty keys and those not honoured are problems.
    pub(crate) fn open(at: Cursor<'a>, keys: &Keys, problems: &mut Problems) -> Option<Self> {
        let Some(entries) = at.entries() else {
            problems.add(at.wanted("a mapping"));
            return None;
        };
        for (index, entry) in entries.iter().enumerate() {
            let earlier = entries.iter().take(index).find(|other| other.key == entry.key);
            if let Some(problem) = refuse_entry(&at, entry, earlier, keys) {
                problems.add(problem);
            }
        }
        Some(Self { at })
    }

    pub(crate) fn at(&self) -> &Cursor<'a> {
        &self.at
    }

    /// The value of a key. An empty value counts as absent; `open` has refused it.
    pub(crate) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.at.get(key).filter(|value| !matches!(value.node.content, Content::Null))
    }

    /// The value of a key that must be there.
    pub(crate) fn required(
        &self,
        key: &str,
        what: &str,
        problems: &mut Problems,
    ) -> Option<Cursor<'a>> {
        let value = self.get(key);
        if value.is_none() && self.at.get(key).is_none() {
            problems.add(self.at.problem(format!("{key:?} is missing: {what}")));
        }
        value
    }
}

fn refuse_entry(
    at: &Cursor<'_>,
    entry: &Entry<'_>,
    earlier: Option<&Entry<'_>>,
    keys: &Keys,
) -> Option<Problem> {
    let key = &*entry.key;
    let at = at.at_node(&entry.value);
    let malformed = |message| Some(at.located(entry.at, ProblemKind::Malformed, message));
    if let Some(earlier) = earlier {
        return malformed(format!(
            "the key {key:?} stands here again, first in line {}",
            earlier.at.line
        ));
    }
    if keys.later.contains(&key) {
        let message = format!("the key {key:?} is not honoured by this version of Egret");
        return Some(at.located(entry.at, ProblemKind::NotHonoured, message));
    }
    if !keys.honoured.contains(&key) {
        return malformed(format!("unknown key {key:?}; {}", allowed(key, keys)));
    }
    if matches!(entry.value.content, Content::Null) {
        return malformed(format!("the key {key:?} has no value; write one or remove the key"));
    }
    None
}

/// The end of a sentence about a key that nobody knows.
fn allowed(key: &str, keys: &Keys) -> String {
    let known = keys.honoured.iter().chain(keys.later).copied();
    match nearest(key, known) {
        Some(name) => format!("did you mean {name:?}?"),
        None if keys.honoured.is_empty() => "none is allowed here".to_owned(),
        None => format!("allowed here: {}", keys.honoured.join(", ")),
    }
}

//! What is wrong with a resource, and where: the one form in which every program shows it.

/// Which of two things went wrong. They have different CNI codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// It is not what the contract allows (CNI code 7).
    Malformed,
    /// The contract knows it, this version does not honour it yet (code 103).
    NotHonoured,
}

/// One problem. Displays as `file:line: path: message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{message}", Prefixed(path))]
pub struct Problem {
    /// The name of the source file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The way to the value in its document (`spec.destinations[1]`); empty for a document as a
    /// whole.
    pub path: String,
    /// What was found and what is allowed.
    pub message: String,
    /// Malformed, or not honoured yet.
    pub kind: ProblemKind,
}

struct Prefixed<'a>(&'a str);

impl std::fmt::Display for Prefixed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// The list that reading goes on with after a problem, so that an operator sees all of them at
/// once.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// The value, or nothing and one problem more.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the files as they were given, then of their lines.
    pub(crate) fn into_sorted(self, files: &[crate::SourceFile]) -> Vec<Problem> {
        let position = |name: &str| files.iter().position(|file| file.name == name);
        let mut list = self.0;
        list.sort_by_cached_key(|p| (position(&p.file), p.line, p.column));
        list
    }
}

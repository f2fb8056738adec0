//! Text to documents: YAML, and with it JSON, as a tree in which every value knows its line.
//!
//! The tree is made from the parser's events, not through serde: serde stops at the first problem,
//! keeps no positions for a check that comes later, and made the static plugins 0.55 MB larger.
//! Anchors and tags are refused, so the size of the tree is bounded by that of the text.

use std::borrow::Cow;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::{Problem, ProblemKind, SourceFile, problem::Problems};

/// Deeper than any resource; a limit so that nothing which walks the tree can exhaust the stack.
const MAX_DEPTH: usize = 32;

/// More than any resource has; a limit because each key is compared with those before it.
const MAX_KEYS: usize = 256;

/// A place in a file, both from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: clamp(marker.line()), column: clamp(marker.col().saturating_add(1)) }
    }
}

/// A value and where it begins.
#[derive(Debug)]
pub(crate) struct Node<'t> {
    pub(crate) content: Content<'t>,
    pub(crate) at: Place,
}

/// What a value can be. A number keeps its text: what it may be depends on the key.
#[derive(Debug)]
pub(crate) enum Content<'t> {
    Null,
    Bool(bool),
    Number(Cow<'t, str>),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Mapping(Vec<Entry<'t>>),
}

/// One key of a mapping with its value. Keys may stand twice here; the reader of the mapping says
/// so.
#[derive(Debug)]
pub(crate) struct Entry<'t> {
    pub(crate) key: Cow<'t, str>,
    pub(crate) at: Place,
    pub(crate) value: Node<'t>,
}

impl Content<'_> {
    /// The value as an error message shows it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => format!("the boolean {value}"),
            Content::Number(text) => format!("the number {text}"),
            Content::Text(text) => format!("the text {text:?}"),
            Content::List(_) => "a list".to_owned(),
            Content::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// The documents of a file; empty ones are left out. After a syntax error the ones before it are
/// still there.
pub(crate) fn parse_documents<'t>(file: &'t SourceFile, problems: &mut Problems) -> Vec<Node<'t>> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(&file.text) {
        let refused = match event {
            Ok((event, span)) => tree.take(event, span.start.into()).err(),
            Err(error) => {
                Some((Place::from(*error.marker()), format!("not YAML or JSON: {}", error.info())))
            }
        };
        if let Some((at, message)) = refused {
            problems.add(Problem {
                file: file.name.clone(),
                line: at.line,
                column: at.column,
                path: String::new(),
                message,
                kind: ProblemKind::Malformed,
            });
            break;
        }
    }
    tree.documents
}

/// The tree while it grows.
#[derive(Default)]
struct Tree<'t> {
    documents: Vec<Node<'t>>,
    /// Lists and mappings that have not ended; the innermost last.
    open: Vec<Open<'t>>,
}

/// A list or mapping that has not ended. A mapping holds the key that still waits for its value.
struct Open<'t> {
    node: Node<'t>,
    key: Option<(Cow<'t, str>, Place)>,
}

type Refusal = (Place, String);

impl<'t> Tree<'t> {
    fn take(&mut self, event: Event<'t>, at: Place) -> Result<(), Refusal> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_reference(at, anchor, tag.as_deref())?;
                self.scalar(text, style, at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_reference(at, anchor, tag.as_deref())?;
                self.begin(Content::List(Vec::new()), at)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_reference(at, anchor, tag.as_deref())?;
                self.begin(Content::Mapping(Vec::new()), at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(ended) = self.open.pop() {
                    self.place(ended.node);
                }
                Ok(())
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Anchor(..) => {
                refuse_reference(at, 1, None)
            }
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: Cow<'t, str>, style: ScalarStyle, at: Place) -> Result<(), Refusal> {
        match self.open.last_mut() {
            Some(Open {
                node: Node { content: Content::Mapping(entries), .. },
                key: key @ None,
            }) => {
                if entries.len() >= MAX_KEYS {
                    return Err((at, format!("more than {MAX_KEYS} keys in one mapping")));
                }
                *key = Some((text, at));
            }
            _ => self.place(Node { content: typed(text, style), at }),
        }
        Ok(())
    }

    fn begin(&mut self, content: Content<'t>, at: Place) -> Result<(), Refusal> {
        if let Some(Open { node: Node { content: Content::Mapping(_), .. }, key: None }) =
            self.open.last()
        {
            return Err((at, "a key must be a text, not a list or a mapping".to_owned()));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err((at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { node: Node { content, at }, key: None });
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, value: Node<'t>) {
        let Some(parent) = self.open.last_mut() else {
            if !matches!(value.content, Content::Null) {
                self.documents.push(value);
            }
            return;
        };
        match &mut parent.node.content {
            Content::Mapping(entries) => {
                if let Some((key, at)) = parent.key.take() {
                    entries.push(Entry { key, at, value });
                }
            }
            Content::List(items) => items.push(value),
            _ => {}
        }
    }
}

fn refuse_reference(at: Place, anchor: usize, tag: Option<&Tag>) -> Result<(), Refusal> {
    if anchor != 0 {
        Err((at, "anchors and aliases (&name, *name) are not allowed; write the value".to_owned()))
    } else if tag.is_some() {
        Err((at, "tags (!name) are not allowed; write the value alone".to_owned()))
    } else {
        Ok(())
    }
}

/// The core schema of YAML 1.2: `off`, `yes` and the like are texts.
fn typed(text: Cow<'_, str>, style: ScalarStyle) -> Content<'_> {
    if style != ScalarStyle::Plain {
        return Content::Text(text);
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" => Content::Bool(true),
        "false" | "False" | "FALSE" => Content::Bool(false),
        plain if is_number(plain) => Content::Number(text),
        _ => Content::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    let based = |text: &str| text.starts_with("0x") || text.starts_with("0o");
    text.starts_with(begins) && (text.parse::<f64>().is_ok() || based(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> (Vec<String>, Vec<Problem>) {
        let files = [SourceFile { name: "f".to_owned(), text: text.to_owned() }];
        let mut problems = Problems::default();
        let nodes = parse_documents(&files[0], &mut problems);
        (nodes.iter().map(|node| node.content.shown()).collect(), problems.into_sorted(&files))
    }

    #[test]
    fn scalars_have_the_types_of_yaml_1_2() {
        for (text, shown) in [
            ("true", "the boolean true"),
            ("off", "the text \"off\""),
            ("no", "the text \"no\""),
            ("'true'", "the text \"true\""),
            ("230", "the number 230"),
            ("-1", "the number -1"),
            ("1.5e3", "the number 1.5e3"),
            ("0x1f", "the number 0x1f"),
            ("\"230\"", "the text \"230\""),
            ("10.0.0.1", "the text \"10.0.0.1\""),
            ("2001:db8::1", "the text \"2001:db8::1\""),
            ("1.2.3", "the text \"1.2.3\""),
            ("infinity", "the text \"infinity\""),
            ("''", "the text \"\""),
        ] {
            assert_eq!(documents(text), (vec![shown.to_owned()], vec![]), "{text}");
        }
    }

    #[test]
    fn empty_documents_are_left_out() {
        for text in ["", "---\n", "# only a comment\n", "---\n---\nnull\n--- ~\n..."] {
            assert_eq!(documents(text), (vec![], vec![]), "{text:?}");
        }
    }

    #[test]
    fn documents_before_a_syntax_error_are_kept() {
        let (shown, problems) = documents("a: 1\n---\n[\n");
        assert_eq!(shown, ["a mapping"]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].line >= 3, "{}", problems[0]);
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let file = SourceFile { name: "f".to_owned(), text: "a:\n  - x\n  - {b: y}\n".to_owned() };
        let nodes = parse_documents(&file, &mut Problems::default());
        let Content::Mapping(entries) = &nodes[0].content else { panic!("{nodes:?}") };
        let Content::List(items) = &entries[0].value.content else { panic!("{nodes:?}") };
        let places: Vec<_> = items.iter().map(|item| (item.at.line, item.at.column)).collect();
        assert_eq!(places, [(2, 5), (3, 5)]);
    }
}

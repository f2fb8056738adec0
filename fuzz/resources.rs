//! Resource files: documents, references, ranges. A form feed separates files.

use egret_resources::{AddressRange, EgressPool, Problem, Resources, SourceFile, parse};
use egret_types::Family;

/// In any order of the files the resources are the same; their ranges are in order, read as they
/// print, and share no address. Every problem stands in a place that exists and says something.
pub fn resources(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    range(text);
    let mut files: Vec<SourceFile> = text
        .split('\x0c')
        .enumerate()
        .map(|(number, text)| SourceFile { name: number.to_string(), text: text.to_owned() })
        .collect();
    let parsed = parse(&files);
    files.reverse();
    match (&parsed, parse(&files)) {
        (Ok(resources), reversed) => {
            assert_eq!(Ok(resources), reversed.as_ref());
            pools(resources);
        }
        (Err(problems), reversed) => {
            assert!(reversed.is_err(), "the order of the files decides");
            assert!(!problems.is_empty());
            for problem in problems {
                has_a_place(problem, &files);
            }
        }
    }
}

fn range(text: &str) {
    let Ok(range) = text.parse::<AddressRange>() else { return };
    assert!(range.first() <= range.last() && range.contains(range.last()));
    assert_eq!(range.to_string().parse(), Ok(range));
    let span = Family::number(range.last()) - Family::number(range.first());
    assert_eq!(range.span(), span);
}

fn pools(resources: &Resources) {
    let ranges = |pool: &EgressPool| {
        let both = Family::BOTH.into_iter().flat_map(|family| pool.ranges(family).to_vec());
        both.collect::<Vec<_>>()
    };
    let all: Vec<AddressRange> = resources.pools.iter().flat_map(ranges).collect();
    for (number, one) in all.iter().enumerate() {
        range(&one.to_string());
        assert!(!all[..number].iter().any(|other| other.overlaps(*one)), "{one} is there twice");
    }
}

fn has_a_place(problem: &Problem, files: &[SourceFile]) {
    let file = files.iter().find(|file| file.name == problem.file).expect("it names a file");
    let line = usize::try_from(problem.line).unwrap_or(usize::MAX);
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    assert!((1..=file.text.matches(breaks).count() + 1).contains(&line), "{problem}");
    assert!(problem.column > 0 && !problem.message.is_empty(), "{problem}");
}

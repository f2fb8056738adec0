//! Every file of `testdata/resources`: the valid ones give resources, the invalid ones exactly the
//! problems that stand beside them.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use egret_resources::{Problem, ProblemKind, SourceFile, parse};

    fn testdata() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/resources")
    }

    /// The files whose name begins so, as sources with their bare name.
    fn files(prefix: &str) -> Vec<SourceFile> {
        let mut files: Vec<SourceFile> = fs::read_dir(testdata())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                let name = entry.file_name().into_string().unwrap();
                name.starts_with(prefix)
                    && Path::new(&name).extension().is_none_or(|extension| extension != "err")
            })
            .map(|entry| SourceFile {
                name: entry.file_name().into_string().unwrap(),
                text: fs::read_to_string(entry.path()).unwrap(),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(!files.is_empty(), "no {prefix}* in {}", testdata().display());
        files
    }

    fn shown(problems: &[Problem]) -> String {
        let line = |problem: &Problem| match problem.kind {
            ProblemKind::Malformed => format!("{problem}\n"),
            ProblemKind::NotHonoured => format!("{problem} [not honoured]\n"),
        };
        problems.iter().map(line).collect()
    }

    #[test]
    fn valid_files_have_no_problem() {
        for file in files("valid-") {
            let name = file.name.clone();
            if let Err(problems) = parse(&[file]) {
                panic!("{name}:\n{}", shown(&problems));
            }
        }
    }

    #[test]
    fn invalid_files_have_the_problems_that_stand_beside_them() {
        let bless = std::env::vars_os().any(|(name, _)| name == "EGRET_BLESS");
        let mut differing = Vec::new();
        for file in files("invalid-") {
            let golden = testdata().join(format!("{}.err", file.name));
            let name = file.name.clone();
            let found = shown(&parse(&[file]).expect_err(&name));
            if bless {
                write(&golden, &found);
            } else if fs::read_to_string(&golden).ok().as_ref() != Some(&found) {
                differing.push(format!("{name} gives\n{found}"));
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    #[test]
    fn a_file_that_ends_early_never_panics() {
        for whole in files("valid-").into_iter().chain(files("invalid-")) {
            // A sample of the ends: all of them would take 10 s.
            for (end, _) in whole.text.char_indices().step_by(31) {
                let text = whole.text[..end].to_owned();
                let lines = u32::try_from(text.lines().count()).unwrap() + 1;
                let file = SourceFile { name: whole.name.clone(), text };
                for problem in parse(&[file]).err().unwrap_or_default() {
                    assert!((1..=lines).contains(&problem.line), "{problem} of {lines} lines");
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a golden file needs no atomic replacement")]
    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }
}

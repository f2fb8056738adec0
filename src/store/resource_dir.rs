//! The directory of resources (`resourcesDir`) as text and as checked values. Apart from
//! `egret_resources`, which reads no file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use egret_resources::{Problem, ProblemKind, Resources, SourceFile};

/// Why the files of the directory could not be read. Nothing of it counts as "there are no
/// resources": a pod that a policy would select must not leave unselected.
#[derive(Debug, thiserror::Error)]
pub enum ResourceDirError {
    /// The directory is missing or cannot be listed.
    #[error("list the resources in {}: {source}", dir.display())]
    List {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file in it cannot be read as text.
    #[error("read the resource file {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why there are no resources to work with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error(transparent)]
    Files(#[from] ResourceDirError),
    /// What they say is not right: every problem, in the order of files and lines. Displays one a
    /// line.
    #[error("{}", Lines(_0))]
    Problems(Vec<Problem>),
}

impl LoadError {
    /// `NotHonoured` (CNI code 103) if nothing worse is wrong, else `Malformed` (code 7).
    pub fn kind(&self) -> ProblemKind {
        match self {
            LoadError::Problems(all) if all.iter().all(|p| p.kind == ProblemKind::NotHonoured) => {
                ProblemKind::NotHonoured
            }
            _ => ProblemKind::Malformed,
        }
    }
}

struct Lines<'a>(&'a [Problem]);

impl std::fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

/// The text of every `*.yaml`, `*.yml` and `*.json` of the directory, sorted by name. Hidden files
/// are none of them: editors and `ConfigMap` volumes keep their own there.
pub fn read(dir: &Path) -> Result<Vec<SourceFile>, ResourceDirError> {
    let mut paths =
        list(dir).map_err(|source| ResourceDirError::List { dir: dir.to_path_buf(), source })?;
    paths.sort();
    paths.into_iter().map(read_file).collect()
}

/// The resources of the directory.
pub fn load(dir: &Path) -> Result<Resources, LoadError> {
    egret_resources::parse(&read(dir)?).map_err(LoadError::Problems)
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if is_resource_file(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn is_resource_file(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn read_file(path: PathBuf) -> Result<SourceFile, ResourceDirError> {
    match read_regular(&path) {
        Ok(text) => Ok(SourceFile { name: path.display().to_string(), text }),
        Err(source) => Err(ResourceDirError::Read { file: path, source }),
    }
}

/// A pipe of such a name would block an ADD for ever.
fn read_regular(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let mut file = fs::File::create(dir.path().join(name)).unwrap();
            io::Write::write_all(&mut file, content).unwrap();
        }
        dir
    }

    #[test]
    fn resource_files_are_read_in_the_order_of_their_names() {
        let dir = directory(&[
            ("b.json", b"B"),
            ("a.yml", b"A"),
            ("c.yaml", b"C"),
            ("notes.txt", b"x"),
            (".hidden.yaml", b"x"),
            ("yaml", b"x"),
            ("d.yaml~", b"x"),
        ]);
        let texts: Vec<_> = read(dir.path()).unwrap().into_iter().map(|file| file.text).collect();
        assert_eq!(texts, ["A", "B", "C"]);
    }

    #[test]
    fn a_file_behind_a_link_is_read_as_a_config_map_volume_needs() {
        let dir = directory(&[("..data", b"content")]);
        symlink("..data", dir.path().join("linked.yaml")).unwrap();
        let files = read(dir.path()).unwrap();
        assert_eq!(files.len(), 1);
        assert!(files[0].name.ends_with("/linked.yaml") && files[0].text == "content");
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_it() {
        let error = load(Path::new("/nonexistent/resources.d")).unwrap_err();
        assert_eq!(error.kind(), ProblemKind::Malformed);
        assert!(error.to_string().contains("/nonexistent/resources.d"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_as_text_is_an_error_that_names_the_file() {
        let binary = directory(&[("x.yaml", &[0xff, 0xfe])]);
        let dangling = directory(&[]);
        symlink("nowhere", dangling.path().join("x.yaml")).unwrap();
        let directories = directory(&[]);
        fs::create_dir(directories.path().join("x.yaml")).unwrap();
        for dir in [binary, dangling, directories] {
            let error = read(dir.path()).unwrap_err();
            assert!(matches!(error, ResourceDirError::Read { .. }), "{error}");
            assert!(error.to_string().contains("x.yaml: "), "{error}");
        }
    }

    #[test]
    fn an_empty_directory_holds_no_resources() {
        assert_eq!(load(directory(&[]).path()).unwrap(), Resources::default());
    }

    #[test]
    fn problems_are_shown_one_a_line_and_the_worst_decides() {
        let later: &[u8] = b"apiVersion: v1\nkind: Pod\n";
        let dir = directory(&[("a.yaml", later), ("b.yaml", later)]);
        let error = load(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ProblemKind::NotHonoured);
        assert_eq!(error.to_string().lines().count(), 2, "{error}");
        let dir = directory(&[("a.yaml", later), ("b.yaml", b"x: y\n")]);
        assert_eq!(load(dir.path()).unwrap_err().kind(), ProblemKind::Malformed);
    }
}

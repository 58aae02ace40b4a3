//! `--exclude`: the names and paths that are not sent.
//!
//! A pattern without a slash is matched against the name only, in any directory. A pattern with a slash is
//! matched against the whole path, both with and without the name of the sent directory in front.

use std::io::Read;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Most patterns of one run: far more than anybody writes, and few enough to compile in a moment.
const MAX_PATTERNS: usize = 10_000;

/// Longest pattern in bytes: PATH_MAX of Linux. Compiling needs more stack the deeper alternatives nest.
const MAX_PATTERN: usize = 4096;

/// Longest file of patterns, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why patterns cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PatternError {
    /// The pattern breaks the rules of globs.
    #[error("'{pattern}' is not a pattern: {reason}")]
    Syntax {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The pattern has no name in it.
    #[error("'{0}' names nothing: a pattern is a name or a path, such as '*.tmp' or 'photos/raw'")]
    Empty(String),
    /// The pattern leads upwards. Sent paths never do.
    #[error("'{0}' can match nothing: paths are written without ..")]
    Parent(String),
    /// `!` takes an exclusion back in gitignore files. It has no such meaning here.
    #[error(
        "'{0}' begins with !, which would keep what another pattern leaves out; that is not possible here (for a \
         name that begins with ! write [!]...)"
    )]
    Negated(String),
    /// The pattern is longer than any path.
    #[error("a pattern of more than {MAX_PATTERN} bytes")]
    TooLong,
    /// More patterns than this program compiles.
    #[error("more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// All patterns together need too much memory.
    #[error("the patterns are too large together: {0}")]
    TooLarge(String),
}

/// Why a file of patterns cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternFileError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The file is longer than any list of patterns.
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// Patterns must be text.
    #[error("line {0} is not UTF-8")]
    NotText(usize),
}

/// One pattern as given, and the rules that its compiled form does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    given: String,
    /// The pattern ended with a slash.
    directories_only: bool,
}

/// The patterns of `--exclude`, compiled.
#[derive(Clone, Default, Debug)]
pub(crate) struct Exclude {
    rules: Vec<Rule>,
    /// Their globs, in the same order.
    set: GlobSet,
}

impl Exclude {
    /// Compiles patterns.
    ///
    /// # Errors
    /// For the first pattern that is not valid.
    pub(crate) fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Exclude, PatternError> {
        let (mut rules, mut set) = (Vec::new(), GlobSetBuilder::new());
        for given in patterns {
            let given = given.as_ref();
            if rules.len() == MAX_PATTERNS {
                return Err(PatternError::TooMany);
            }
            let pattern = Pattern::parse(given)?;
            // A pattern without a slash is for names, in any directory.
            let start = if pattern.is_path { "" } else { "**/" };
            // As in a shell and in .gitignore: * and ? match within one name, ** matches across names.
            let glob = GlobBuilder::new(&format!("{start}{}", pattern.text))
                .literal_separator(true)
                // As its file systems take names.
                .case_insensitive(cfg!(windows))
                .build()
                .map_err(|e| PatternError::Syntax {
                    pattern: given.to_owned(),
                    reason: e.kind().to_string(),
                })?;
            set.add(glob);
            rules.push(Rule {
                given: given.to_owned(),
                directories_only: pattern.directories_only,
            });
        }
        let set = set.build();
        let set = set.map_err(|e| PatternError::TooLarge(e.kind().to_string()))?;
        Ok(Exclude { rules, set })
    }

    /// Whether no pattern was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// A pattern without the parts that only say how to use it.
struct Pattern<'a> {
    text: &'a str,
    is_path: bool,
    directories_only: bool,
}

impl Pattern<'_> {
    fn parse(given: &str) -> Result<Pattern<'_>, PatternError> {
        if given.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        if given.starts_with('!') {
            return Err(PatternError::Negated(given.into()));
        }
        let mut text = given;
        while let Some(rest) = text.strip_prefix("./") {
            text = rest.trim_start_matches('/');
        }
        let anchored = text.starts_with('/');
        let text = text.trim_start_matches('/');
        let name = text.trim_end_matches('/');
        if name.is_empty() || name == "." {
            return Err(PatternError::Empty(given.into()));
        }
        if name.split('/').any(|part| part == "..") {
            return Err(PatternError::Parent(given.into()));
        }
        Ok(Pattern {
            text: name,
            is_path: anchored || name.contains('/'),
            directories_only: name.len() < text.len(),
        })
    }
}

/// Matches the paths of one scan, and remembers which patterns matched.
pub(crate) struct Matcher<'a> {
    exclude: &'a Exclude,
    used: Vec<bool>,
    found: Vec<usize>,
}

impl<'a> Matcher<'a> {
    pub(crate) fn new(exclude: &'a Exclude) -> Self {
        Matcher {
            exclude,
            used: vec![false; exclude.rules.len()],
            found: Vec::new(),
        }
    }

    /// Whether `path` is left out. It begins with the name of the sent file or directory.
    pub(crate) fn leaves_out(&mut self, path: &Path, is_dir: bool) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        let mut below = path.components();
        below.next();
        let mut out = self.try_path(path, is_dir);
        if !below.as_path().as_os_str().is_empty() {
            out |= self.try_path(below.as_path(), is_dir);
        }
        out
    }

    fn try_path(&mut self, path: &Path, is_dir: bool) -> bool {
        self.exclude.set.matches_into(path, &mut self.found);
        let mut out = false;
        for &number in &self.found {
            if is_dir || !self.exclude.rules[number].directories_only {
                self.used[number] = true;
                out = true;
            }
        }
        out
    }

    /// The patterns that matched nothing, as given.
    pub(crate) fn unused(&self) -> Vec<String> {
        let rules = self.exclude.rules.iter().zip(&self.used);
        rules
            .filter(|(_, used)| !**used)
            .map(|(rule, _)| rule.given.clone())
            .collect()
    }
}

/// The patterns in a file, one per line and taken exactly. Empty lines and lines that begin with `#` are
/// skipped.
///
/// # Errors
/// If the file cannot be read, is longer than 1 MiB or is not UTF-8.
pub(crate) fn patterns_of_file(path: &Path) -> Result<Vec<String>, PatternFileError> {
    let file = std::fs::OpenOptions::new().read(true).open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(PatternFileError::TooLong);
    }
    // Some editors put a byte order mark before the first line.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut patterns = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = str::from_utf8(line).map_err(|_| PatternFileError::NotText(number + 1))?;
        if !line.is_empty() && !line.starts_with('#') {
            patterns.push(line.to_owned());
        }
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests;

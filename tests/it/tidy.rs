//! Rules of the source that no compiler checks.

use crate::server::workspace;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 1_000;
const FUNCTION_LINES_MAX: usize = 70;
/// What is built, fetched or not ours.
const SKIPPED_FOLDERS: [&str; 6] = ["target", "node_modules", "__pycache__", "dist", "build", "corpus"];
const SOURCES: [&str; 11] = ["rs", "py", "js", "mjs", "ts", "java", "md", "toml", "sh", "xml", "html"];

/// Words that promise work for later, or hide a test. In pieces, so that this list does not find itself.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("unimple", "mented!"),
    concat!("to", "do!("),
    concat!("#[ig", "nore"),
    concat!("pytest.mark.", "skip"),
];
/// Folders of somebody's machine.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wor", "k/"),
    concat!("/tmp/bash", "_jobs"),
    concat!("/ro", "ot/"),
    concat!("/home", "/"),
];

#[test]
fn files_are_short() {
    for (path, text) in sources()
        .iter()
        .filter(|(path, _)| has_extension(path, &["rs", "py", "js", "ts", "java"]))
    {
        let lines = text.lines().count();
        assert!(lines < FILE_LINES_MAX, "{} has {lines} lines: split it", path.display());
    }
}

#[test]
fn functions_are_short() {
    let (mut count, mut long) = (0, Vec::new());
    // What a test writes from a specification is as long as the specification.
    let by_hand = |text: &str| !text.contains("\n// Written by ");
    for (path, text) in sources()
        .iter()
        .filter(|(path, text)| has_extension(path, &["rs"]) && by_hand(text))
    {
        for (line, name, length) in functions(text) {
            count += 1;
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{line}: '{name}' has {length} lines", path.display()));
            }
        }
    }
    assert!(
        long.is_empty(),
        "split what is longer than {FUNCTION_LINES_MAX} lines: {long:#?}"
    );
    assert!(count > 100, "only {count} functions were found");
}

#[test]
fn nothing_is_left_for_later() {
    assert_absent(&UNFINISHED);
}

#[test]
fn no_machine_is_named() {
    assert_absent(&MACHINE_PATHS);
}

/// Every guarantee of the public text is cited where it is kept and where it is tested.
#[test]
fn guarantees_are_cited_in_code_and_tests() {
    let Ok(text) = fs::read_to_string(workspace().join("docs/guarantees.md")) else {
        // Without the text nothing is promised; then the citations have nothing to be compared with.
        return;
    };
    let promised = guarantees(&text);
    assert!(!promised.is_empty(), "docs/guarantees.md names no guarantee");
    let (tests, code): (Vec<_>, Vec<_>) = sources()
        .into_iter()
        .filter(|(path, _)| has_extension(path, &["rs", "py"]))
        .partition(|(path, _)| is_test(path));
    let cited = |files: &[(PathBuf, String)]| files.iter().flat_map(|(_, text)| guarantees(text)).collect();
    let (in_code, in_tests): (BTreeSet<u32>, BTreeSet<u32>) = (cited(&code), cited(&tests));
    let missing = |cited: &BTreeSet<u32>| promised.difference(cited).map(|n| format!("G{n}")).collect::<Vec<_>>();
    assert_eq!(
        (missing(&in_code), missing(&in_tests)),
        (vec![], vec![]),
        "cited nowhere (in code, in tests)"
    );
}

#[test]
fn the_rules_find_what_they_look_for() {
    let text =
        "fn short() {\n}\n\nimpl X {\n    pub(crate) async fn long(\n        a: u8,\n    ) {\n        a();\n    }\n}\n";
    assert_eq!(functions(text), [(1, "short".to_owned(), 2), (5, "long".to_owned(), 5)]);
    assert_eq!(guarantees("(G1, G17) EG3 G2x G4"), BTreeSet::from([1, 4, 17]));
    assert!(is_test(Path::new("core/src/queue/tests.rs")) && !is_test(Path::new("core/src/queue.rs")));
}

/// Every source of the project with its path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let skipped = name.starts_with('.') || name.starts_with("target-") || SKIPPED_FOLDERS.contains(&&*name);
            if skipped {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if has_extension(&path, &SOURCES) {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let path = path
                    .strip_prefix(workspace())
                    .expect("a path below the root")
                    .to_path_buf();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20, "only {} sources were found", found.len());
    found
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| extensions.contains(&e))
}

fn is_test(path: &Path) -> bool {
    let first = path.components().next().and_then(|c| c.as_os_str().to_str());
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let in_tests = path
        .components()
        .any(|c| ["tests", "test"].iter().any(|t| c.as_os_str() == *t));
    in_tests || first == Some("sim") || stem.contains("test")
}

fn assert_absent(words: &[&str]) {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                found.push(format!("{}:{}: '{word}': {line}", path.display(), index + 1));
            }
        }
    }
    assert!(found.is_empty(), "this does not belong in the source: {found:#?}");
}

/// Line, name and length in lines of every function with a body. Relies on rustfmt: a body ends at the first closing brace
/// with the indentation of the line where the function began.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = lines[index..].iter().enumerate();
        let mut ends = rest.filter(|(_, line)| {
            line.strip_prefix(indent)
                .is_some_and(|l| l == "}" || !l.starts_with([' ', ')']) && l.ends_with([';', '}']))
        });
        if let Some((length, end)) = ends.next()
            && !end.ends_with(';')
        {
            found.push((index + 1, name.to_owned(), length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    loop {
        let (word, rest) = words.split_once(' ')?;
        match word {
            "fn" => return rest.split(['(', '<']).next(),
            "pub" | "pub(crate)" | "pub(super)" | "async" | "const" | "unsafe" | "extern" => words = rest,
            _ => return None,
        }
    }
}

/// The numbers of the guarantees cited in a text, as whole words.
fn guarantees(text: &str) -> BTreeSet<u32> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter_map(|word| word.strip_prefix('G')?.parse().ok()).collect()
}

//! What the files of a crate import from their own crate: `use` and paths in code, without tests
//! and comments.

use std::{collections::BTreeSet, fs, mem, path::Path};

/// An import of one top-level module from another.
#[derive(Debug)]
pub(crate) struct Import {
    /// From the folder above that of the sources.
    pub(crate) file: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// From the root of the crate.
    pub(crate) path: Vec<String>,
}

/// The top-level modules of a crate, given the folder of its `lib.rs`.
pub(crate) fn modules(source: &Path) -> BTreeSet<String> {
    let root = File::read(&source.join("lib.rs"), Vec::new());
    root.children.into_iter().map(|mut path| path.remove(0)).collect()
}

/// All imports between different top-level modules of a crate, given the folder of its `lib.rs`.
pub(crate) fn read(source: &Path) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut modules = File::read(&source.join("lib.rs"), Vec::new()).children;
    while let Some(module) = modules.pop() {
        let base = source.join(module.join("/"));
        let path = [base.with_extension("rs"), base.join("mod.rs")].into_iter().find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("there is no file of the module {module:?}"));
        let name = path.strip_prefix(source.parent().unwrap()).unwrap().to_str().unwrap().to_owned();
        let file = File::read(&path, module.clone());
        modules.extend(file.children);
        for path in file.paths {
            let to = path[0].clone();
            if to != module[0] {
                imports.push(Import { file: name.clone(), from: module[0].clone(), to, path });
            }
        }
    }
    imports
}

/// What one file contains.
#[derive(Debug, Default)]
struct File {
    /// The paths of modules that are in files of their own.
    children: Vec<Vec<String>>,
    /// The paths that begin with `crate`, `super` or `self`, from the root of the crate.
    paths: Vec<Vec<String>>,
}

impl File {
    fn read(path: &Path, module: Vec<String>) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text, module)
    }

    fn parse(text: &str, module: Vec<String>) -> Self {
        let tokens = tokens(text);
        let token = |at: usize| tokens.get(at).map_or("", String::as_str);
        let mut file = Self::default();
        // The module of each open brace.
        let mut scopes = vec![module];
        let mut at = 0;
        while at < tokens.len() {
            let scope = scopes.last().expect("the braces match").clone();
            match (token(at), token(at + 1), token(at + 2)) {
                ("#", "!", "[") => at = after_group(&tokens, at + 2),
                ("#", "[", "cfg") if is_test(&tokens[at + 3..]) => at = after_item(&tokens, at),
                ("#", "[", _) => at = after_group(&tokens, at + 1),
                ("mod", name, ";") => {
                    file.children.push([&scope[..], &[name.to_owned()]].concat());
                    at += 3;
                }
                ("mod", name, "{") => {
                    scopes.push([&scope[..], &[name.to_owned()]].concat());
                    at += 3;
                }
                ("{", ..) => {
                    scopes.push(scope);
                    at += 1;
                }
                ("}", ..) => {
                    scopes.pop();
                    at += 1;
                }
                // An exported macro names what its users can name.
                ("$", "crate", _) => at += 2,
                // A visibility is no import.
                ("pub", "(", "in") => at = after_group(&tokens, at + 1),
                ("use", next, _) if next != "<" => {
                    let mut paths = Vec::new();
                    at += 1;
                    use_tree(&tokens, &mut at, &mut Vec::new(), &mut paths);
                    file.paths.extend(paths.into_iter().filter_map(|path| from_root(path, &scope)));
                }
                ("crate" | "super" | "self", "::", _) => {
                    let mut path = vec![token(at).to_owned()];
                    while token(at + 1) == "::" && is_name(token(at + 2)) {
                        path.push(token(at + 2).to_owned());
                        at += 2;
                    }
                    at += 1;
                    file.paths.extend(from_root(path, &scope));
                }
                _ => at += 1,
            }
        }
        file
    }
}

/// A path as it is written in a module, from the root of the crate; `None` if it does not say that
/// it is in this crate.
fn from_root(mut path: Vec<String>, module: &[String]) -> Option<Vec<String>> {
    let mut from = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    while let Some("crate" | "self" | "super") = path.first().map(String::as_str) {
        if path.remove(0) == "super" {
            from.pop();
        }
    }
    path.retain(|name| name != "self");
    from.extend(path);
    (!from.is_empty()).then_some(from)
}

/// Reads a tree of `use` from after its keyword, and its paths.
fn use_tree(tokens: &[String], at: &mut usize, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let length = path.len();
    let mut is_group = false;
    while *at < tokens.len() {
        match tokens[*at].as_str() {
            "{" => {
                is_group = true;
                while tokens[*at] != "}" {
                    *at += 1;
                    use_tree(tokens, at, path, paths);
                }
            }
            "as" => *at += 1,
            "::" => {}
            ";" | "," | "}" => break,
            name => path.push(name.to_owned()),
        }
        *at += 1;
    }
    if !is_group && path.len() > length {
        paths.push(path.clone());
    }
    path.truncate(length);
}

/// Whether this, after `cfg`, is only for tests.
fn is_test(tokens: &[String]) -> bool {
    let is = |words: &[&str]| tokens.iter().map(String::as_str).take(words.len()).eq(words.iter().copied());
    is(&["(", "test", ")"]) || is(&["(", "all", "(", "test"])
}

/// After the bracket that closes the one here.
fn after_group(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// After the item whose attributes begin here.
fn after_item(tokens: &[String], mut at: usize) -> usize {
    let mut is_use = false;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "use" => {
                is_use = true;
                at += 1;
            }
            ";" | "," => return at + 1,
            // The end of what the item is in.
            "}" => return at,
            "{" if !is_use => return after_group(tokens, at),
            "(" | "[" | "{" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single signs; without comments, texts and numbers in texts.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = first.len_utf8();
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else if let Some(after) = after_literal(rest) {
            rest = after;
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            rest = &rest[2..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// After the comment in `/*` and `*/`, which can contain others.
fn after_comment(text: &str) -> &str {
    let mut depth = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let sign = mem::take(&mut rest);
        rest = if let Some(after) = sign.strip_prefix("/*") {
            depth += 1;
            after
        } else if let Some(after) = sign.strip_prefix("*/") {
            depth -= 1;
            after
        } else {
            &sign[sign.chars().next().map_or(0, char::len_utf8)..]
        };
        if depth == 0 {
            break;
        }
    }
    rest
}

/// After a text or a character; `None` if there is none.
fn after_literal(text: &str) -> Option<&str> {
    // A raw text.
    if let Some(raw) = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix)) {
        let after = raw.trim_start_matches('#');
        if let Some(after) = after.strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(raw.len() - after.len() - 1));
            return Some(after.split_once(&end).map_or("", |(_, after)| after));
        }
    }
    let quote = text.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let mut signs = text[1..].char_indices();
    // A lifetime has no second quote.
    if quote == '\'' && !text[1..].starts_with('\\') && text[1..].chars().nth(1) != Some('\'') {
        return None;
    }
    while let Some((at, sign)) = signs.next() {
        if sign == '\\' {
            signs.next();
        } else if sign == quote {
            return Some(&text[at + 2..]);
        }
    }
    Some("")
}

#[test]
fn paths_are_found_in_use_and_in_code() {
    let file = File::parse(
        r##"
        // use crate::comment;
        /* use crate::comment; /* again */ use crate::comment; */
        use std::io;
        use crate::{bind::{self, ListenAddr as Address}, sys, Phase};
        pub(in crate::visibility) use super::error::*;
        mod child;
        mod words { pub(super) use super::super::control::message; }
        macro_rules! exported { () => { $crate::Connection } }
        const TEXT: &str = r#"crate::text"#;
        fn f<'a>(c: char) -> &'a str { if c == '"' || c == '\'' { "crate::text\"" } else { crate::log::quietly(self.x) } }
        "##,
        vec!["tls".to_owned(), "watch".to_owned()],
    );
    let paths: Vec<_> = file.paths.iter().map(|path| path.join("::")).collect();
    let expected = [
        "bind",
        "bind::ListenAddr",
        "sys",
        "Phase",
        "tls::error::*",
        "tls::control::message",
        "log::quietly",
    ];
    assert_eq!(paths, expected);
    assert_eq!(file.children, [["tls", "watch", "child"]]);
}

#[test]
fn what_is_for_tests_is_no_import() {
    let file = File::parse(
        "#[cfg(test)] use crate::a::{b, c};
        #[cfg(test)] #[allow(unused)] mod tests;
        #[cfg(all(test, unix))] mod more { use crate::d; fn f() {} }
        #[cfg(test)] pub(super) fn g<T: From<[u8; 4]>>() -> crate::e::E { crate::e::f() }
        struct S { #[cfg(test)] field: crate::g::G, #[cfg(not(test))] other: crate::h::H }
        #[cfg(feature = \"tls\")] mod tls;",
        vec!["tls".to_owned()],
    );
    assert_eq!(file.paths, [["h", "H"]]);
    assert_eq!(file.children, [["tls", "tls"]]);
}

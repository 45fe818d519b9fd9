//! No circle of files inside a crate: what a file builds on does not build on it.
//!
//! A file builds on those that define what it names, wherever that is re-exported; a module that holds others builds on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

use crate::fixtures::repository;

/// A module by its path within its crate; the root is empty.
type Module = Vec<String>;

/// What a file names.
#[derive(Default)]
struct Named {
    /// What it imports, and under which name.
    imports: Vec<(Vec<String>, String)>,
    /// Other paths of more than one name.
    paths: Vec<Vec<String>>,
}

impl Named {
    fn import(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(before, tree)),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.imports.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
            }
            syn::UseTree::Name(name) => self.imports.push((with(&name.ident), name.ident.to_string())),
            syn::UseTree::Rename(rename) => self.imports.push((with(&rename.ident), rename.rename.to_string())),
            syn::UseTree::Glob(_) => self.paths.push(before.to_vec()),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let is_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
    };
    attributes.iter().any(is_test)
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.import(&[], &item.tree);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

/// The files of a crate, by their modules.
fn files(source: &Path) -> BTreeMap<Module, Named> {
    fn walk(folder: &Path, module: &[String], found: &mut BTreeMap<Module, Named>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let inner: Module = module.iter().cloned().chain([stem.clone()]).collect();
            if stem == "tests" {
                continue;
            }
            if path.is_dir() {
                walk(&path, &inner, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut named = Named::default();
                named.visit_file(&syn::parse_file(&text).unwrap());
                let is_outer = stem == "mod" || stem == "lib";
                found.insert(if is_outer { module.to_vec() } else { inner }, named);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(source, &[], &mut found);
    found
}

/// The module in which what a path in `module` names is defined; `None` where that is not of this crate.
fn defined_in(files: &BTreeMap<Module, Named>, module: &[String], path: &[String], depth: usize) -> Option<Module> {
    let mut rest = path;
    let mut at = module.to_vec();
    let child = |at: &[String], name: &String| at.iter().cloned().chain([name.clone()]).collect::<Module>();
    match rest.first()?.as_str() {
        "crate" => (at, rest) = (Module::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                (at, rest) = (at[..at.len().checked_sub(1)?].to_vec(), &rest[1..]);
            }
        }
        _ if files.contains_key(&child(&at, &rest[0])) => {}
        name => {
            // A module, or something with a name inside, that was imported.
            let (import, _) = files[module].imports.iter().find(|(_, known)| known == name)?;
            let is_itself = import.first().is_some_and(|first| first == name);
            return (depth < 8 && !is_itself).then(|| defined_in(files, module, import, depth + 1)).flatten();
        }
    }
    while let Some(name) = rest.first()
        && files.contains_key(&child(&at, name))
    {
        (at, rest) = (child(&at, name), &rest[1..]);
    }
    if let Some(name) = rest.first()
        && depth < 8
        && let Some((import, _)) = files[&at].imports.iter().find(|(_, known)| known == name)
        && let Some(found) = defined_in(files, &at, import, depth + 1)
    {
        return Some(found);
    }
    Some(at)
}

/// On which others each module builds.
fn below(files: &BTreeMap<Module, Named>) -> BTreeMap<Module, BTreeSet<Module>> {
    let of = |(module, named): (&Module, &Named)| {
        let paths = named.imports.iter().map(|(path, _)| path).chain(&named.paths);
        let found = paths.filter_map(|path| defined_in(files, module, path, 0));
        (module.clone(), found.filter(|found| found != module).collect())
    };
    files.iter().map(of).collect()
}

/// The circles among modules that build on others.
fn circles(below: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached = |from: &Module| {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&Module> = below[from].iter().collect();
        while let Some(next) = waiting.pop() {
            if found.insert(next.clone()) {
                waiting.extend(&below[next]);
            }
        }
        found
    };
    let all: BTreeMap<&Module, BTreeSet<Module>> = below.keys().map(|module| (module, reached(module))).collect();
    let circle = |module: &Module| {
        let others = all[module].iter().filter(|other| all[other].contains(module)).cloned();
        others.collect::<BTreeSet<Module>>()
    };
    below.keys().map(circle).filter(|circle| !circle.is_empty()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn no_file_builds_on_one_that_builds_on_it() {
    let mut faults = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let files = files(&folder.join("src"));
        count += files.len();
        for circle in circles(&below(&files)) {
            let names: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            faults.push(format!("{}: {}", folder.file_name().unwrap().display(), names.join(", ")));
        }
    }
    assert!(count > 250, "{count}");
    assert!(faults.is_empty(), "files that build on each other:\n{}", faults.join("\n"));
}

#[test]
fn a_circle_is_found_also_through_a_reexport_and_a_module_that_was_imported() {
    let file = |text: &str| {
        let mut named = Named::default();
        named.visit_file(&syn::parse_str(text).unwrap());
        named
    };
    let module = |name: &str| vec![name.to_owned()];
    let files = BTreeMap::from([
        (Module::new(), file("mod one; mod two; mod three; pub use one::One;")),
        (module("one"), file("use super::two; pub struct One; fn of() { two::Two::new() }")),
        (module("two"), file("use crate::One; pub struct Two;")),
        (module("three"), file("use super::two::Two; #[cfg(test)] mod tests { use crate::four; }")),
    ]);
    assert_eq!(circles(&below(&files)), [BTreeSet::from([module("one"), module("two")])]);
}

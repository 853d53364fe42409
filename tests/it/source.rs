//! `src` as its readers meet it: files, what they are long, what they define and what they name. All of it counts but
//! what is under `#[cfg(test)]`; names are followed through `use`, renames and re-exports to what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use support::tools::project;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, ItemEnum, ItemFn, ItemMod, ItemStruct, ItemTrait, UseTree};

/// One file.
#[derive(Default)]
pub(crate) struct Module {
    /// Its path within `src`.
    pub(crate) file: String,
    pub(crate) lines: usize,
    pub(crate) types: Vec<String>,
    children: Vec<String>,
    /// Every path, as it is written.
    named: Vec<String>,
    /// What `use` brings in: a name, and all of its path.
    used: BTreeMap<String, String>,
}

impl Module {
    pub(crate) fn of(file: String, text: &str) -> Self {
        let mut module = Self { file, lines: text.lines().count(), ..Self::default() };
        module.visit_file(&syn::parse_file(text).unwrap());
        module
    }

    fn skip(&mut self, test: &impl Spanned) {
        self.lines -= test.span().end().line - test.span().start().line + 1;
    }

    fn bring_in(&mut self, above: &str, tree: &UseTree) {
        let (name, last) = match tree {
            UseTree::Path(part) => return self.bring_in(&below(above, &part.ident.to_string()), &part.tree),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.bring_in(above, tree)),
            UseTree::Glob(_) => return self.named.push(below(above, "*")),
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(name) => (&name.rename, &name.ident),
        };
        let path = if last == "self" { above.to_owned() } else { below(above, &last.to_string()) };
        let own = path.rsplit("::").next().filter(|_| name == "self");
        self.used.insert(own.map_or_else(|| name.to_string(), str::to_owned), path.clone());
        self.named.push(path);
    }

    /// What looks like a path in what a macro is given.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = String::new();
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => path.push(':'),
                TokenTree::Ident(ident) if path.ends_with("::") => path += &ident.to_string(),
                TokenTree::Ident(ident) => self.named.push(std::mem::replace(&mut path, ident.to_string())),
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => self.named.push(std::mem::take(&mut path)),
            }
        }
        self.named.push(path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let test = |cfg: &Attribute| cfg.parse_args::<syn::Path>().is_ok_and(|cfg| cfg.is_ident("test"));
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && test(attribute))
}

impl Visit<'_> for Module {
    fn visit_item(&mut self, item: &Item) {
        match item {
            Item::Mod(ItemMod { attrs, .. }) | Item::Fn(ItemFn { attrs, .. }) if is_test(attrs) => {
                return self.skip(item);
            }
            Item::Mod(module) if module.content.is_none() => self.children.push(module.ident.to_string()),
            Item::Mod(module) => panic!("{}: {} is a module and no file", self.file, module.ident),
            Item::Struct(ItemStruct { ident, .. })
            | Item::Enum(ItemEnum { ident, .. })
            | Item::Trait(ItemTrait { ident, .. }) => self.types.push(ident.to_string()),
            Item::Use(item) => return self.bring_in("", &item.tree),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        if is_test(&function.attrs) { self.skip(function) } else { visit::visit_impl_item_fn(self, function) }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.named.push(names.join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &syn::Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }
}

/// Each file by the path of its module.
pub(crate) struct Source(pub(crate) BTreeMap<String, Module>);

impl Source {
    pub(crate) fn read() -> Self {
        let mut source = Self(BTreeMap::new());
        source.add("crate", &project().join("src/lib.rs"));
        source.add("main", &project().join("src/main.rs"));
        source
    }

    fn add(&mut self, name: &str, file: &Path) {
        let shown = file.strip_prefix(project().join("src")).unwrap().display().to_string();
        let module = Module::of(shown, &std::fs::read_to_string(file).unwrap());
        let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|root| file.ends_with(root));
        let folder = if is_root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        for child in &module.children {
            let (file, own) = (folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs"));
            self.add(&below(name, child), if file.exists() { &file } else { &own });
        }
        self.0.insert(name.to_owned(), module);
    }

    /// What a path in the module `at` means.
    fn resolve(&self, at: &str, path: &str) -> String {
        let first = path.split("::").next().unwrap_or_default();
        match path.strip_prefix("crate::") {
            Some(path) => self.within("crate", path),
            None if matches!(first, "self" | "super") || self.0[at].used.contains_key(first) => {
                self.within(at, path)
            }
            None if self.0.contains_key(&below(at, first)) => self.within(at, path),
            None => path.to_owned(),
        }
    }

    /// The same for a path that begins in the module.
    fn within(&self, at: &str, path: &str) -> String {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        match (first, self.0[at].used.get(first)) {
            ("", _) => at.to_owned(),
            ("self", _) => self.within(at, rest),
            ("super", _) => self.within(at.rsplit_once("::").map_or(at, |(parent, _)| parent), rest),
            _ if self.0.contains_key(&below(at, first)) => self.within(&below(at, first), rest),
            (_, Some(used)) if used != first => self.resolve(at, &below(used, rest)),
            (_, Some(_)) => path.to_owned(),
            (_, None) => below(at, path),
        }
    }

    /// What a module names, as it is written and as what it means.
    pub(crate) fn named(&self, module: &str) -> BTreeSet<String> {
        let named = self.0[module].named.iter();
        named.flat_map(|path| [path.clone(), self.resolve(module, path)]).collect()
    }

    /// The modules that a module imports, and those that they import. A folder's `mod.rs` and the folder are one.
    pub(crate) fn reached(&self, module: &str) -> BTreeSet<&str> {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![module]);
        while let Some(module) = todo.pop() {
            for path in self.named(module) {
                let Some(owner) = self.0.keys().rev().find(|known| is_beneath(&path, known)) else {
                    continue;
                };
                if !is_beneath(module, owner) && !is_beneath(owner, module) && reached.insert(owner.as_str())
                {
                    todo.push(owner);
                }
            }
        }
        reached
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() || name.is_empty() { format!("{path}{name}") } else { format!("{path}::{name}") }
}

pub(crate) fn is_beneath(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

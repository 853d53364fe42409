//! The programs beside the operator (etcd, the API server, Helm...), as `tests/tools/install` finds or builds them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::Result;

/// The top folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders above this package")
}

/// Where a program is. The first call builds what is missing, with its progress on stderr.
///
/// # Errors
/// The sentence `tests/tools/install` ended with, or that it gave no such program.
pub fn tool(name: &str) -> Result<PathBuf> {
    static FOLDERS: OnceLock<std::result::Result<Vec<PathBuf>, String>> = OnceLock::new();
    let folders = FOLDERS.get_or_init(install).as_ref().map_err(Clone::clone)?;
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("tests/tools/install gave no {name} in {folders:?}").into())
}

fn install() -> std::result::Result<Vec<PathBuf>, String> {
    let script = project().join("tests/tools/install");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{} does not start: {error}", script.display()))?;
    if !output.status.success() {
        return Err(format!("{} failed ({}); its last lines say why", script.display(), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    Ok(last.split(':').map(PathBuf::from).collect())
}

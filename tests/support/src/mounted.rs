//! A folder as the kubelet mounts a Secret: each key is a link into a generation, and a rename replaces the whole
//! generation at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A mounted Secret, unmounted when this is dropped.
#[derive(Debug)]
pub struct Mounted {
    folder: PathBuf,
    generation: u32,
}

impl Mounted {
    /// An empty folder.
    pub fn empty() -> Self {
        static MOUNTED: AtomicUsize = AtomicUsize::new(0);
        let number = MOUNTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("vaultsync-mounted-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self { folder, generation: 0 }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Has it hold this file and no other.
    pub fn put(&mut self, name: &str, content: impl AsRef<[u8]>) {
        self.generation += 1;
        let generation = format!("..{}", self.generation);
        fs::create_dir(self.folder.join(&generation)).expect("a generation");
        fs::write(self.folder.join(&generation).join(name), content).expect("a file");
        let fresh = self.folder.join("..data_tmp");
        symlink(&generation, &fresh).expect("a link");
        fs::rename(fresh, self.folder.join("..data")).expect("a new generation");
        let link = self.folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), link).expect("a link");
        }
        fs::remove_dir_all(self.folder.join(format!("..{}", self.generation - 1))).ok();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

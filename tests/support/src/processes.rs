//! The processes of one control plane, which never outlive the program that started them.
//!
//! They share a process group. A watchdog outside of it reads a pipe that only this program holds: when the pipe
//! closes, by a drop, a panic, a signal or SIGKILL, it kills the group and removes the state folder.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Result;

const WATCHDOG: &str = r#"
trap '' HUP INT TERM
group=
while read -r line; do group=$line; done
if [ -n "$group" ]; then kill -s KILL -- "-$group" 2>/dev/null; fi
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// A process group with a state folder and a watchdog.
pub struct Processes {
    folder: PathBuf,
    watchdog: Mutex<Child>,
    /// The group, once there is a process in it.
    group: Mutex<Option<i32>>,
    started: Mutex<Vec<(String, Child)>>,
}

impl Processes {
    /// A new, empty group with a fresh folder.
    ///
    /// # Errors
    /// The temporary folder cannot be written or `sh` does not start.
    pub(crate) fn new() -> Result<Self> {
        let folder = fresh_folder()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            folder,
            watchdog: Mutex::new(watchdog),
            group: Mutex::default(),
            started: Mutex::default(),
        })
    }

    /// Where the group keeps its state; removed with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file into the state folder and returns its path.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Starts a program in the group; what it prints goes to `<name>.log` in the folder.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Result<()> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = self.spawn(command).map_err(|error| format!("{name} does not start: {error}"))?;
        self.started().push((name.to_owned(), child));
        Ok(())
    }

    /// Kills a program of the group.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let mut started = self.started();
        let place = started.iter().position(|(other, _)| other == name);
        let (_, mut child) = started.remove(place.ok_or_else(|| format!("there is no {name}"))?);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends all that it started, before the program ends.
    pub fn end(&self) {
        for (_, mut child) in self.started().drain(..) {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Starts a program in the group and leaves it to the caller, who may kill it earlier. A group of which all have ended is
    /// followed by another.
    ///
    /// # Errors
    /// The program does not start.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = *group {
            match command.process_group(group).spawn() {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                started => return Ok(started?),
            }
        }
        let child = command.process_group(0).spawn()?;
        *group = Some(child.id().try_into()?);
        let mut watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = watchdog.stdin.as_mut().ok_or("the watchdog has no pipe")?;
        writeln!(pipe, "{}", child.id())?;
        Ok(child)
    }

    /// The first program that ended though it should run, with how it ended and the last lines it printed.
    pub(crate) fn ended(&self) -> Option<String> {
        let mut started = self.started();
        let ended =
            started.iter_mut().find_map(|(name, child)| Some((name.clone(), child.try_wait().ok()??)));
        ended.map(|(name, status)| self.obituary(&name, status))
    }

    /// The last lines a program printed.
    pub(crate) fn last_lines(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn obituary(&self, name: &str, status: ExitStatus) -> String {
        format!("{name} ended ({status}); its last lines:\n{}", self.last_lines(name))
    }

    fn started(&self) -> std::sync::MutexGuard<'_, Vec<(String, Child)>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let watchdog = self.watchdog.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(watchdog.stdin.take());
        // Its end is the group's end; there is nothing to do about a watchdog that somebody else killed.
        watchdog.wait().ok();
        self.end();
    }
}

fn fresh_folder() -> Result<PathBuf> {
    for number in 0..1000_u32 {
        let path = std::env::temp_dir().join(format!("vaultsync-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot create {}: {error}", path.display()).into()),
        }
    }
    Err("no free name for a temporary folder".into())
}

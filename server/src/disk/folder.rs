//! The data folder: its lock, its files' names, what it holds at the start.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use waystation_core::disk::{FileId, Listing};

const LOCK: &str = "LOCK";
/// Ends the name of a file that is being prepared: half of it must never be taken for a segment.
const PREPARING: &str = ".preparing";

/// A data folder that this process holds the lock of.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holding it open holds the lock.
    _lock: File,
}

/// A folder and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The folder, locked.
    pub folder: Folder,
    /// For the core.
    pub listing: Listing,
    /// Files that are not the broker's: left alone, and worth a warning.
    pub unknown: Vec<PathBuf>,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process holds it.
    #[error(
        "data folder {} is in use by process {pid}. Stop that process, or choose another folder with --data-dir",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What the holder wrote into the lock file.
        pid: String,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}. Check that the folder exists and is writable, or choose another with --data-dir", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
}

impl Folder {
    /// Creates the folder if need be, locks it, removes leftovers of preparations and lists the rest.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Opened, FolderError> {
        let fail = |doing| {
            move |source| FolderError::Io {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        std::fs::create_dir_all(path).map_err(fail("create the data folder"))?;
        let folder = Self {
            path: path.to_owned(),
            _lock: lock(path)?,
        };
        let (listing, unknown) = folder.list().map_err(fail("list the data folder"))?;
        Ok(Opened {
            folder,
            listing,
            unknown,
        })
    }

    /// Where `file` is.
    #[must_use]
    pub fn path_of(&self, file: FileId) -> PathBuf {
        self.path.join(file.to_string())
    }

    /// Where `file` is while it is being prepared.
    pub(super) fn preparing_path_of(&self, file: FileId) -> PathBuf {
        self.path.join(format!("{file}{PREPARING}"))
    }

    /// Makes created, renamed and removed names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn list(&self) -> io::Result<(Listing, Vec<PathBuf>)> {
        let mut listing = Listing::default();
        let mut unknown = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let prepared = name.strip_suffix(PREPARING).and_then(file_id);
            if prepared.is_some() {
                std::fs::remove_file(entry.path())?;
                continue;
            }
            match file_id(&name) {
                Some(FileId::Superblock) => listing.superblock = Some(entry.metadata()?.len()),
                Some(FileId::Segment(number)) => listing.segments.push((number, entry.metadata()?.len())),
                None if name == LOCK => {}
                None => unknown.push(entry.path()),
            }
        }
        listing.segments.sort_unstable();
        Ok((listing, unknown))
    }
}

/// The file that a name stands for: the inverse of [`FileId`]'s `Display`.
fn file_id(name: &str) -> Option<FileId> {
    if name == FileId::Superblock.to_string() {
        return Some(FileId::Superblock);
    }
    let number = u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?;
    let file = FileId::Segment(number);
    (file.to_string() == name).then_some(file)
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let fail = |doing| {
        let path = path.clone();
        move |source| FolderError::Io { doing, path, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(fail("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The number only helps to find the holder; that there is one is known without it.
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            return Err(FolderError::InUse {
                path: folder.to_owned(),
                pid: if known {
                    pid.trim().to_owned()
                } else {
                    "(unknown)".to_owned()
                },
            });
        }
        Err(TryLockError::Error(source)) => return Err(fail("lock")(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(fail("write the lock file"))?;
    Ok(file)
}

//! Open files, shared by the threads.

use super::Folder;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use waystation_core::disk::FileId;

/// Handles kept open; the oldest segment's goes first. Far below the usual limit of 1,024 descriptors, which sockets need.
const OPEN_MAX: usize = 128;

/// Opens each file once, for reading and writing at offsets.
pub(super) struct Files {
    pub(super) folder: Folder,
    open: Mutex<BTreeMap<FileId, Arc<File>>>,
}

impl Files {
    pub(super) const fn new(folder: Folder) -> Self {
        Self {
            folder,
            open: Mutex::new(BTreeMap::new()),
        }
    }

    /// The handle of an existing file.
    pub(super) fn get(&self, file: FileId) -> io::Result<Arc<File>> {
        if let Some(handle) = self.open().get(&file) {
            return Ok(Arc::clone(handle));
        }
        let handle = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.folder.path_of(file))?;
        let handle = Arc::new(handle);
        let mut open = self.open();
        while open.len() >= OPEN_MAX {
            // The superblock sorts first and is small: the next one is the oldest segment.
            let Some(oldest) = open.keys().find(|id| matches!(id, FileId::Segment(_))).copied() else {
                break;
            };
            open.remove(&oldest);
        }
        open.insert(file, Arc::clone(&handle));
        Ok(handle)
    }

    /// Forgets a handle: the name is gone, or means another file from now on.
    pub(super) fn forget(&self, file: FileId) {
        self.open().remove(&file);
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<FileId, Arc<File>>> {
        // The map is whole after any panic: each change to it is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

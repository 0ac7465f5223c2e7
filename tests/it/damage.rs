//! Bytes on disk that are not what was written (G17): the server halts and names file and place, or it serves everything
//! that was confirmed, byte for byte. It never takes damage for the end of the log, never panics, never hangs.

use crate::amqp::{BASIC_ACK, BASIC_CONSUME_OK, Connection, Event};
use crate::crash::{number_from, queue_name, some_seed};
use crate::ledger::{Key, Ledger, Order};
use crate::server::{Ended, Server, Started};
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const QUEUES: u16 = 3;
const MESSAGES: u32 = 1_500;
/// Damage tried on the folder of one stopped server.
const TRIALS: u64 = 30;
/// Granularity in which used bytes are looked for and files are copied.
const BLOCK: usize = 64 << 10;

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit is another.
    Flip,
    /// The file ends here.
    Cut,
    /// Two stretches changed places, as misdirected writes leave them.
    Swap,
    /// A sector reads as zeros, as a lost write leaves it.
    Zero,
    /// Random bytes.
    Garble,
}

const DAMAGES: [Damage; 5] = [Damage::Flip, Damage::Cut, Damage::Swap, Damage::Zero, Damage::Garble];

/// A data folder, and what is in it.
struct Filled {
    folder: tempfile::TempDir,
    ledger: Ledger,
    /// Files with the number of bytes in use at the time when everything in the ledger was durable. Only these are
    /// damaged: what came after may be an unsynced tail, which nobody was promised.
    files: Vec<(PathBuf, u64)>,
}

#[test]
fn damage_after_a_clean_stop_is_found() {
    try_damages(true);
}

#[test]
fn damage_after_a_crash_is_found() {
    try_damages(false);
}

fn try_damages(clean: bool) {
    let seed = number_from("WAYSTATION_DAMAGE_SEED").unwrap_or_else(some_seed);
    println!("seed {seed} (WAYSTATION_DAMAGE_SEED)");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut filled = fill(clean, &mut random).expect("the folder is filled");
    assert!(!filled.files.is_empty(), "no file of the data folder is in use");
    // Without damage the test itself must find nothing.
    let intact = tempfile::tempdir().expect("a folder");
    copy(filled.folder.path(), intact.path()).expect("the folder can be copied");
    assert!(
        examine(intact.path(), &mut filled.ledger)
            .expect("the intact folder is served")
            .is_none()
    );

    let mut halts = 0;
    for trial in 0..TRIALS {
        let folder = tempfile::tempdir().expect("a folder");
        copy(filled.folder.path(), folder.path()).expect("the folder can be copied");
        let kind = DAMAGES[random.random_range(0..DAMAGES.len())];
        let what = damage(folder.path(), &filled.files, kind, &mut random).expect("the file can be damaged");
        let context = || format!("seed {seed}, clean stop {clean}, trial {trial}, {kind:?} {what}");
        match examine(folder.path(), &mut filled.ledger) {
            Ok(Some(ended)) => {
                halts += 1;
                println!("{}: {}", context(), ended.stderr.lines().last().unwrap_or_default());
            }
            Ok(None) => println!("{}: all served", context()),
            Err(error) => panic!("{}: {error:#}", context()),
        }
    }
    assert!(halts > 0, "seed {seed}: no damage was ever found");
}

/// Fills a folder and stops its server. Some messages are settled again, so that there are dead bytes as well.
fn fill(clean: bool, random: &mut ChaCha8Rng) -> Result<Filled> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), &[])?;
    let mut connection = Connection::open(server.address())?;
    let mut ledger = Ledger::default();
    for queue in 0..QUEUES {
        connection.declare(&queue_name(queue), true)?;
    }
    connection.confirm_select()?;
    for number in 0..MESSAGES {
        let queue = random.random_range(0..QUEUES);
        let size = if number % 50 == 0 {
            random.random_range(0..50_000)
        } else {
            random.random_range(0..600)
        };
        let key = ledger.sending(queue, 0, size);
        connection.queue_publish(&queue_name(queue), &key.message_id(size), &key.body(size));
        connection.flush()?;
        connection.expect(1, BASIC_ACK)?;
        ledger.confirmed(key, 0);
    }
    let mut order = Order::default();
    for _ in 0..MESSAGES / 5 {
        let message = connection.get(&queue_name(0))?.context("a message to settle")?;
        let key = ledger
            .received(0, &message, &mut order)
            .context("the message is ours")?;
        ledger.settling(key);
    }
    connection.count(&queue_name(0))?;
    let files = if clean { Vec::new() } else { used(folder.path())? };
    // The tail: a damaged end may pass for what a crash tore, so what the ledger knows does not lie there.
    connection.declare("tail", true)?;
    for _ in 0..20 {
        connection.queue_publish("tail", "tail", &[1; 500]);
        connection.flush()?;
        connection.expect(1, BASIC_ACK)?;
    }
    let files = if clean {
        let ended = server.stop()?;
        ensure!(
            ended.status.success(),
            "the server did not stop cleanly: {}",
            ended.stderr
        );
        used(folder.path())?
    } else {
        server.kill();
        files
    };
    Ok(Filled { folder, ledger, files })
}

/// The log's files and how many bytes of each are in use: up to the last that is not zero.
fn used(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = PathBuf::from(entry?.file_name());
        if name.extension().is_some_and(|e| e == "seg" || e == "super") {
            let bytes = fs::read(folder.join(&name))?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                files.push((name, last as u64 + 1));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies a folder of files, leaving holes for blocks of zeros.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        ensure!(
            entry.file_type()?.is_file(),
            "{} is not a file: teach this test to copy it",
            entry.path().display()
        );
        let mut source = File::open(entry.path())?;
        let target = File::create(to.join(entry.file_name()))?;
        target.set_len(source.metadata()?.len())?;
        let mut block = vec![0; BLOCK];
        let mut offset = 0;
        loop {
            let count = source.read(&mut block)?;
            if count == 0 {
                break;
            }
            if block[..count].iter().any(|&byte| byte != 0) {
                target.write_all_at(&block[..count], offset)?;
            }
            offset += count as u64;
        }
    }
    Ok(())
}

/// Damages one file at a random place in use; answers where, for the report.
fn damage(folder: &Path, files: &[(PathBuf, u64)], kind: Damage, random: &mut ChaCha8Rng) -> Result<String> {
    let (name, used) = &files[random.random_range(0..files.len())];
    let path = folder.join(name);
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let place = random.random_range(0..*used);
    let stretch = usize::try_from((*used - place).min(512))?;
    let mut bytes = vec![0; stretch];
    file.read_exact_at(&mut bytes, place)?;
    match kind {
        Damage::Flip => {
            bytes[0] ^= 1 << random.random_range(0..8);
            file.write_all_at(&bytes[..1], place)?;
        }
        Damage::Cut => file.set_len(place)?,
        Damage::Swap => {
            let other = random.random_range(0..=*used - stretch as u64);
            let mut others = vec![0; stretch];
            file.read_exact_at(&mut others, other)?;
            file.write_all_at(&bytes, other)?;
            file.write_all_at(&others, place)?;
        }
        Damage::Zero => file.write_all_at(&vec![0; stretch], place)?,
        Damage::Garble => {
            random.fill_bytes(&mut bytes);
            file.write_all_at(&bytes, place)?;
        }
    }
    file.flush()?;
    Ok(format!("{} at {place} of {used} used", name.display()))
}

/// Starts a server on the folder and reads everything. `None` if all that was confirmed and not settled came; how it
/// ended, if it refused as it should; an error for everything else.
fn examine(folder: &Path, ledger: &mut Ledger) -> Result<Option<Ended>> {
    let server = match Server::try_start_default(folder)? {
        Started::Ended(ended) => return well_refused(ended).map(Some),
        Started::Serving(server) => server,
    };
    let mut left = Vec::new();
    let drained = (0..QUEUES).try_for_each(|queue| drain(&server, queue, ledger, &mut left));
    let wrong = std::mem::take(&mut ledger.violations);
    ensure!(wrong.is_empty(), "it served what it must not: {wrong:#?}");
    if let Err(error) = drained {
        // It served some, met the damage and halted: then it is gone, or about to be.
        let ended = server
            .wait_for_end(Duration::from_secs(20))
            .with_context(|| format!("after {error:#}"))?;
        return well_refused(ended).map(Some);
    }
    ledger.report_lost(&left);
    let lost = std::mem::take(&mut ledger.violations);
    ensure!(
        lost.is_empty(),
        "it served, but without {} messages, such as {}",
        lost.len(),
        lost[0]
    );
    Ok(None)
}

/// An exit with a code that is not 0 and words that name a file and a place in it.
fn well_refused(ended: Ended) -> Result<Ended> {
    let words = &ended.stderr;
    ensure!(
        ended.status.code().is_some_and(|code| code != 0),
        "ended with {}: {words}",
        ended.status
    );
    ensure!(
        words.contains(".seg") || words.contains("waystation.super"),
        "no file is named: {words}"
    );
    // A damaged version number cannot be told from a newer version: then the version is named instead of a place.
    let place = words.contains("at byte ") || words.contains("format version ");
    ensure!(place, "no place in the file is named: {words}");
    Ok(ended)
}

/// Reads a whole queue without settling anything, so that every trial finds the same.
fn drain(server: &Server, queue: u16, ledger: &mut Ledger, left: &mut Vec<Key>) -> Result<()> {
    let mut connection = Connection::open(server.address())?;
    let name = queue_name(queue);
    let count = connection.count(&name)?;
    let mut order = Order::default();
    connection.consume(&name, false)?;
    for number in 0..count {
        match connection.next(Duration::from_secs(20))? {
            Some(Event::Message(message)) => left.extend(ledger.received(queue, &message, &mut order)),
            Some(
                Event::Method {
                    id: BASIC_CONSUME_OK, ..
                }
                | Event::Heartbeat,
            ) => {}
            other => bail!("instead of message {number} of {count}: {other:?}"),
        }
    }
    Ok(())
}

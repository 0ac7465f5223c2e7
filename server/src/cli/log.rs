//! `waystation log`: the log of a stopped broker.

use crate::config::units::show_size;
use crate::inspect::{Contents, kind, read};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what the log holds
    Inspect(Inspect),
    /// Read every byte of the log and name all damage; exit code 1 if there is any
    Verify(Where),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    place: Where,
    /// Show every record
    #[arg(long)]
    records: bool,
}

#[derive(Debug, Args)]
pub(super) struct Where {
    /// The data folder of a broker that is stopped
    #[arg(
        long,
        env = "WAYSTATION_DATA_DIR",
        default_value = "./waystation-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let contents = match command {
        Command::Inspect(inspect) => {
            let contents = read(&inspect.place.data_dir, &mut |header, at| {
                if !inspect.records {
                    return Ok(());
                }
                if inspect.place.json {
                    let record = serde_json::json!({
                        "segment": at.segment, "offset": at.offset, "kind": kind(header.kind), "sequence": header.sequence,
                        "term": header.term, "synced": header.synced, "bytes": header.body_bytes,
                    });
                    writeln!(out, "{record}")?;
                } else {
                    writeln!(
                        out,
                        "{:016x} {:>10} {:<8} sequence {} term {} synced {} bytes {}",
                        at.segment,
                        at.offset,
                        kind(header.kind),
                        header.sequence,
                        header.term,
                        header.synced,
                        header.body_bytes
                    )?;
                }
                Ok(())
            })?;
            write!(out, "{}", shown(&contents, inspect.place.json)?)?;
            contents
        }
        Command::Verify(place) => {
            let contents = read(&place.data_dir, &mut |_, _| Ok(()))?;
            write!(out, "{}", verdict(&contents, place.json)?)?;
            contents
        }
    };
    let whole = contents.damage.is_empty();
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::EXIT_RUNTIME)
    })
}

fn shown(contents: &Contents, json: bool) -> Result<String> {
    if json {
        return Ok(format!("{}\n", serde_json::to_string(contents)?));
    }
    let mut table = super::queue::plain_table(&["SEGMENT", "BYTES", "USED", "SEALED", "SEQUENCES", "RECORDS"]);
    for segment in &contents.segments {
        let records: Vec<String> = segment
            .records
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        table.add_row([
            format!("{:016x}", segment.segment),
            show_size(segment.bytes),
            show_size(segment.used_bytes),
            if segment.sealed {
                "yes".to_owned()
            } else {
                "no".to_owned()
            },
            segment
                .sequences
                .map_or("-".to_owned(), |(first, last)| format!("{first} to {last}")),
            records.join(", "),
        ]);
    }
    let mut text = super::config::text(&table);
    if let Some((segment, offset)) = contents.replay_from {
        text.push_str(&format!("a start reads from {segment:016x} byte {offset} on\n"));
    }
    Ok(text + &verdict(contents, false)?)
}

fn verdict(contents: &Contents, json: bool) -> Result<String> {
    if json {
        return Ok(format!("{}\n", serde_json::to_string(contents)?));
    }
    let mut text = String::new();
    if let Some((segment, offset)) = contents.torn {
        text.push_str(&format!(
            "{segment:016x}.seg ends with an unfinished write at byte {offset}: never confirmed, the next start cuts it off\n"
        ));
    }
    for damage in &contents.damage {
        text.push_str(&format!("DAMAGED {damage}\n"));
    }
    let records: u64 = contents
        .segments
        .iter()
        .flat_map(|segment| segment.records.values())
        .sum();
    if contents.damage.is_empty() {
        text.push_str(&format!(
            "{records} records in {} segments are whole\n",
            contents.segments.len()
        ));
    } else {
        text.push_str("restore the data folder from a backup\n");
    }
    Ok(text)
}

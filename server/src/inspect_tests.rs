use super::*;
use crate::bench::tests::{bench, broker};
use std::os::unix::fs::FileExt;

fn verify(path: &Path) -> Contents {
    read(path, &mut |_, _| Ok(())).unwrap()
}

/// A stopped broker's folder with several segments.
async fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let server = broker(dir.path()).await;
    let report = bench(&server, "--count 3000 --size 4000 --consumers 0 --keep")
        .await
        .unwrap();
    assert!(report.mistakes.is_empty());
    let refused = read(dir.path(), &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("is in use by process"), "{refused}");
    server.stop().await.unwrap();
    dir
}

#[tokio::test]
async fn a_log_is_read_whole_and_flipped_bytes_are_named() {
    let dir = folder().await;
    let contents = verify(dir.path());
    assert_eq!(contents.damage, Vec::<String>::new());
    assert!(
        contents.segments.len() >= 3 && contents.segments[0].sealed,
        "{contents:?}"
    );
    let mut seen = 0;
    read(dir.path(), &mut |_, _| {
        seen += 1;
        Ok(())
    })
    .unwrap();
    let counted: u64 = contents
        .segments
        .iter()
        .flat_map(|segment| segment.records.values())
        .sum();
    assert_eq!(seen, counted);
    for segment in contents.segments.iter().filter(|segment| segment.sealed) {
        let path = dir.path().join(FileId::Segment(segment.segment).to_string());
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        for at in [50, segment.used_bytes / 2] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            let damage = verify(dir.path()).damage;
            assert_eq!(damage.len(), 1, "byte {at} of {}", segment.segment);
            assert!(
                damage[0].contains(&FileId::Segment(segment.segment).to_string()),
                "{damage:?}"
            );
            file.write_all_at(&byte, at).unwrap();
        }
    }
    assert_eq!(verify(dir.path()), contents);
}

#[tokio::test]
async fn a_missing_superblock_is_damage_and_an_empty_folder_is_not() {
    let dir = folder().await;
    std::fs::remove_file(dir.path().join("waystation.super")).unwrap();
    assert_eq!(verify(dir.path()).damage, ["waystation.super is missing"]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(verify(empty.path()), Contents::default());
    let error = read(&empty.path().join("none"), &mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("is no folder"), "{error}");
}

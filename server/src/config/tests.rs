use super::*;
use crate::users::Secret;

fn read(file: &str, env: &[(&str, &str)], flags: &[(&str, &'static str, &str)]) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waystation.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources {
        file: Some(path),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        flags: flags
            .iter()
            .map(|(f, k, v)| ((*f).to_owned(), *k, (*v).to_owned()))
            .collect(),
    };
    Loaded::read(&sources).map_err(|errors| errors.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn defaults_are_valid_and_equal_to_the_cores() {
    let loaded = Loaded::read(&Sources::default()).unwrap();
    assert_eq!(loaded.config.core, node::Config::default());
    assert_eq!(loaded.config.listen_amqp, Listen::At("127.0.0.1:5672".to_owned()));
    assert!(loaded.origins.values().all(|(_, origin)| *origin == Origin::Default));
    assert_eq!(loaded.origins.len(), KEYS.len());
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "[limits]\ncache = \"1MiB\"\npending = \"100MiB\"\nconnection_window = \"8KiB\"\n";
    let env = [
        ("WAYSTATION_LIMITS__CACHE", "2MiB"),
        ("WAYSTATION_LIMITS__PENDING", "200 MiB"),
    ];
    let loaded = read(file, &env, &[("--set", "limits.cache", "3MiB")]).unwrap();
    let core = &loaded.config.core;
    assert_eq!(
        (
            core.cache_bytes,
            core.pending_bytes_max,
            core.connection_window_bytes,
            core.unsettled_max
        ),
        (3 << 20, 200 << 20, 8 << 10, 1 << 20)
    );
    assert_eq!(loaded.origins["limits.cache"].1, Origin::Flag("--set".to_owned()));
    assert_eq!(
        loaded.origins["limits.pending"].1.to_string(),
        "environment WAYSTATION_LIMITS__PENDING"
    );
    assert!(
        loaded.origins["limits.connection_window"]
            .1
            .to_string()
            .ends_with("waystation.toml:4")
    );
}

#[test]
fn the_environment_may_name_the_file_and_the_log_level() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    std::fs::write(&path, "vhosts = [\"/\", \"orders\"]\nconnections.max = 7\n").unwrap();
    let env = vec![
        (ENV_CONFIG.to_owned(), path.display().to_string()),
        (ENV_LOG.to_owned(), "debug".to_owned()),
        ("WAYSTATION_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
    ];
    let loaded = Loaded::read(&Sources {
        env,
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.config.core.vhosts, [Name::from("/"), Name::from("orders")]);
    assert_eq!(loaded.config.connections_max, 7);
    assert_eq!(loaded.origins["log.level"].0, "debug");
}

use waystation_core::api::Name;

#[test]
fn mistakes_name_file_line_key_and_what_is_allowed() {
    let file = "data_dir = \"x\"\n[limits]\ncahce = \"1MiB\"\npending = \"lots\"\n[listen]\namqp = 5672\nadmin = [1]\n";
    let errors = read(
        file,
        &[("WAYSTATION_LIMITS__CACH", "1"), ("WAYSTATION_CONNECTIONS__MAX", "0")],
        &[],
    )
    .unwrap_err();
    let expected = "\
waystation.toml:3: unknown key \"limits.cahce\"; did you mean \"limits.cache\"? `waystation config print` shows all
waystation.toml:4: limits.pending = \"lots\" is not allowed: it does not begin with a whole number: it must be a size from 1MiB to 512MiB
waystation.toml:6: listen.amqp = \"5672\" is not allowed: the port is missing: it must be host:port, or off
waystation.toml:7: listen.admin is a TOML array: it must be host:port, or off
environment WAYSTATION_LIMITS__CACH: no such setting; did you mean WAYSTATION_LIMITS__CACHE?
environment WAYSTATION_CONNECTIONS__MAX: connections.max = \"0\" is not allowed: it must be a number from 1 to 1000000";
    let mut lines: Vec<_> = errors.lines().collect();
    let mut wanted: Vec<_> = expected.lines().collect();
    lines.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(lines, wanted);
}

#[test]
fn broken_toml_and_missing_files_are_told_apart() {
    let error = read("a = \n", &[], &[]).unwrap_err();
    assert!(error.starts_with("waystation.toml:1: not valid TOML"), "{error}");
    let file = Some(PathBuf::from("/nonexistent/waystation.toml"));
    let error = Loaded::read(&Sources {
        file,
        ..Sources::default()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("cannot read the configuration file"), "{error}");
}

#[test]
fn values_are_checked_against_each_other() {
    let error = read("[limits]\npending = \"1MiB\"\n", &[], &[]).unwrap_err();
    assert!(
        error.starts_with("waystation.toml:2: limits.pending must be at least amqp.message_max"),
        "{error}"
    );
}

#[test]
fn users_are_read() {
    let hash = crate::users::hash_password("x").unwrap();
    let file = format!(
        "[[users]]\nname = \"ann\"\npassword = \"pw\"\n[[users]]\nname = \"bob\"\npassword_hash = \"{hash}\"\n"
    );
    let users = read(&file, &[], &[]).unwrap().config.users;
    assert_eq!(users[0].secret, Secret::Password("pw".to_owned()));
    assert_eq!((users[1].name.as_str(), &users[1].secret), ("bob", &Secret::Hash(hash)));
}

#[test]
fn users_mistakes_have_lines() {
    for (file, expected) in [
        (
            "users = 1\n",
            "waystation.toml:1: users must be tables: begin each with [[users]]",
        ),
        (
            "[[users]]\npassword = \"x\"\n",
            "waystation.toml:1: users: name is missing",
        ),
        (
            "[[users]]\nname = \"a\"\n",
            "waystation.toml:1: users: a has neither password nor password_hash",
        ),
        (
            "[[users]]\nname = \"a\"\npasword = \"x\"\n",
            "waystation.toml:3: unknown key users.pasword",
        ),
        (
            "[[users]]\nname = \"a\"\npassword_hash = \"x\"\n",
            "waystation.toml:3: users: password_hash is not an argon2",
        ),
        (
            "[[users]]\nname = \"a\"\npassword = \"x\"\n[[users]]\nname = \"a\"\npassword = \"x\"\n",
            "waystation.toml:4: users: name \"a\" is empty or given twice",
        ),
    ] {
        let error = read(file, &[], &[]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn units() {
    use units::{duration, show_size, size};
    assert_eq!(size("1_024", 0..=u64::MAX), Ok(1024));
    assert_eq!(size("2 GB", 0..=u64::MAX), Ok(2_000_000_000));
    assert_eq!(size("99999999999TiB", 0..=u64::MAX), Err("it is too large".to_owned()));
    assert_eq!(
        size("-1", 0..=u64::MAX),
        Err("it does not begin with a whole number".to_owned())
    );
    assert_eq!(size("5 miles", 0..=u64::MAX), Err("unknown unit \"miles\"".to_owned()));
    assert_eq!(duration("2min", 0..=200_000), Ok(Duration::from_secs(120)));
    assert_eq!(duration("10", 0..=200_000), Ok(Duration::from_secs(10)));
    assert_eq!(duration("10h", 0..=200_000), Err(String::new()));
    assert_eq!(
        (show_size(512), show_size(1536), show_size(64 << 20)),
        ("512 B".into(), "1.5 KiB".into(), "64 MiB".into())
    );
}

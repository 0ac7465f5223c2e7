use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn flags(line: &str) -> Vec<(String, &'static str, String)> {
    let cli = parse(line).unwrap();
    let args = match cli.command {
        None => cli.serve,
        Some(Command::Serve(args)) => args,
        other => panic!("{other:?}"),
    };
    args.sources(Vec::new()).flags
}

/// The options of `waystation bench`, for the tests of the load generator.
pub(crate) fn parse_bench(flags: &str) -> crate::bench::Options {
    match parse(&format!("waystation bench {flags}")).unwrap().command {
        Some(Command::Bench(options)) => options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn bare_is_serve_and_flags_name_settings() {
    let line = "--data-dir d --listen amqp=127.0.0.1:0 --listen admin=off --set limits.cache=1GiB --log-level debug";
    let bare = flags(&format!("waystation {line}"));
    assert_eq!(bare, flags(&format!("waystation serve {line}")));
    let expected = [
        ("--data-dir", "data_dir", "d"),
        ("--log-level", "log.level", "debug"),
        ("--listen", "listen.amqp", "127.0.0.1:0"),
        ("--listen", "listen.admin", "off"),
        ("--set", "limits.cache", "1GiB"),
    ];
    assert_eq!(
        bare,
        expected.map(|(flag, key, value)| (flag.to_owned(), key, value.to_owned()))
    );
}

#[test]
fn mistakes_are_usage_errors_that_help() {
    for (line, hint) in [
        ("waystation bogus", "unrecognized subcommand 'bogus'"),
        (
            "waystation --listen mqtt=:1",
            "no protocol \"mqtt\": amqp and admin exist",
        ),
        ("waystation --listen amqp", "it must be PROTOCOL=ADDRESS"),
        ("waystation --set limit.cache=1", "did you mean \"limits.cache\"?"),
        ("waystation bench --url http://h", "does not begin with amqp://"),
        ("waystation bench --count 1 --time 1", "cannot be used with"),
        ("waystation bench --queues 0", "0 is not in 1..=10000"),
        ("waystation publish q b --file f", "cannot be used with"),
        ("waystation queue", "Usage: waystation queue"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(hint), "{line}: {error}");
    }
}

#[test]
fn exit_codes_tell_kinds_apart() {
    let run = |line: &str| format!("{:?}", main_from_args(line.split(' ').map(OsString::from)));
    let code = |code: u8| format!("{:?}", ExitCode::from(code));
    assert_eq!(run("waystation version --json"), code(0));
    assert_eq!(run("waystation config check"), code(0));
    assert_eq!(run("waystation config print --json"), code(0));
    assert_eq!(run("waystation --no-such-flag"), code(2));
    assert_eq!(run("waystation config check --set limits.cache=no"), code(78));
    assert_eq!(run("waystation serve --config /nonexistent.toml"), code(78));
    assert_eq!(run("waystation consume q --url amqp://127.0.0.1:1"), code(1));
    assert_eq!(run("waystation queue ls --url http://127.0.0.1:1"), code(1));
}

#[test]
fn the_overview_of_commands_is_as_intended() {
    let mut command = Cli::command();
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let help = command.render_help().to_string();
    for name in &names {
        assert!(help.contains(&format!("\n  {name}")), "{name} is not in the help");
    }
    let expected = [
        "serve",
        "bench",
        "queue",
        "publish",
        "consume",
        "log",
        "config",
        "hash-password",
        "completions",
        "version",
    ];
    assert_eq!(names, expected);
}

/// `docs/configuration.md` is made from the table of settings. `UPDATE=1 cargo test` writes it anew.
#[test]
fn the_page_of_settings_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = config::page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let present = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        present == page,
        "docs/configuration.md is stale: run UPDATE=1 cargo test -p waystation-server"
    );
}

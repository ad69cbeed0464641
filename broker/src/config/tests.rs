//! Sources, bounds and wrong keys of the configuration.

use super::*;
use ringmq_storage_engine::store::WriteMode;
use std::path::PathBuf;

fn file(text: &str) -> Sources {
    Sources {
        file: Some((PathBuf::from("broker.toml"), text.to_owned())),
        ..Sources::default()
    }
}

fn problem(sources: &Sources) -> String {
    load(Config::default(), sources)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn what_is_printed_can_be_read_back() {
    let mut config = Config::dev();
    config.node.advertise = "broker.example:20911".to_owned();
    config.node.namesrv = vec!["a:1".to_owned(), "b:2".to_owned()];
    config.log.format = LogFormat::Json;
    config.storage.write_mode = WriteMode::WriteThenSync;
    let text = print(&config);
    let (read, notes) = load(Config::default(), &file(&text)).expect("reads");
    assert_eq!(read, config);
    assert!(notes.is_empty());
}

#[test]
fn later_sources_win() {
    let mut sources = file("shards = 2\ncluster = \"f\"\n[log]\nfilter = \"debug\"\n");
    sources.environment = vec![
        ("RINGMQ_SHARDS".to_owned(), "3".to_owned()),
        ("RINGMQ_LOG_FILTER".to_owned(), "warn".to_owned()),
        ("RINGMQ_NAMESRV".to_owned(), "a:1; b:2".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ];
    sources.flags = vec![("shards".to_owned(), "4".to_owned(), "--shards".to_owned())];
    let (config, _) = load(Config::default(), &sources).expect("reads");
    assert_eq!(config.node.shards, 4);
    assert_eq!(config.log.filter, "warn");
    assert_eq!(config.node.cluster, "f");
    assert_eq!(config.node.namesrv, ["a:1", "b:2"]);
}

#[test]
fn unknown_keys_are_refused_by_name_with_the_nearest_one() {
    let said = problem(&file("[storage]\nsegment_byte = 1\n"));
    assert!(
        said.contains("`storage.segment_byte`") && said.contains("`storage.segment_bytes`"),
        "{said}"
    );
    let said = problem(&file("retention_ms = 1\n"));
    assert!(
        said.contains("did you mean `storage.retention_ms`"),
        "{said}"
    );
    let said = problem(&file("zzzzzzzzzzzzzzzz = 1\n"));
    assert!(
        said.contains("zzzz") && said.contains("--print-config"),
        "{said}"
    );
    let said = problem(&file("[storage.deeper]\nx = 1\n"));
    assert!(said.contains("storage.deeper"), "{said}");
}

#[test]
fn types_and_bounds_are_checked_and_named() {
    assert!(problem(&file("shards = \"two\"\n")).contains("must be whole number"));
    assert!(problem(&file("shards = 65\n")).contains("outside 0 to 64"));
    assert!(problem(&file("base_port = 70000\n")).contains("outside 0 to 65535"));
    assert!(problem(&file("listen = \"nowhere\"\n")).contains("IP address"));
    assert!(problem(&file("node = \"a b\"\n")).contains("node name"));
    assert!(problem(&file("namesrv = [\"a\"]\n")).contains("HOST:PORT"));
    assert!(problem(&file("advertise = \"0.0.0.0\"\n")).contains("advertise"));
    assert!(problem(&file("shards = 64\nbase_port = 65000\n")).contains("65630"));
    assert!(problem(&file("[storage]\ndisk_early_percent = 95\n")).contains("must rise"));
    assert!(problem(&file("shards = \n")).contains("broker.toml"));
    let sources = Sources {
        environment: vec![("RINGMQ_BASE_PORT".to_owned(), "x".to_owned())],
        ..Sources::default()
    };
    assert!(problem(&sources).contains("RINGMQ_BASE_PORT"));
}

#[test]
fn names_that_kubernetes_invents_are_reported_and_ignored() {
    let sources = Sources {
        environment: vec![
            ("RINGMQ_PORT".to_owned(), "tcp://10.0.0.1:10911".to_owned()),
            ("RINGMQ_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
        ],
        ..Sources::default()
    };
    let (config, notes) = load(Config::default(), &sources).expect("reads");
    assert_eq!(config, Config::default());
    assert_eq!(notes.len(), 2);
}

#[test]
fn every_key_has_a_reason_bounds_and_a_default_inside_them() {
    for (key, (_, value)) in all_keys().iter().zip(Config::default().values()) {
        assert!(key.reason.trim().len() > 20, "{} needs a reason", key.name);
        if let Some(number) = value.as_integer() {
            let (low, high) = key
                .bounds
                .unwrap_or_else(|| panic!("{} needs bounds", key.name));
            assert!((low..=high).contains(&i128::from(number)), "{}", key.name);
            assert!(!key.unit.is_empty(), "{} needs a unit", key.name);
        }
    }
}

fn repository(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_shipped_file_is_valid() {
    let text = repository("deploy/broker.toml");
    let (_, notes) = load(Config::default(), &file(&text)).expect("deploy/broker.toml is valid");
    assert!(notes.is_empty());
}

/// With RINGMQ_BLESS=1 the table in the page is written anew.
#[test]
fn the_page_about_configuration_has_every_key_as_it_is() {
    const START: &str = "<!-- keys: start -->\n";
    const END: &str = "<!-- keys: end -->";
    let page = repository("docs/configuration.md");
    let (before, rest) = page.split_once(START).expect("the page marks its table");
    let (table, after) = rest.split_once(END).expect("the page marks its table");
    let expected = table_of_keys();
    if std::env::var_os("RINGMQ_BLESS").is_some() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let page = format!("{before}{START}{expected}{END}{after}");
        std::fs::write(path, page).expect("the page can be written");
        return;
    }
    assert_eq!(
        table, expected,
        "run this test with RINGMQ_BLESS=1 to write the table anew"
    );
}

fn table_of_keys() -> String {
    let mut table = String::new();
    let mut section = None;
    for key in all_keys() {
        let prefix = key.name.rsplit_once('.').map_or("", |(prefix, _)| prefix);
        if section != Some(prefix) {
            section = Some(prefix);
            let title = if prefix.is_empty() {
                "Keys without a section".to_owned()
            } else {
                format!("`[{prefix}]`")
            };
            table.push_str(&format!(
                "\n### {title}\n\n| key | type | default | reason |\n|---|---|---|---|\n"
            ));
        }
        let bounds = key.bounds.map_or_else(String::new, |(low, high)| {
            format!(", {}, {low} to {high}", key.unit)
        });
        let reason = key.reason.split_whitespace().collect::<Vec<_>>().join(" ");
        table.push_str(&format!(
            "| `{}` | {}{bounds} | `{}` | {reason} |\n",
            key.name, key.type_name, key.default
        ));
    }
    table.push('\n');
    table
}

//! The configuration file: a clear error, or a configuration that prints and reads back as itself.

use ringmq_broker::config::{Config, Sources, load, print};

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let read = |text: &str| {
        let sources = Sources {
            file: Some(("broker.toml".into(), text.to_owned())),
            ..Sources::default()
        };
        load(Config::default(), &sources)
    };
    match read(text) {
        Ok((config, _)) => {
            let printed = print(&config);
            let (again, _) = read(&printed).expect("what is printed can be used as a file");
            assert_eq!(print(&again), printed);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

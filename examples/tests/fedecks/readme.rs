//! The configurations that the README shows are ones that the service reads.

use std::path::Path;

use fedecks_daemon::DeviceConfig;

use crate::support::folder;

/// The blocks of this language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_device_configuration_is_read() {
    let blocks = blocks("toml");
    let [configuration, _credentials] = blocks.as_slice() else {
        panic!("the README has {} TOML blocks, expected 2", blocks.len());
    };
    let folder = folder();
    let file = folder.path().join("fedecks.toml");
    std::fs::write(&file, configuration).unwrap();
    let config = DeviceConfig::load(Some(&file), |_| None).unwrap();
    assert_eq!(config.url.to_string(), "wss://cloud.example.com/fedecks/websocket");
    assert_eq!(config.data_dir, Path::new("/data/fedecks"));
    assert_eq!(config.provision_file, Path::new("/data/fedecks/provision.toml"));
}

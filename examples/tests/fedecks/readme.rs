//! The configurations that the README shows are ones that the service reads.

use std::path::Path;

use fedecks_device::DeviceConfig;

use crate::support::folder;

/// The blocks of this language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_device_configuration_and_its_credentials_are_read() {
    let blocks = blocks("toml");
    let [configuration, credentials] = blocks.as_slice() else {
        panic!("the README has {} TOML blocks, expected 2", blocks.len());
    };
    let folder = folder();
    let credentials_file = folder.path().join("credentials.toml");
    write_private(&credentials_file, credentials);
    let file = folder.path().join("fedecks.toml");
    std::fs::write(&file, configuration).unwrap();
    let config = DeviceConfig::load(Some(&file), |name| {
        (name == "FEDECKS_CREDENTIALS_FILE").then(|| credentials_file.clone().into())
    })
    .unwrap();
    assert_eq!(config.url.to_string(), "wss://cloud.example.com/fedecks/websocket");
    assert_eq!(config.data_dir, Path::new("/data/fedecks"));
    let credentials = config.read_credentials().unwrap().unwrap();
    assert_eq!(credentials.text("username"), Some("marvin"));
}

fn write_private(file: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

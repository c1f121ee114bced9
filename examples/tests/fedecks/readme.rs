//! The configurations that the README shows are ones that the service reads, and its dependencies exist.

use std::path::Path;

use fedecks_daemon::DeviceConfig;

/// The blocks of this language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_device_configuration_is_read() {
    let blocks = blocks("toml");
    let [configuration, _credentials, _dependencies] = blocks.as_slice() else {
        panic!("the README has {} TOML blocks, expected 3", blocks.len());
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fedecks.toml");
    std::fs::write(&file, configuration).unwrap();
    let config = DeviceConfig::load(Some(&file), []).unwrap();
    assert_eq!(config.url.to_string(), "wss://cloud.example.com/fedecks/websocket");
    assert_eq!(config.data_dir, Path::new("/data/fedecks"));
    assert_eq!(config.provision_file, Path::new("/data/fedecks/provision.toml"));
}

#[test]
fn the_dependencies_are_crates_of_this_checkout() {
    let blocks = blocks("toml");
    let lines: Vec<&str> = blocks[2].lines().skip(1).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines.into_iter().filter(|line| line.starts_with("fedecks")) {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let folder = quoted[0].strip_prefix("fedecks/").unwrap();
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = std::fs::read_to_string(checkout.join(folder).join("Cargo.toml")).unwrap();
        let name = line.split(' ').next().unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in {folder}");
        for feature in &quoted[1..] {
            assert!(manifest.contains(&format!("\n{feature} = [")), "{name} has no {feature}");
        }
    }
}

//! Reads any bytes as the configuration of the device's service, with any environment: no panic, and an error is a
//! line that names its place.
#![no_main]

use fedecks_daemon::DeviceConfig;
use fedecks_fuzz::ConfigInput;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let input = ConfigInput::new(bytes);
    match DeviceConfig::load(Some(&input.file), input.variables.clone()) {
        Ok(config) => {
            assert!(config.backoff_base <= config.backoff_cap);
            let again = DeviceConfig::load(Some(&input.file), input.variables.clone());
            assert_eq!(again.expect("was valid"), config);
        }
        Err(error) => input.assert_complete(&error.to_string()),
    }
});

//! D-Bus values from callers: bytes as a variant, to a term, and back to D-Bus.
#![no_main]

use fedecks_dbus::{Received, ReceivedDictionary, Variant};
use fedecks_protocol::Term;
use libfuzzer_sys::fuzz_target;
use zvariant::serialized::{Context, Data};
use zvariant::{Endian, to_bytes};

fuzz_target!(|input: &[u8]| {
    let Some((order, bytes)) = input.split_first() else { return };
    let endian = if order & 1 == 0 { Endian::Little } else { Endian::Big };
    let data = Data::new(bytes, Context::new_dbus(endian, 0));
    if let Ok((ReceivedDictionary(Ok(dictionary)), _)) = data.deserialize() {
        assert!(matches!(dictionary.into_term(), Term::Map(_)));
    }
    let Ok((Received(Ok(variant)), _)) = data.deserialize::<Received>() else { return };
    let term = variant.into_term();
    // Twice what a caller may take at most: a container grows while it is read.
    assert!(term.weight() <= 6 * 1024 * 1024 + 4 * 1024, "{} bytes", term.weight());
    let Ok(variant) = Variant::new(term.clone()) else { return };
    let written = to_bytes(Context::new_dbus(Endian::Little, 0), &variant).unwrap();
    let (again, read) = written.deserialize::<Variant>().unwrap();
    assert_eq!(read, written.len());
    assert_eq!(format!("{:?}", again.into_term()), format!("{term:?}"));
});

//! PASETO `v4.local`: seals a text with a key, and opens it again. Which key that is, and what the text says, is in
//! `keyring`.

use base64_simd::URL_SAFE_NO_PAD;
use blake2b_simd::{Hash, Params, State};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

const HEADER: &str = "v4.local.";
const NONCE: usize = 32;
const TAG: usize = 32;

/// A key: BLAKE2b that has read it and what for, for each of the two keys that are derived from it and a token's nonce.
#[derive(Clone)]
pub(super) struct LocalKey {
    for_encryption: State,
    for_authentication: State,
}

/// A token whose parts are read and not verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Nonce, ciphertext and tag.
    body: Vec<u8>,
    footer: Vec<u8>,
}

impl Sealed {
    /// Reads a token; `None` if it has another form.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let rest = token.strip_prefix(HEADER)?;
        // The footer is the shorter part: searched from the end.
        let (body, footer) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let body = URL_SAFE_NO_PAD.decode_to_vec(body).ok()?;
        let footer = URL_SAFE_NO_PAD.decode_to_vec(footer).ok()?;
        (body.len() > NONCE + TAG).then_some(Self { body, footer })
    }

    /// What the token says in the clear, which is not verified yet.
    pub(super) fn footer(&self) -> &[u8] {
        &self.footer
    }
}

impl LocalKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let state = |length: usize, purpose: &[u8]| {
            let mut state = Params::new().key(key).hash_length(length).to_state();
            // With more behind it, the block of the key is hashed here.
            state.update(purpose);
            state
        };
        Self {
            for_encryption: state(32 + 24, b"paseto-encryption-key"),
            for_authentication: state(32, b"paseto-auth-key-for-aead"),
        }
    }

    /// Seals a text. The nonce must be random.
    pub(super) fn seal(
        &self,
        text: &str,
        nonce: &[u8; NONCE],
        footer: &[u8],
        assertion: &[u8],
    ) -> String {
        let mut body = Vec::with_capacity(NONCE + text.len() + TAG);
        body.extend_from_slice(nonce);
        body.extend_from_slice(text.as_bytes());
        self.cipher(nonce).apply_keystream(&mut body[NONCE..]);
        let tag = self.tag(nonce, &body[NONCE..], footer, assertion);
        body.extend_from_slice(tag.as_bytes());
        let mut token = String::from(HEADER);
        URL_SAFE_NO_PAD.encode_append(&body, &mut token);
        if !footer.is_empty() {
            token.push('.');
            URL_SAFE_NO_PAD.encode_append(footer, &mut token);
        }
        token
    }

    /// Opens a token; `None` if it was not sealed with this key and assertion, or was changed since.
    pub(super) fn open(&self, sealed: Sealed, assertion: &[u8]) -> Option<String> {
        let Sealed { mut body, footer } = sealed;
        let (nonce, rest) = body.split_first_chunk_mut::<NONCE>()?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG>()?;
        // Compared in constant time.
        if self.tag(nonce, text, &footer, assertion) != tag[..] {
            return None;
        }
        self.cipher(nonce).apply_keystream(text);
        body.truncate(body.len() - TAG);
        body.drain(..NONCE);
        String::from_utf8(body).ok()
    }

    fn cipher(&self, nonce: &[u8; NONCE]) -> XChaCha20 {
        let derived = self.for_encryption.clone().update(nonce).finalize();
        let (mut key, mut iv) = ([0; 32], [0; 24]);
        key.copy_from_slice(&derived.as_bytes()[..32]);
        iv.copy_from_slice(&derived.as_bytes()[32..]);
        XChaCha20::new(&key.into(), &iv.into())
    }

    fn tag(&self, nonce: &[u8; NONCE], ciphertext: &[u8], footer: &[u8], assertion: &[u8]) -> Hash {
        let key = self.for_authentication.clone().update(nonce).finalize();
        let pieces = [HEADER.as_bytes(), nonce, ciphertext, footer, assertion];
        let mut message =
            Vec::with_capacity(pieces.iter().map(|piece| 8 + piece.len()).sum::<usize>() + 8);
        message.extend_from_slice(&(pieces.len() as u64).to_le_bytes());
        for piece in pieces {
            message.extend_from_slice(&(piece.len() as u64).to_le_bytes());
            message.extend_from_slice(piece);
        }
        Params::new().hash_length(TAG).key(key.as_bytes()).hash(&message)
    }
}

/// The test vectors of the specification for `v4.local`: <https://github.com/paseto-standard/test-vectors>.
#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    const KEY: &str = "707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f";

    struct Vector {
        name: &'static str,
        nonce: &'static str,
        token: &'static str,
        /// `None` if the token must not open.
        text: Option<&'static str>,
        footer: &'static str,
        assertion: &'static str,
    }

    const VECTORS: [Vector; 14] = [
        Vector {
            name: "4-E-1",
            nonce: "0000000000000000000000000000000000000000000000000000000000000000",
            token: concat!(
                "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAr68PS4AXe7If_ZgesdkUMvSwsc",
                "FlAl1pk5HC0e8kApeaqMfGo_7OpBnwJOAbY9V7WU6abu74MmcUE8YWAiaArVI8XJ5hOb_4v9RmDkneN0",
                "S92dx0OW4pgy7omxgf3S8c3LlQg",
            ),
            text: Some(r#"{"data":"this is a secret message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: "",
            assertion: "",
        },
        Vector {
            name: "4-E-2",
            nonce: "0000000000000000000000000000000000000000000000000000000000000000",
            token: concat!(
                "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAr68PS4AXe7If_ZgesdkUMvS2cs",
                "Cgglvpk5HC0e8kApeaqMfGo_7OpBnwJOAbY9V7WU6abu74MmcUE8YWAiaArVI8XIemu9chy3WVKvRBfg",
                "6t8wwYHK0ArLxxfZP73W_vfwt5A",
            ),
            text: Some(r#"{"data":"this is a hidden message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: "",
            assertion: "",
        },
        Vector {
            name: "4-E-3",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WkwM",
                "sYXw6FSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t6-tyebyWG6Ov7kKvB",
                "dkrrAJ837lKP3iDag2hzUPHuMKA",
            ),
            text: Some(r#"{"data":"this is a secret message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: "",
            assertion: "",
        },
        Vector {
            name: "4-E-4",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WiA8",
                "rd3wgFSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t4gt6TiLm55vIH8c_l",
                "GxxZpE3AWlH4WTR0v45nsWoU3gQ",
            ),
            text: Some(r#"{"data":"this is a hidden message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: "",
            assertion: "",
        },
        Vector {
            name: "4-E-5",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WkwM",
                "sYXw6FSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t4x-RMNXtQNbz7FvFZ",
                "_G-lFpk5RG3EOrwDL6CgDqcerSQ.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NO",
                "eTlEZmdMMVc2MGhhTiJ9",
            ),
            text: Some(r#"{"data":"this is a secret message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
            assertion: "",
        },
        Vector {
            name: "4-E-6",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WiA8",
                "rd3wgFSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t6pWSA5HX2wjb3P-xL",
                "Qg5K5feUCX4P2fpVK3ZLWFbMSxQ.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NO",
                "eTlEZmdMMVc2MGhhTiJ9",
            ),
            text: Some(r#"{"data":"this is a hidden message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
            assertion: "",
        },
        Vector {
            name: "4-E-7",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WkwM",
                "sYXw6FSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t40KCCWLA7GYL9KFHz",
                "KlwY9_RnIfRrMQpueydLEAZGGcA.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NO",
                "eTlEZmdMMVc2MGhhTiJ9",
            ),
            text: Some(r#"{"data":"this is a secret message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
            assertion: r#"{"test-vector":"4-E-7"}"#,
        },
        Vector {
            name: "4-E-8",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WiA8",
                "rd3wgFSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t5uvqQbMGlLLNYBc7A",
                "6_x7oqnpUK5WLvj24eE4DVPDZjw.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NO",
                "eTlEZmdMMVc2MGhhTiJ9",
            ),
            text: Some(r#"{"data":"this is a hidden message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
            assertion: r#"{"test-vector":"4-E-8"}"#,
        },
        Vector {
            name: "4-E-9",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WiA8",
                "rd3wgFSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t6tybdlmnMwcDMw0Yx",
                "A_gFSE_IUWl78aMtOepFYSWYfQA.YXJiaXRyYXJ5LXN0cmluZy10aGF0LWlzbid0LWpzb24",
            ),
            text: Some(r#"{"data":"this is a hidden message","exp":"2022-01-01T00:00:00+00:00"}"#),
            footer: "arbitrary-string-that-isn't-json",
            assertion: r#"{"test-vector":"4-E-9"}"#,
        },
        Vector {
            name: "4-E-10",
            nonce: "0000000000000000000000000000000000000000000000000000000000000000",
            token: concat!(
                "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAr68PS4AXe7If_ZgesdkUMvSwsc",
                "FlAl1pk5HC0e8kApeaqMfGo_7OpBnwJOAbY9V7WU6abu74MmcUE8YXQmYC7FN5TiAT7Bou4G1DMqRIzE",
                "s0H8QfAlKN-X-j7a7tAcRex7a7GVwDvJ9inDh61wlrJbn_sQUwDVv4Kpk0lvlcj9SJPN48SAsU4WGjDq",
                "4",
            ),
            text: Some(
                r#"{"data":"this is a secret message","exp":"2022-01-01T00:00:00.1234567890123456789012345678901234567890+00:00"}"#,
            ),
            footer: "",
            assertion: "",
        },
        Vector {
            name: "4-F-2",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.public.eyJpbnZhbGlkIjoidGhpcyBzaG91bGQgbmV2ZXIgZGVjb2RlIn22Sp4gjCaUw0c7EH84ZS",
                "m_jN_Qr41MrgLNu5LIBCzUr1pn3Z-Wukg9h3ceplWigpoHaTLcwxj0NsI1vjTh67YB.eyJraWQiOiJ6V",
                "mhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
            ),
            text: None,
            footer: r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
            assertion: r#"{"test-vector":"4-F-2"}"#,
        },
        Vector {
            name: "4-F-3",
            nonce: "26f7553354482a1d91d4784627854b8da6b8042a7966523c2b404e8dbbe7f7f2",
            token: concat!(
                "v3.local.23e_2PiqpQBPvRFKzB0zHhjmxK3sKo2grFZRRLM-U7L0a8uHxuF9RlVz3Ic6WmdUUWTxCaY",
                "ycwWV1yM8gKbZB2JhygDMKvHQ7eBf8GtF0r3K0Q_gF1PXOxcOgztak1eD1dPe9rLVMSgR0nHJXeIGYVu",
                "VrVoLWQ.YXJiaXRyYXJ5LXN0cmluZy10aGF0LWlzbid0LWpzb24",
            ),
            text: None,
            footer: "arbitrary-string-that-isn't-json",
            assertion: r#"{"test-vector":"4-F-3"}"#,
        },
        Vector {
            name: "4-F-4",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAr68PS4AXe7If_ZgesdkUMvSwsc",
                "FlAl1pk5HC0e8kApeaqMfGo_7OpBnwJOAbY9V7WU6abu74MmcUE8YWAiaArVI8XJ5hOb_4v9RmDkneN0",
                "S92dx0OW4pgy7omxgf3S8c3LlQh",
            ),
            text: None,
            footer: "",
            assertion: "",
        },
        Vector {
            name: "4-F-5",
            nonce: "df654812bac492663825520ba2f6e67cf5ca5bdc13d4e7507a98cc4c2fcc3ad8",
            token: concat!(
                "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WkwM",
                "sYXw6FSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t4x-RMNXtQNbz7FvFZ",
                "_G-lFpk5RG3EOrwDL6CgDqcerSQ==.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2",
                "NOeTlEZmdMMVc2MGhhTiJ9",
            ),
            text: None,
            footer: r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
            assertion: "",
        },
    ];

    fn bytes(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_official_vectors_open_and_seal() {
        let key = LocalKey::new(&bytes(KEY));
        for Vector { name, nonce, token, text, footer, assertion } in VECTORS {
            let (footer, assertion) = (footer.as_bytes(), assertion.as_bytes());
            let sealed = Sealed::parse(token).filter(|sealed| sealed.footer() == footer);
            let opened = sealed.and_then(|sealed| key.open(sealed, assertion));
            assert_eq!(opened.as_deref(), text, "{name}");
            if let Some(text) = text {
                assert_eq!(key.seal(text, &bytes(nonce), footer, assertion), token, "{name}");
            }
        }
    }

    #[test]
    fn another_assertion_or_key_does_not_open() {
        let key = LocalKey::new(&[1; 32]);
        let token = key.seal("text", &[2; 32], b"footer", b"assertion");
        let open = |key: &LocalKey, assertion| key.open(Sealed::parse(&token).unwrap(), assertion);
        assert_eq!(open(&key, b"assertion").as_deref(), Some("text"));
        assert_eq!(open(&key, b""), None);
        assert_eq!(open(&LocalKey::new(&[3; 32]), b"assertion"), None);
    }

    /// Of every length around the blocks of the cipher and the hash.
    #[test]
    fn texts_of_all_lengths_open_again() {
        let key = LocalKey::new(&[1; 32]);
        for length in 1..400 {
            let text = "x".repeat(length);
            let token = key.seal(&text, &[2; 32], b"", b"");
            assert_eq!(key.open(Sealed::parse(&token).unwrap(), b""), Some(text));
        }
        assert_eq!(Sealed::parse(&key.seal("", &[2; 32], b"", b"")), None, "nothing is sealed");
    }
}

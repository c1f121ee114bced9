//! Names of the algorithms in certificates, and which of them clients can verify. Devices use rustls with ring;
//! other clients support these too.

use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Signatures that clients can verify.
const SUPPORTED: [&str; 7] = [
    "1.2.840.10045.4.3.2",   // ECDSA with SHA-256
    "1.2.840.10045.4.3.3",   // ECDSA with SHA-384
    "1.3.101.112",           // Ed25519
    "1.2.840.113549.1.1.10", // RSA-PSS
    "1.2.840.113549.1.1.11", // RSA with SHA-256
    "1.2.840.113549.1.1.12", // RSA with SHA-384
    "1.2.840.113549.1.1.13", // RSA with SHA-512
];

/// Names of those that they cannot.
const OTHERS: [(&str, &str); 8] = [
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256"),
];

const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC: &str = "1.2.840.10045.2.1";
const CURVES: [(&str, &str); 3] = [
    ("1.2.840.10045.3.1.7", "ECDSA P-256"),
    ("1.3.132.0.34", "ECDSA P-384"),
    ("1.3.132.0.35", "ECDSA P-521"),
];

/// Why clients cannot verify the signature of this certificate; completes a sentence about it.
pub(crate) fn problem(certificate: &Certificate) -> Option<String> {
    let name = unsupported(certificate)?;
    Some(format!(
        "is signed by {name}, which devices do not accept: have it issued again with SHA-256 or SHA-384, or \
         Ed25519"
    ))
}

/// The algorithm of this certificate's signature, if neither clients nor this server can verify it.
pub(crate) fn unsupported(certificate: &Certificate) -> Option<String> {
    let signature = certificate.signature_algorithm().oid.to_string();
    if SUPPORTED.contains(&&*signature) {
        return None;
    }
    let name = OTHERS.iter().find(|(number, _)| *number == signature).map(|(_, name)| *name);
    Some(name.map_or_else(|| format!("the algorithm {signature}"), str::to_owned))
}

/// The type of its key.
pub(crate) fn key_type(certificate: &Certificate) -> String {
    let key: &SubjectPublicKeyInfoOwned = certificate.tbs_certificate().subject_public_key_info();
    let number = key.algorithm.oid.to_string();
    match &*number {
        RSA => "RSA".into(),
        "1.3.101.112" => "Ed25519".into(),
        ELLIPTIC => {
            let curve = key.algorithm.parameters.as_ref();
            let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            let curve = curve.map(|curve| curve.to_string()).unwrap_or_default();
            let known = CURVES.iter().find(|(number, _)| *number == curve);
            known.map_or_else(|| format!("ECDSA {curve}"), |(_, name)| (*name).to_owned())
        }
        _ => number,
    }
}

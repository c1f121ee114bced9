//! The frozen bytes of the protocol, derived independently of the code and listed in `docs/protocol.md`.

use std::num::NonZeroU64;
use std::time::Duration;

use fedecks_protocol::{
    AuthRequest, Capabilities, Credentials, DeliveryOffer, DeviceId, DownFrame, InstallationId,
    IssuedToken, Proof, Sequence, Term, Token, UpFrame, Welcome,
};

use crate::{kept, requests};

/// The name in the document, the value, its bytes in hexadecimal.
pub(crate) type Fixture<T> = (&'static str, T, &'static str);

pub(crate) fn terms() -> Vec<Fixture<Term>> {
    vec![
        ("nil", Term::Nil, "00"),
        ("false", Term::Bool(false), "01"),
        ("true", Term::Bool(true), "02"),
        ("int 0", Term::Int(0), "03 00"),
        ("int -1", Term::Int(-1), "03 01"),
        ("int 1", Term::Int(1), "03 02"),
        ("int -125", Term::Int(-125), "03 f9"),
        ("int 125", Term::Int(125), "03 fa"),
        ("int -126", Term::Int(-126), "03 fb fb 00"),
        ("int 126", Term::Int(126), "03 fb fc 00"),
        ("int -32768", Term::Int(-32768), "03 fb ff ff"),
        ("int 32767", Term::Int(32767), "03 fb fe ff"),
        ("int -32769", Term::Int(-32769), "03 fc 01 00 01 00"),
        ("int 32768", Term::Int(32768), "03 fc 00 00 01 00"),
        ("int -2147483648", Term::Int(-2147483648), "03 fc ff ff ff ff"),
        ("int 2147483648", Term::Int(2147483648), "03 fd 00 00 00 00 01 00 00 00"),
        (
            "int 9223372036854775807",
            Term::Int(9223372036854775807),
            "03 fd fe ff ff ff ff ff ff ff",
        ),
        (
            "int -9223372036854775809",
            Term::Int(-9223372036854775809),
            "03 fe 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00",
        ),
        (
            "int 170141183460469231731687303715884105727",
            Term::Int(i128::MAX),
            "03 fe fe ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff",
        ),
        (
            "int -170141183460469231731687303715884105728",
            Term::Int(i128::MIN),
            "03 fe ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff",
        ),
        ("float 0.0", Term::Float(0.0), "04 00 00 00 00 00 00 00 00"),
        ("float -0.0", Term::Float(-0.0), "04 00 00 00 00 00 00 00 80"),
        ("float 21.5", Term::Float(21.5), "04 00 00 00 00 00 80 35 40"),
        ("float infinity", Term::Float(f64::INFINITY), "04 00 00 00 00 00 00 f0 7f"),
        (r#"text """#, Term::from(""), "05 00"),
        (r#"text "hé""#, Term::from("hé"), "05 03 68 c3 a9"),
        ("bytes 00 ff", Term::Bytes(vec![0x00, 0xff]), "06 02 00 ff"),
        (r#"atom "ok""#, Term::Atom("ok".into()), "07 02 6f 6b"),
        ("list []", Term::List(vec![]), "08 00"),
        ("list [1, nil]", Term::List(vec![Term::Int(1), Term::Nil]), "08 02 03 02 00"),
        (r#"tuple ("hello", "matey")"#, hello(), "09 02 05 05 68 65 6c 6c 6f 05 05 6d 61 74 65 79"),
        ("map {}", Term::Map(vec![]), "0a 00"),
        (
            r#"map {"t": 21.5, 7: [true]}"#,
            Term::Map(vec![
                (Term::from("t"), Term::Float(21.5)),
                (Term::Int(7), Term::List(vec![Term::Bool(true)])),
            ]),
            "0a 02 05 01 74 04 00 00 00 00 00 80 35 40 03 0e 08 01 02",
        ),
    ]
}

pub(crate) fn up() -> Vec<Fixture<UpFrame>> {
    let mut fixtures = vec![
        (
            r#"Message, sequence 0, tuple ("hello", "matey")"#,
            message(None, hello()),
            "01 00 09 02 05 05 68 65 6c 6c 6f 05 05 6d 61 74 65 79",
        ),
        ("Message, sequence 251, nil", message(number(251), Term::Nil), "01 fb fb 00 00"),
        (
            "Raw, sequence 0, bytes de ad be ef",
            UpFrame::Raw { sequence: None, bytes: vec![0xde, 0xad, 0xbe, 0xef] },
            "02 00 de ad be ef",
        ),
        ("Raw, sequence 7, no bytes", UpFrame::Raw { sequence: number(7), bytes: vec![] }, "02 07"),
        ("TokenPlease", UpFrame::TokenPlease, "03"),
        ("Hello, capabilities 3", UpFrame::Hello(capabilities()), "20 03"),
        ("KeepAlive 70000", UpFrame::KeepAlive(70_000), "26 fc 70 11 01 00"),
    ];
    let kept = kept::up().into_iter();
    fixtures.extend(kept.map(|(name, frame, hex)| (name, UpFrame::Delivery(frame), hex)));
    let requests = requests::up_fixtures().into_iter();
    fixtures.extend(requests.map(|(name, frame, hex)| (name, UpFrame::Request(frame), hex)));
    fixtures
}

pub(crate) fn down() -> Vec<Fixture<DownFrame>> {
    let mut fixtures = vec![
        (
            "Welcome, server time 1767225600000, heartbeat 19, idle timeout 60, biggest frame 1048576",
            DownFrame::Welcome(welcome(None)),
            "10 fd 00 a8 da 76 9b 01 00 00 13 3c fc 00 00 10 00",
        ),
        (
            "Welcome, the same with capabilities 3, installation f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            DownFrame::Welcome(welcome(Some(DeliveryOffer {
                capabilities: capabilities(),
                installation: InstallationId(kept::counting_from(0xf0)),
            }))),
            "10 fd 00 a8 da 76 9b 01 00 00 13 3c fc 00 00 10 00 03 f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff",
        ),
        (
            "Message, sequence 0, int 1",
            DownFrame::Message { sequence: None, term: Term::Int(1) },
            "01 00 03 02",
        ),
        (
            "Raw, sequence 4294967296, byte 83",
            DownFrame::Raw { sequence: number(1 << 32), bytes: vec![0x83] },
            "02 fd 00 00 00 00 01 00 00 00 83",
        ),
        (
            r#"Token "v4.local.c2VhbGVk", expires at 1769644800"#,
            DownFrame::Token(IssuedToken { token: token(), expires_at: 1_769_644_800 }),
            "11 fc 00 a3 7a 69 11 76 34 2e 6c 6f 63 61 6c 2e 63 32 56 68 62 47 56 6b",
        ),
        ("Alive 0", DownFrame::Alive(0), "27 00"),
        ("Alive 70000", DownFrame::Alive(70_000), "27 fc 70 11 01 00"),
    ];
    let kept = kept::down().into_iter();
    fixtures.extend(kept.map(|(name, frame, hex)| (name, DownFrame::Delivery(frame), hex)));
    let requests = requests::down_fixtures().into_iter();
    fixtures.extend(requests.map(|(name, frame, hex)| (name, DownFrame::Request(frame), hex)));
    fixtures
}

fn capabilities() -> Capabilities {
    Capabilities::KEPT_MESSAGES.or(Capabilities::KEEP_ALIVE)
}

/// With the header's value, in base64, instead of the bytes.
pub(crate) fn headers() -> Vec<Fixture<AuthRequest>> {
    vec![
        (
            r#"credentials of "nerves-242a": username "marvin", pin 42"#,
            auth(Proof::Credentials(Credentials::new().with("username", "marvin").with("pin", 42))),
            "CgMFEWZlZGVja3MtZGV2aWNlLWlkBQtuZXJ2ZXMtMjQyYQUIdXNlcm5hbWUFBm1hcnZpbgUDcGluA1Q=",
        ),
        (
            r#"token of "nerves-242a": "v4.local.c2VhbGVk""#,
            auth(Proof::Token(token())),
            "CgIFEWZlZGVja3MtZGV2aWNlLWlkBQtuZXJ2ZXMtMjQyYQUNZmVkZWNrcy10b2tlbgURdjQubG9jYWwuYzJWaGJHVms=",
        ),
    ]
}

fn hello() -> Term {
    Term::Tuple(vec![Term::from("hello"), Term::from("matey")])
}

fn welcome(delivery: Option<DeliveryOffer>) -> Welcome {
    Welcome {
        server_time_ms: 1_767_225_600_000,
        heartbeat: Duration::from_secs(19),
        idle_timeout: Duration::from_secs(60),
        max_frame: 1_048_576,
        delivery,
    }
}

fn message(sequence: Option<Sequence>, term: Term) -> UpFrame {
    UpFrame::Message { sequence, term }
}

fn number(number: u64) -> Option<Sequence> {
    NonZeroU64::new(number).map(Sequence)
}

fn token() -> Token {
    Token::new("v4.local.c2VhbGVk").unwrap()
}

fn auth(proof: Proof) -> AuthRequest {
    AuthRequest { device_id: DeviceId::new("nerves-242a").unwrap(), proof }
}

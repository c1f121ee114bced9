//! A cloud whose name has several addresses, some of which lead nowhere, or are never learned.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use fedecks_cloud::DeviceId;
use fedecks_protocol::{CloseCode, CloseReason};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::namespace::Namespace;
use fedecks_testing::relay::{Behaviour, Direction, End, Filter, Relay};
use fedecks_testing::wait::is_root;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::fedecksd::{DEVICE, Setup};
use crate::support::name_server::{NameServer, Reply};
use crate::support::{By, Cloud, Recorder, Seen, cloud_at};

/// What `fedecks login` waits.
const LOGIN: Duration = Duration::from_secs(20);

/// The setup in a separate mount namespace, in which these files of /etc have this content.
fn with_files(setup: Setup, enter: &[String], files: &[(&str, &str)]) -> Setup {
    let mut script = String::from("set -e\n");
    for (name, content) in files {
        let file = setup.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        script += &format!("mount --bind {} /etc/{name}\n", file.display());
    }
    script += "exec \"$@\"";
    let words = enter.iter().map(String::as_str);
    let words: Vec<_> = words.chain(["unshare", "--mount", "sh", "-c", &script, "sh"]).collect();
    setup.by(&words)
}

/// A device whose cloud has these addresses, in this order.
fn named(port: u16, addresses: &[&str]) -> Setup {
    let hosts: String = addresses.iter().map(|it| format!("{it} cloud.test\n")).collect();
    let setup = Setup::new(format_args!("cloud.test:{port}")).with_credentials();
    with_files(setup, &[], &[("hosts", &hosts), ("nsswitch.conf", "hosts: files\n")])
}

/// How the address that is tried first fails after it has accepted a connection.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Silent,
    Closes,
    Answers(&'static str),
}

/// Accepts connections and fails them.
fn fail(listener: TcpListener, fault: Fault) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match fault {
                Fault::Silent => held.push(stream),
                Fault::Closes => drop(stream),
                Fault::Answers(answer) => {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        }
    })
}

async fn disconnect(cloud: &Cloud) {
    let bye = CloseReason::new(CloseCode::Normal);
    assert!(cloud.hub.disconnect(&DeviceId::new(DEVICE).unwrap(), bye).await.unwrap());
}

/// Connects in spite of an address with this fault. Returns what went wrong.
async fn connect_despite(fault: Fault) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut cloud = cloud_at(SocketAddr::from(([127, 0, 0, 3], port))).await;
    let failing = fail(listener, fault);
    let setup = named(port, &["127.0.0.2", "127.0.0.3"]);
    let mut service = setup.start();
    let connected = tokio::time::timeout(LOGIN, cloud.next()).await;
    if connected != Ok(Seen::Connected(By::Credentials)) {
        return Err(format!("{fault:?}: not connected in {LOGIN:?}"));
    }
    service.logs("used and removed").await;

    // From now on it is the address that is tried first.
    disconnect(&cloud).await;
    service.logs("connection lost").await;
    let start = Instant::now();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    let took = start.elapsed();
    failing.abort();
    if took < Duration::from_secs(2) { Ok(()) } else { Err(format!("{fault:?}: again {took:?}")) }
}

#[tokio::test]
async fn an_address_that_fails_after_tcp_goes_last() {
    if !is_root() {
        return;
    }
    let faults = [
        Fault::Silent,
        Fault::Closes,
        Fault::Answers("SSH-2.0-OpenSSH_9.2\r\n"),
        Fault::Answers("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
        Fault::Answers("HTTP/1.0 503 Service Unavailable\r\n\r\n"),
        Fault::Answers("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ];
    let results = join_all(faults.map(connect_despite)).await;
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A device and its cloud at two addresses, of which packets with data do not reach the one over IPv6.
#[tokio::test]
async fn a_silent_address_costs_a_login_over_tls_few_seconds() {
    let Some(near) = Namespace::new().await else { return };
    let Some(far) = Namespace::new().await else { return };
    let silent = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    let relay = Relay::start(
        7,
        End { namespace: &near, link: "near", addresses: &["10.9.0.1/24", "2001:db8::1/64"] },
        End { namespace: &far, link: "far", addresses: &["10.9.0.2/24", "2001:db8::2/64"] },
    )
    .await;
    relay.set(Direction::Up, Behaviour::swallowing(Filter::all().to(silent).tcp_data()));
    let certificate = Certificate::self_signed("cloud.test");
    let (_listener, mut cloud) = {
        let _inside = far.inside();
        let listener = TcpListener::bind((silent, 0)).await.unwrap();
        let address = SocketAddr::from(([10, 9, 0, 2], listener.local_addr().unwrap().port()));
        let options =
            CloudOptions { address, tls: Some(certificate.tls()), ..CloudOptions::default() };
        (listener, options.start(Recorder).await)
    };
    let setup = Setup::new("").with_credentials();
    let [ca_file, _] = certificate.write(setup.folder.path());
    let setup = setup
        .line("url", &format!("wss://cloud.test:{}", cloud.address.port()))
        .line("ca_file", ca_file.to_str().unwrap());
    let hosts = "2001:db8::2 cloud.test\n10.9.0.2 cloud.test\n";
    let files = [("hosts", hosts), ("nsswitch.conf", "hosts: files\n")];
    let setup = with_files(setup, &near.words(), &files);
    let mut service = setup.start();
    let connected = tokio::time::timeout(Duration::from_secs(10), cloud.next()).await;
    assert_eq!(connected, Ok(Seen::Connected(By::Credentials)), "not connected in 10 s");
    service.logs("used and removed").await;
    let swallowed = relay.counts(Direction::Up).swallowed;
    assert!(swallowed > 0);

    disconnect(&cloud).await;
    service.logs("connection lost").await;
    let start = Instant::now();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// Connects to the cloud of this name by its only address. Returns what went wrong.
async fn resolve(near: &Namespace, name: &str, mut cloud: Cloud) -> Result<(), String> {
    let setup = Setup::new(format_args!("{name}:{}", cloud.address.port())).with_credentials();
    let files =
        [("resolv.conf", "nameserver 127.0.0.1\n"), ("nsswitch.conf", "hosts: files dns\n")];
    let setup = with_files(setup, &near.words(), &files);
    let _service = setup.start();
    let connected = tokio::time::timeout(Duration::from_secs(5), cloud.next()).await;
    if connected != Ok(Seen::Connected(By::Credentials)) {
        return Err(format!("{name}: not connected in 5 s"));
    }
    Ok(())
}

#[tokio::test]
async fn the_addresses_that_are_there_do_not_wait_for_the_others() {
    let Some(near) = Namespace::new().await else { return };
    let v4 = Reply::Address(Ipv4Addr::LOCALHOST.into());
    let v6 = Reply::Address(Ipv6Addr::LOCALHOST.into());
    let names = [
        ("silent-aaaa.test", [v4, Reply::Silence]),
        ("silent-a.test", [Reply::Silence, v6]),
        ("failing-aaaa.test", [v4, Reply::Code(2)]),
        ("failing-a.test", [Reply::Code(2), v6]),
        ("missing-aaaa.test", [v4, Reply::Code(3)]),
        ("refused-aaaa.test", [v4, Reply::Code(5)]),
        ("no-aaaa.test", [v4, Reply::Code(0)]),
        ("no-a.test", [Reply::Code(0), v6]),
    ];
    let _name_server = {
        let _inside = near.inside();
        NameServer::start(HashMap::from(names))
    };
    let mut clouds = Vec::new();
    for (_, [v4, _]) in names {
        let _inside = near.inside();
        let is_v4 = matches!(v4, Reply::Address(_));
        let loopback: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        clouds.push(cloud_at((loopback[usize::from(is_v4)], 0).into()).await);
    }
    let names = names.into_iter().zip(clouds);
    let results = join_all(names.map(|((name, _), cloud)| resolve(&near, name, cloud))).await;
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

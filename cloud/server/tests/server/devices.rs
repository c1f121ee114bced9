//! The ready-made server and devices, without anybody else.

use fedecks_device::Event;

use crate::support::Server;

#[tokio::test]
async fn a_device_logs_in_with_an_account_and_comes_back_by_its_token_after_a_restart() {
    let mut server = Server::start().await;
    let mut device = server.connected_device("nerves-1").await;

    server.kill().await;
    device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    server.start_again().await;
    device.until(|event| *event == Event::Connected).await;
}

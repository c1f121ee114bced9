use fedecks_device::{Client, Credentials, DeviceId, Event};
use std::{env, error::Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).ok_or("usage: device URL")?.parse()?;
    let builder = Client::builder(url, DeviceId::new("kitchen-1")?);
    let (client, mut events) = builder.data_dir("device-data").start().await?;
    while let Some(event) = events.next().await {
        match event {
            Event::Unregistered => _ = client.login(credentials()).await?,
            Event::Connected => client.send(&("temperature", 21.5)).await?,
            Event::Message(message) => println!("{}", message.parse::<String>()?),
            event => println!("{event}"),
        }
    }
    Ok(())
}

fn credentials() -> Credentials {
    Credentials::new()
        .with("username", "marvin")
        .with("password", "forty-two-towels")
}

use fedecks_cloud::store::SqliteStore;
use fedecks_cloud::{Decision, Fedecks, Handler, Keyring, Listen, Login, Outcome, Session, Term};
use std::{env, error::Error, future::pending, sync::Arc};

struct Greeter;

impl Handler for Greeter {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        Decision::accept_if(login.credentials.text("password") == Some("forty-two-towels"))
    }
    async fn on_message(&self, session: &Session, message: Term) -> Outcome {
        println!("{} says {message:?}", session.device());
        Outcome::send(&"hello")
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keyring = Keyring::new(&env::var("FEDECKS_SECRET")?, &env::var("FEDECKS_SALT")?)?;
    let store = Arc::new(SqliteStore::open("fedecks.sqlite")?);
    let cloud = Fedecks::builder(Greeter, keyring, store).build().await?;
    let listen = Listen::plain(env::args().nth(1).ok_or("usage: cloud ADDRESS")?.parse()?);
    let _server = fedecks_cloud::serve(cloud.routes(), listen)?;
    pending().await
}

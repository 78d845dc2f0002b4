//! The simulated network for clients.

use castmq_client::raw::{Dial, Dialing, Stream};
use turmoil::net::TcpStream;

/// See the module.
#[derive(Debug)]
pub struct Simulated;

impl Dial for Simulated {
    fn dial(&self, address: &str) -> Dialing {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

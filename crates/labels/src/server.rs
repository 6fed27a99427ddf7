//! The web page on which people judge: a single file from this program, which asks for nothing else.
//!
//! Every call carries `Authorization: Bearer <token>`, so that no other page can make it in a person's name. People have
//! tokens of their own, in the part of the link after `#`, which browsers do not send. On a loopback address the page
//! also works without: it then carries a key of this process, which pages of other origins cannot read.

mod api;
mod page;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::store::{Annotator, Store};

/// Where the page is, and who may use it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Host and port to listen at; port 0 takes a free one.
    pub address: String,
    /// The name of who sits at this machine, and needs no token on a loopback address.
    pub person: String,
    /// Ask for a token on a loopback address too, as behind a proxy, or on a machine that several people use.
    pub require_token: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { address: "127.0.0.1:7878".to_string(), person: "me".to_string(), require_token: false }
    }
}

/// The page, ready to be served.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
}

/// What calls share.
struct State {
    store: Mutex<Store>,
    local: Option<Local>,
}

/// Who sits at this machine.
struct Local {
    key: String,
    person: Annotator,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is taken or no address, or when nobody could enter: a token is needed, and nobody has one.
    pub fn bind(mut store: Store, options: &Options) -> Result<Self> {
        let refused = |reason: String| Error::Address { address: options.address.clone(), reason };
        let mut addresses = options
            .address
            .to_socket_addrs()
            .map_err(|error| refused(format!("is no address ({error}); it should be like 127.0.0.1:7878")))?;
        let address =
            addresses.next().ok_or_else(|| refused("is no address; it should be like 127.0.0.1:7878".to_string()))?;
        let local = if address.ip().is_loopback() && !options.require_token {
            let mut person = store.annotator(&options.person)?;
            person.is_admin = true;
            Some(Local { key: crate::store::new_token(), person })
        } else if store.has_holders()? {
            None
        } else {
            return Err(refused("needs a token of everybody, and nobody has one yet; invite somebody".to_string()));
        };
        let listener =
            TcpListener::bind(address).map_err(|error| refused(format!("{error}; another --address may be free")))?;
        let address = listener.local_addr().map_err(|error| refused(error.to_string()))?;
        Ok(Self { listener, address, state: Arc::new(State { store: Mutex::new(store), local }) })
    }

    /// Where it listens, with the port that it took.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether whoever opens the page on this machine needs no token.
    pub fn is_open_here(&self) -> bool {
        self.state.local.is_some()
    }

    /// Serves until the process ends. Every label is on the disk before it is acknowledged, so it may end at any time.
    pub fn run(self) -> Result<()> {
        let refused =
            |error: std::io::Error| Error::Address { address: self.address.to_string(), reason: error.to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(refused)?;
        self.listener.set_nonblocking(true).map_err(refused)?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener).map_err(refused)?;
            axum::serve(listener, api::routes(self.state)).await.map_err(refused)
        })
    }
}

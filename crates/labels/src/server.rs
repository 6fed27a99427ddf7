//! The web page for annotators: a single file served by this program, without external resources.
//!
//! Every call carries `Authorization: Bearer <token>`, so that no other page can make it on an annotator's behalf. Each
//! annotator has a token, in the part of the link after `#`, which browsers do not send. On a loopback address the page
//! also works without a token: it then carries a key of this process, which pages of other origins cannot read.

mod api;
mod connections;
mod page;
mod writer;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::label::{SCALE, check_criteria};
use crate::render::html;
use crate::store::{Annotator, Store};
use connections::{Limits, serve};
use writer::Writer;

/// Address of the page, and access to it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Host and port to listen at; port 0 takes a free one.
    pub address: String,
    /// Name of the local annotator, who needs no token on a loopback address.
    pub person: String,
    /// True if a token is required on a loopback address too, for example behind a proxy or on a machine that several
    /// people use.
    pub require_token: bool,
    /// Guidelines for annotators, in Markdown; the page shows them in a panel.
    pub guidelines: Option<String>,
    /// Criteria by which each answer is rated, besides the overall rating.
    pub criteria: Vec<String>,
    /// True if annotators say whether the better of two answers is slightly or much better.
    pub strength: bool,
    /// Language of prompts and answers as a tag of BCP 47, such as `en` or `pt-BR`, for screen readers and hyphenation.
    pub language: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:7878".to_string(),
            person: "me".to_string(),
            require_token: false,
            guidelines: None,
            criteria: Vec::new(),
            strength: false,
            language: None,
        }
    }
}

/// The page server, bound to its address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
}

/// An address that is bound, before anything is changed in a store. Who connects waits until it is served.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
}

/// State shared by all calls.
struct State {
    /// Path of the store, which is read beside the writer for what takes long.
    file: PathBuf,
    writer: Writer,
    local: Option<Local>,
    setup: Setup,
    limits: Limits,
}

/// Questions to annotators, the same for all items.
#[derive(Serialize)]
struct Setup {
    /// Maximum rating.
    scale: u8,
    /// The guidelines as HTML.
    guidelines: Option<String>,
    criteria: Vec<String>,
    strength: bool,
    /// Language of prompts and answers; empty if it is not known.
    language: String,
}

/// The annotator on this machine.
struct Local {
    key: String,
    person: Annotator,
}

impl Bound {
    /// Binds the address.
    ///
    /// # Errors
    /// An address that is invalid or in use, criteria that no label may have, a language that is no tag.
    pub fn new(options: &Options) -> Result<Self> {
        options.check()?;
        let refused = |reason: String| options.refused(reason);
        let mut addresses = options
            .address
            .to_socket_addrs()
            .map_err(|error| refused(format!("is no address ({error}); it should be like 127.0.0.1:7878")))?;
        let address =
            addresses.next().ok_or_else(|| refused("is no address; it should be like 127.0.0.1:7878".to_string()))?;
        let listener =
            TcpListener::bind(address).map_err(|error| refused(format!("{error}; another --address may be free")))?;
        let address = listener.local_addr().map_err(|error| refused(error.to_string()))?;
        Ok(Self { listener, address, options: options.clone() })
    }

    /// Server of a store at the address.
    ///
    /// # Errors
    /// A server that nobody could use: tokens are required, and nobody has one.
    pub fn of_store(self, mut store: Store) -> Result<Server> {
        let Self { listener, address, options } = self;
        let local = if address.ip().is_loopback() && !options.require_token {
            let mut person = store.annotator(&options.person)?;
            person.is_admin = true;
            Some(Local { key: crate::store::new_token(), person })
        } else if store.has_holders()? {
            None
        } else {
            let reason = "needs a token of everybody, and nobody has one yet; invite somebody";
            return Err(options.refused(reason.to_string()));
        };
        let setup = Setup {
            scale: SCALE,
            guidelines: options.guidelines.as_deref().map(html),
            criteria: options.criteria,
            strength: options.strength,
            language: options.language.unwrap_or_default(),
        };
        let (file, limits) = (store.file().to_owned(), Limits::default());
        let state = State { file, writer: Writer::start(store), local, setup, limits };
        Ok(Server { listener, address, state: Arc::new(state) })
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let Self { criteria, language, .. } = self;
        check_criteria(criteria)?;
        let is_tag = |tag: &&String| {
            let parts: Vec<&str> = tag.split('-').collect();
            (2..=3).contains(&parts[0].len())
                && parts
                    .iter()
                    .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        match language.as_ref().filter(|tag| !is_tag(tag)) {
            Some(tag) => Err(Error::label("language", format!("{tag:?} where a tag such as en or pt-BR should be"))),
            None => Ok(()),
        }
    }

    fn refused(&self, reason: String) -> Error {
        Error::Address { address: self.address.clone(), reason }
    }
}

impl Server {
    /// Binds the address for a store.
    ///
    /// # Errors
    /// As [`Bound::new`] and [`Bound::of_store`].
    pub fn bind(store: Store, options: &Options) -> Result<Self> {
        Bound::new(options)?.of_store(store)
    }

    /// Address that the server listens on, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True if the page needs no token on this machine.
    pub fn is_open_here(&self) -> bool {
        self.state.local.is_some()
    }

    /// Serves until the process ends. Every label is on the disk before it is acknowledged, so the process may be
    /// stopped at any time.
    pub fn run(self) -> Result<()> {
        let Self { listener, address, state } = self;
        let limits = state.limits;
        serve(listener, api::routes(state), limits)
            .map_err(|error| Error::Address { address: address.to_string(), reason: error.to_string() })
    }
}

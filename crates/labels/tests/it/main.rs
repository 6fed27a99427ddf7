//! End-to-end tests of the page: over HTTP, through a kill, in a browser.

mod browser;
mod http;
mod kill;
mod served;

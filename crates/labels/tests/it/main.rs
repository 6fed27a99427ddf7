//! The page as people and programs meet it: over HTTP, through a kill, in a browser.

mod browser;
mod http;
mod kill;
mod served;

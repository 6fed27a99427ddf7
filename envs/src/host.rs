//! Hosts of environments that are played outside of this program: processes and servers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::{Build, Env, Options, Result};

/// Returns the function that builds environments with a host. Environments with the same options share theirs as long as one
/// of them is alive.
pub(crate) fn builder<Host: Send + Sync + 'static>(
    start: fn(&Options) -> Result<Host>,
    env: fn(Arc<Host>) -> Box<dyn Env>,
) -> Build {
    let shared: Mutex<BTreeMap<String, Weak<Host>>> = Mutex::default();
    Arc::new(move |options: &Options| {
        let key = options.table().to_string();
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let host = match shared.get(&key).and_then(Weak::upgrade) {
            Some(host) => host,
            None => Arc::new(start(options)?),
        };
        shared.insert(key, Arc::downgrade(&host));
        Ok(env(host))
    })
}

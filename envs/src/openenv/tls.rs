//! TLS to a server, by rustls.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Settings of TLS: the authorities that a server is trusted by.
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the authorities that Mozilla trusts.
    pub fn of_well_known() -> Result<Self, String> {
        Self::trusting(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()))
    }

    /// Trusts the authorities in a file of PEM. The error says what is wrong with the file.
    pub fn of_file(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let wrong = |reason: String| format!("{shown}: {reason}; it must be a file of certificates in PEM");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("it has no certificate".to_string()));
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Wraps a connection to a host. The first reading or writing agrees on the keys.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn wrap<S: Read + Write>(&self, host: &str, stream: S) -> io::Result<StreamOwned<ClientConnection, S>> {
        let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(client, stream))
    }
}

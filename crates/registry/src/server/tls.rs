//! TLS of the server: certificates and keys from files, read again when they change.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::watched::{Watched, in_file, read_text};
use crate::{Error, ErrorKind, Result};

/// Files that TLS is made of, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificate, and those that lead from it to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots; a client must show a certificate that leads to one of them.
    pub client_ca: Option<PathBuf>,
}

/// How TLS is spoken.
#[derive(Debug)]
pub(super) struct Tls {
    config: Watched<Arc<ServerConfig>>,
}

impl Tls {
    pub(super) fn new(options: &TlsOptions) -> Result<Self> {
        let files = [&options.certificate, &options.key].into_iter().chain(&options.client_ca).cloned().collect();
        let options = options.clone();
        Ok(Self { config: Watched::new(files, move || config(&options).map(Arc::new))? })
    }

    /// Reads the files again if they changed, or `always`; what is broken leaves the old in force.
    pub(super) fn refresh(&self, always: bool) -> Result<bool> {
        self.config.refresh(always)
    }

    /// For one connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from((*self.config.get()).clone())
    }
}

fn config(options: &TlsOptions) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Io, "failed to set up TLS").with_source(error))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let what = "the roots of client certificates";
            let mut roots = RootCertStore::empty();
            for root in certificates(what, file)? {
                roots.add(root).map_err(|error| in_file(what, file, &invalid(error.to_string())))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| in_file(what, file, &invalid(error.to_string())))?)
        }
    };
    let what = "the certificate";
    let chain = certificates(what, &options.certificate)?;
    let mut config = builder.with_single_cert(chain, key(&options.key)?).map_err(|error| {
        let error = match error {
            rustls::Error::InconsistentKeys(_) => {
                invalid(format!("`{}` is the key of another certificate", options.key.display()))
            }
            error => invalid(error.to_string()),
        };
        in_file(what, &options.certificate, &error)
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &str, file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read_text(what, file)?;
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| in_file(what, file, &invalid(format!("broken PEM: {error}"))))?;
    if found.is_empty() {
        return Err(in_file(what, file, &invalid("it holds no `CERTIFICATE` in PEM")));
    }
    Ok(found)
}

fn key(file: &std::path::Path) -> Result<PrivateKeyDer<'static>> {
    let what = "the private key";
    let text = read_text(what, file)?;
    // What the error says of a broken file is no secret: it names lines and kinds.
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let hint = "an encrypted key is made readable by `openssl pkey -in FILE`";
        let error = match error {
            rustls::pki_types::pem::Error::NoItemsFound => invalid("it holds no `PRIVATE KEY` in PEM").with_hint(hint),
            error => invalid(format!("broken PEM: {error}")),
        };
        in_file(what, file, &error)
    })
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

//! The HTTP clients underneath, built when first needed: roots of trust are read only when something is asked by TLS.
//! Knows nothing of registries, and never follows a redirect.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::OnceCell;
use url::Url;

use crate::{Error, ErrorKind, Result};

/// This machine is reached directly whatever is set, as in docker and every other Go program.
const NEVER_BY_PROXY: &str = "localhost,127.0.0.0/8,::1";

/// Proxies by the scheme of the request, in the words of the usual environment variables. Read by the caller.
#[derive(Clone, Default)]
pub struct Proxies {
    /// Proxy for plain HTTP.
    pub http: Option<String>,
    /// Proxy for TLS.
    pub https: Option<String>,
    /// Comma-separated hosts, domains and networks that are reached directly.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for Proxies {
    /// Proxy URLs may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// How TLS is spoken with one host. Prints no key.
#[derive(Clone, Default)]
pub struct HostTls {
    /// Roots of trust for this host, beside the others, as PEM.
    pub roots: Option<String>,
    /// Certificate chain and private key shown to this host, as PEM.
    pub identity: Option<(String, String)>,
    /// Take any certificate: whoever sits between can read and change everything but what a digest names.
    pub skip_verify: bool,
}

impl fmt::Debug for HostTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTls")
            .field("roots", &self.roots.is_some())
            .field("identity", &self.identity.is_some())
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}

/// What the clients are built from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) user_agent: String,
    pub(crate) proxies: Proxies,
    pub(crate) connect_timeout: Duration,
    pub(crate) extra_roots: Option<String>,
    /// By host and port, as in a URL.
    pub(crate) tls: BTreeMap<String, HostTls>,
}

/// One client for plain HTTP, one for TLS, and one for each host with settings of its own.
#[derive(Debug)]
pub(crate) struct Http {
    settings: Settings,
    plain: OnceCell<reqwest::Client>,
    secure: OnceCell<reqwest::Client>,
    own: BTreeMap<String, OnceCell<reqwest::Client>>,
}

impl Http {
    pub(crate) fn new(settings: Settings) -> Self {
        let own = settings.tls.keys().map(|host| (host.clone(), OnceCell::new())).collect();
        Self { settings, plain: OnceCell::new(), secure: OnceCell::new(), own }
    }

    /// The client for TLS, which speaks plain HTTP as well.
    pub(crate) async fn secure(&self) -> Result<&reqwest::Client> {
        self.secure.get_or_try_init(|| build(self.settings.clone(), Some(HostTls::default()))).await
    }

    /// The client for `url`.
    pub(crate) async fn client(&self, url: &Url) -> Result<&reqwest::Client> {
        let host = url.host_str().unwrap_or_default();
        let named = [Some(authority(host, url.port())), Some(authority(host, url.port_or_known_default()))];
        let own = named.into_iter().flatten().find_map(|name| self.own.get_key_value(&name));
        if let Some((name, cell)) = own.filter(|_| url.scheme() == "https") {
            let tls = self.settings.tls.get(name).cloned().unwrap_or_default();
            return cell.get_or_try_init(|| build(self.settings.clone(), Some(tls))).await;
        }
        // A plain request through a TLS proxy needs roots as well.
        let secure_proxy = self.settings.proxies.http.as_ref().is_some_and(|proxy| proxy.starts_with("https:"));
        if url.scheme() == "https" || secure_proxy {
            self.secure().await
        } else {
            self.plain.get_or_try_init(|| build(self.settings.clone(), None)).await
        }
    }
}

/// As URLs have it.
fn authority(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn build(settings: Settings, host: Option<HostTls>) -> Result<reqwest::Client> {
    let roots = match &host {
        Some(host) => {
            // Reads the host's files: off the reactor.
            let extra = [settings.extra_roots.clone(), host.roots.clone()];
            let read = tokio::task::spawn_blocking(move || roots(&extra)).await;
            read.map_err(|e| failed("read the roots of trust", e))??
        }
        None => RootCertStore::empty(),
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(roots, &host.unwrap_or_default())?)
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(&settings.user_agent)
        // No read timeout: reqwest's also runs while a large body is still being sent. Callers watch progress.
        .connect_timeout(settings.connect_timeout);
    for proxy in proxies(&settings.proxies)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|e| failed("set up the HTTP client", e))
}

fn tls(roots: RootCertStore, host: &HostTls) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| failed("set up TLS", e))?;
    let config = match host.skip_verify {
        true => config.dangerous().with_custom_certificate_verifier(Arc::new(Careless(provider))),
        false => config.with_root_certificates(roots),
    };
    let mut config = match &host.identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|e| failed("read the client's certificate", e))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| failed("read the client's key", e))?;
            config.with_client_auth_cert(chain, key).map_err(|e| failed("use the client's certificate", e))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes every certificate, where the user asked for that; the handshake itself is still checked.
#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The host's roots; Mozilla's where the host has none, as in a scratch image; and those given by the caller.
fn roots(extra: &[Option<String>]) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for text in extra.iter().flatten() {
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|e| failed("read the extra roots of trust", e))?;
            store.add(certificate).map_err(|e| failed("use an extra root of trust", e))?;
        }
    }
    Ok(store)
}

fn proxies(given: &Proxies) -> Result<Vec<reqwest::Proxy>> {
    let except = given.no_proxy.as_deref().unwrap_or_default().split(',').map(without_port);
    let except = except.chain([NEVER_BY_PROXY]).collect::<Vec<_>>().join(",");
    let except = reqwest::NoProxy::from_string(&except);
    let mut out = Vec::new();
    if let Some(url) = given.http.as_deref().filter(|url| !url.is_empty()) {
        out.push(reqwest::Proxy::http(url).map_err(bad_proxy)?.no_proxy(except.clone()));
    }
    if let Some(url) = given.https.as_deref().filter(|url| !url.is_empty()) {
        out.push(reqwest::Proxy::https(url).map_err(bad_proxy)?.no_proxy(except));
    }
    Ok(out)
}

/// A host that is reached directly on one port is so on all: what compares them here knows hosts and networks only.
fn without_port(host: &str) -> &str {
    let host = host.trim();
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Without its cause, which would print the URL and the password in it.
fn bad_proxy(_: reqwest::Error) -> Error {
    Error::new(ErrorKind::Invalid, "the proxy address is not a URL")
}

fn failed(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, format!("failed to {what}")).with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(proxies: Proxies) -> Settings {
        let second = Duration::from_secs(1);
        Settings {
            user_agent: "test".into(),
            proxies,
            connect_timeout: second,
            extra_roots: None,
            tls: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn plain_requests_build_no_secure_client() {
        let http = Http::new(settings(Proxies::default()));
        http.client(&Url::parse("http://127.0.0.1/").unwrap()).await.unwrap();
        assert!(http.plain.initialized() && !http.secure.initialized());
        http.client(&Url::parse("https://127.0.0.1/").unwrap()).await.unwrap();
        assert!(http.secure.initialized());
    }

    #[tokio::test]
    async fn bad_proxies_are_refused_without_their_password() {
        let proxies = Proxies { http: Some("http://user:secret-x@[bad".into()), ..Proxies::default() };
        let http = Http::new(settings(proxies));
        let error = http.client(&Url::parse("http://127.0.0.1/").unwrap()).await.unwrap_err();
        assert!(!format!("{error:?} {http:?}").contains("secret-x"));
    }
}

//! The two ends of a connection, which go with each request that comes by it.

use std::net::{Ipv4Addr, SocketAddr};

use hyper::Request;

use super::buckets::Client;

/// Who is at the other end, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The client's address.
    pub(super) address: SocketAddr,
    /// This server's.
    pub(super) server: SocketAddr,
    /// By TLS.
    pub(super) secure: bool,
}

impl Peer {
    /// Where a request came from.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let nobody = Self { address: nowhere, server: nowhere, secure: false };
        request.extensions().get().copied().unwrap_or(nobody)
    }

    /// Whom limits and delays are for.
    pub(super) fn client(&self) -> Client {
        self.address.ip().into()
    }
}

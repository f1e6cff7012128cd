//! Tokens: this server's own service, which sells them for a password or a refresh token (distribution's "Token
//! Authentication Specification" and "OAuth2 Token Authentication"), or the keys of somebody else's.

use std::fmt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use hyper::body::Incoming;
use hyper::header::CACHE_CONTROL;
use hyper::{Method, Request};
use url::form_urlencoded;

use super::grants::{self, Access};
use super::jwt::{self, Claims, Expected, Key, Signer, Use};
use super::logins::Logins;
use super::rules::{Rules, Subject};
use super::{Authorization, basic_challenge, failure, keys, secret_id, wrong_login};
use crate::client::Clock;
use crate::server::answer::{Answer, Refusal, body, header, with_body};
use crate::server::peer::Peer;
use crate::server::watched::{self, Watched};
use crate::{Error, ErrorKind, Result};

/// Seconds a token is valid: what docker's clients expect, and how long a grant may outlive its reason at another server.
const ACCESS_SECS: u64 = 300;
/// A refresh token is valid for 90 days, and no longer than the password it was had for.
const REFRESH_SECS: u64 = 90 * 86_400;
/// A form is a few hundred bytes; its refresh token has the most.
const FORM_MAX: usize = 64 * 1024;

/// Who makes the tokens.
#[derive(Clone, Debug)]
pub enum TokenIssuer {
    /// This server, at `/token`, signing with a private key of Ed25519 (PEM of PKCS#8).
    Own {
        /// The key; nothing makes one that lasts as long as the process.
        key: Option<PathBuf>,
    },
    /// Another, known by its name and its public keys (PEM, or a JWK Set).
    Outside {
        /// The `iss` of its tokens.
        issuer: String,
        /// Its keys.
        keys: PathBuf,
    },
}

/// Authentication by tokens.
#[derive(Clone, Debug)]
pub struct TokenOptions {
    /// Name of this registry in the tokens (`aud`).
    pub service: String,
    /// Where clients get tokens. Without: `/token` of this server, under the name the client calls it by.
    pub realm: Option<String>,
    /// Who makes them.
    pub issuer: TokenIssuer,
}

/// What tokens are made and checked with.
pub(super) struct Tokens {
    service: String,
    realm: Option<String>,
    issuer: String,
    keys: Watched<Vec<Key>>,
    signer: Option<Signer>,
    clock: Clock,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("service", &self.service).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(options: &TokenOptions, clock: Clock) -> Result<Self> {
        let (issuer, keys, signer) = match &options.issuer {
            TokenIssuer::Own { key } => {
                let signer = own_key(key.as_deref())?;
                (options.service.clone(), Watched::fixed(vec![signer.key()?]), Some(signer))
            }
            TokenIssuer::Outside { issuer, keys } => {
                let path = keys.clone();
                let read = move || {
                    let what = "the keys of the token issuer";
                    keys::public_keys(&watched::read_text(what, &path)?)
                        .map_err(|error| watched::in_file(what, &path, &error))
                };
                (issuer.clone(), Watched::new(vec![keys.clone()], read)?, None)
            }
        };
        let (service, realm) = (options.service.clone(), options.realm.clone());
        for name in [&service].into_iter().chain(&realm) {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                return Err(Error::new(ErrorKind::Invalid, format!("`{name}` cannot be written in a challenge")));
            }
        }
        Ok(Self { service, realm, issuer, keys, signer, clock })
    }

    /// Whether this server makes the tokens.
    pub(super) fn are_own(&self) -> bool {
        self.signer.is_some()
    }

    /// Reads the keys of an outside issuer again if they changed, or `always`.
    pub(super) fn refresh(&self, always: bool) -> Result<bool> {
        self.keys.refresh(always)
    }

    fn now(&self) -> u64 {
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn verify(&self, token: &str, purpose: Use) -> Result<Claims, &'static str> {
        let expected = Expected { issuer: &self.issuer, audience: &self.service, purpose, now: self.now() };
        jwt::verify(token, &self.keys.get(), &expected)
    }

    /// Whose the token is and what it grants. A user that is gone has no tokens.
    pub(super) fn redeem(&self, token: &str, logins: Option<&Logins>) -> Result<(Subject, Vec<Access>), &'static str> {
        let claims = self.verify(token, Use::Access)?;
        if claims.sub.is_empty() {
            return Ok((Subject::Anonymous, claims.access));
        }
        if self.are_own() && !logins.is_some_and(|logins| logins.know(&claims.sub)) {
            return Err("its user is gone");
        }
        Ok((Subject::User(claims.sub), claims.access))
    }

    /// What asks for a token (RFC 6750, section 3), with the scope that the request needs.
    pub(super) fn challenge(&self, peer: &Peer, host: &str, scope: Option<&str>, error: Option<&str>) -> String {
        let own = || format!("{}://{host}{}", if peer.secure { "https" } else { "http" }, super::TOKEN_PATH);
        let realm = self.realm.clone().unwrap_or_else(own);
        let mut out = format!("Bearer realm=\"{realm}\",service=\"{}\"", self.service);
        for (name, value) in [("scope", scope), ("error", error)] {
            if let Some(value) = value {
                out.push_str(&format!(",{name}=\"{value}\""));
            }
        }
        out
    }

    /// Answers a request for a token.
    pub(super) async fn sell(
        &self,
        request: Request<Incoming>,
        logins: Option<&Logins>,
        rules: &Rules,
    ) -> Result<Answer, Refusal> {
        let Some(signer) = &self.signer else { return Err(Refusal::new(404, "UNSUPPORTED", "no such endpoint")) };
        let (order, who) = match *request.method() {
            Method::GET => self.order_by_query(&request, logins).await?,
            Method::POST => self.order_by_form(request, logins).await?,
            _ => return Err(Refusal::method()),
        };
        if order.service.as_ref().is_some_and(|service| *service != self.service) {
            return Err(Refusal::new(400, "UNSUPPORTED", "tokens are sold for this registry only"));
        }
        let granted = grants::grant(rules, &who, &order.scopes);
        // Nobody in particular, who gets nothing: better told to log in than sent around with an empty token.
        if who == Subject::Anonymous && (granted.is_empty() && !order.scopes.is_empty() || !rules.know(&who)) {
            return Err(wrong_login().with_header(hyper::header::WWW_AUTHENTICATE, basic_challenge()));
        }
        self.receipt(signer, &order, &who, granted, logins)
    }

    /// GET: Basic, or nobody in particular.
    async fn order_by_query(
        &self,
        request: &Request<Incoming>,
        logins: Option<&Logins>,
    ) -> Result<(Order, Subject), Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let order = Order::of(query);
        let login = match Authorization::of(request).ok_or_else(wrong_login)? {
            Authorization::None => return Ok((order, Subject::Anonymous)),
            Authorization::Basic { user, password } => (user, password),
            Authorization::Bearer(_) => return Err(wrong_login()),
        };
        let account = form_value(query, "account").filter(|account| !account.is_empty());
        if account.is_some_and(|account| account != login.0) {
            return Err(wrong_login());
        }
        let who = log_in(request, logins, &login.0, &login.1).await?;
        Ok((order, who))
    }

    /// POST: a password or a refresh token in a form.
    async fn order_by_form(
        &self,
        request: Request<Incoming>,
        logins: Option<&Logins>,
    ) -> Result<(Order, Subject), Refusal> {
        let (parts, incoming) = request.into_parts();
        let form = body(Request::from_parts(parts.clone(), incoming), FORM_MAX).await?;
        let text = String::from_utf8_lossy(&form);
        let mut order = Order::of(&text);
        order.refresh = form_value(&text, "access_type").as_deref() == Some("offline");
        let value = |name: &str| form_value(&text, name).unwrap_or_default();
        let who = match value("grant_type").as_str() {
            "password" => {
                let request = Request::from_parts(parts, ());
                log_in(&request, logins, &value("username"), &value("password")).await?
            }
            "refresh_token" => {
                let token = value("refresh_token");
                let who = self.refreshed(&token, logins).ok_or_else(wrong_login)?;
                order.same = Some(token);
                who
            }
            _ => return Err(Refusal::new(400, "UNSUPPORTED", "the grant type is none of password and refresh_token")),
        };
        Ok((order, who))
    }

    /// Whose refresh token it is, if it is one, and of the password that is in force.
    fn refreshed(&self, token: &str, logins: Option<&Logins>) -> Option<Subject> {
        let claims = self.verify(token, Use::Refresh).ok()?;
        let password = logins?.fingerprint(&claims.sub)?;
        (claims.password == password).then_some(Subject::User(claims.sub))
    }

    fn receipt(
        &self,
        signer: &Signer,
        order: &Order,
        who: &Subject,
        granted: Vec<Access>,
        logins: Option<&Logins>,
    ) -> Result<Answer, Refusal> {
        let now = self.now();
        let claims = |secs: u64| -> Result<Claims, Refusal> {
            Ok(Claims {
                iss: self.issuer.clone(),
                sub: who.name().unwrap_or_default().to_owned(),
                aud: jwt::Audience::One(self.service.clone()),
                exp: now + secs,
                nbf: now,
                iat: now,
                jti: secret_id().ok_or_else(|| Refusal::internal("no random numbers"))?,
                ..Claims::default()
            })
        };
        let scope: Vec<_> = granted.iter().map(ToString::to_string).collect();
        let token = signer.sign(&Claims { access: granted, ..claims(ACCESS_SECS)? }, Use::Access);
        let mut answer = serde_json::json!({
            "token": token,
            "access_token": token,
            "expires_in": ACCESS_SECS,
            "issued_at": rfc3339(now),
            "scope": scope.join(" "),
        });
        let password = who.name().and_then(|user| logins?.fingerprint(user));
        let refresh = match (&order.same, password) {
            (Some(same), _) => Some(same.clone()),
            (None, Some(password)) if order.refresh => {
                Some(signer.sign(&Claims { password, ..claims(REFRESH_SECS)? }, Use::Refresh))
            }
            _ => None,
        };
        if let Some(refresh) = refresh {
            answer["refresh_token"] = refresh.into();
        }
        let answer = with_body(200, "application/json", answer.to_string().into());
        Ok(header(answer, CACHE_CONTROL, "no-store"))
    }
}

/// What is asked for.
#[derive(Debug, Default)]
struct Order {
    service: Option<String>,
    scopes: Vec<Access>,
    /// Whether a refresh token is wanted beside.
    refresh: bool,
    /// The refresh token that pays, which stays valid.
    same: Option<String>,
}

impl Order {
    fn of(form: &str) -> Self {
        let texts: Vec<_> =
            form_urlencoded::parse(form.as_bytes()).filter(|(key, _)| key == "scope").map(|(_, value)| value).collect();
        Self {
            service: form_value(form, "service").filter(|service| !service.is_empty()),
            scopes: grants::scopes(texts.iter().map(AsRef::as_ref)),
            refresh: form_value(form, "offline_token").as_deref() == Some("true"),
            same: None,
        }
    }
}

fn form_value(form: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(form.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

async fn log_in<B>(
    request: &Request<B>,
    logins: Option<&Logins>,
    user: &str,
    password: &str,
) -> Result<Subject, Refusal> {
    let logins = logins.ok_or_else(wrong_login)?;
    let client = Peer::of(request).client();
    logins.check(user, password, client).await.map_err(failure)?;
    Ok(Subject::User(user.to_owned()))
}

fn own_key(path: Option<&std::path::Path>) -> Result<Signer> {
    let what = "the key that signs tokens";
    match path {
        Some(path) => {
            keys::signer(&watched::read_text(what, path)?).map_err(|error| watched::in_file(what, path, &error))
        }
        None => keys::signer(&keys::new_signing_key()?),
    }
}

fn rfc3339(secs: u64) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let secs = i64::try_from(secs).unwrap_or_default();
    let date = OffsetDateTime::from_unix_timestamp(secs).ok().and_then(|date| date.format(&Rfc3339).ok());
    date.unwrap_or_default()
}

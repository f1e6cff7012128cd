//! Who asks, and what they may do: users with passwords, tokens, and rules. What is not allowed is refused, in the words
//! that make a client log in where that helps. Knows nothing of what the registry holds.

mod grants;
mod jwt;
mod keys;
mod logins;
mod passwords;
mod rules;
mod tokens;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, RETRY_AFTER, WWW_AUTHENTICATE};

use self::grants::Access;
pub use self::keys::new_signing_key;
use self::logins::{Failure, Logins};
use self::passwords::Passwords;
pub(super) use self::rules::Patterns;
use self::rules::Subject;
pub use self::rules::{Rule, Rules};
use self::tokens::Tokens;
pub use self::tokens::{TokenIssuer, TokenOptions};
use super::answer::{Answer, Refusal};
use super::page;
use super::peer::Peer;
use super::route::{Action, Route};
use super::watched::{self, Watched};
use crate::Result;
use crate::client::Clock;

/// Where tokens are had.
pub(super) const TOKEN_PATH: &str = "/token";

/// Where the users come from.
#[derive(Clone, Default)]
pub enum Users {
    /// There are none.
    #[default]
    None,
    /// A file of `htpasswd -B`, read again when it changes.
    File(PathBuf),
    /// One user and a password, for tests of clients.
    One(String, String),
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::One(user, _) => f.debug_tuple("One").field(user).finish_non_exhaustive(),
        }
    }
}

/// Who may do what. The default asks nobody.
#[derive(Clone, Debug, Default)]
pub struct AuthOptions {
    /// Users and passwords.
    pub users: Users,
    /// Tokens, in the place of passwords in each request.
    pub tokens: Option<TokenOptions>,
    /// Who may do what. Without, whoever logs in may do anything; where nobody can log in, everybody may.
    pub rules: Option<Rules>,
}

/// Who may do what.
pub(super) struct Gate {
    logins: Option<Logins>,
    tokens: Option<Tokens>,
    rules: RwLock<Arc<Rules>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("logins", &self.logins).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// Who sent a request, as the gate found out; it goes with the request.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    subject: Subject,
    /// What the token grants. Without a token, the rules alone decide.
    granted: Option<Arc<[Access]>>,
    rules: Arc<Rules>,
}

impl Visitor {
    /// The user's name.
    pub(super) fn user(&self) -> Option<&str> {
        self.subject.name()
    }

    fn may(&self, name: &str, action: Action) -> bool {
        let granted = self.granted.as_ref().is_none_or(|granted| grants::covers(granted, name, action));
        granted && self.rules.permit(&self.subject, name, action)
    }

    /// Whether `name` may be seen in a list. A token for the catalog shows what its user may pull.
    fn may_see(&self, name: &str) -> bool {
        let catalog = self.granted.as_ref().is_some_and(|granted| grants::covers_catalog(granted));
        self.may(name, Action::Pull) || catalog && self.rules.permit(&self.subject, name, Action::Pull)
    }
}

impl Gate {
    pub(super) fn new(options: &AuthOptions, clock: Clock) -> Result<Self> {
        let logins = match &options.users {
            Users::None => None,
            Users::One(user, password) => Some(Watched::fixed(Passwords::of(user, password)?)),
            Users::File(path) => {
                let file = path.clone();
                let read = move || {
                    let what = "the file of users";
                    Passwords::parse(&watched::read_text(what, &file)?)
                        .map_err(|error| watched::in_file(what, &file, &error))
                };
                Some(Watched::new(vec![path.clone()], read)?)
            }
        };
        let logins = logins.map(Logins::new).transpose()?;
        let tokens = options.tokens.as_ref().map(|tokens| Tokens::new(tokens, clock)).transpose()?;
        let gate = Self { logins, tokens, rules: RwLock::default() };
        gate.set_rules(options.rules.clone());
        Ok(gate)
    }

    /// Puts other rules in force, for the requests that come.
    pub(super) fn set_rules(&self, rules: Option<Rules>) {
        let rules = rules.unwrap_or_else(|| if self.logins.is_some() { Rules::known() } else { Rules::open() });
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Reads users and keys again if their files changed, or `always`; what is broken stays as it was. The errors.
    pub(super) fn refresh(&self, always: bool) -> Vec<crate::Error> {
        let logins = self.logins.as_ref().and_then(|logins| logins.refresh(always).err());
        let tokens = self.tokens.as_ref().and_then(|tokens| tokens.refresh(always).err());
        logins.into_iter().chain(tokens).collect()
    }

    /// Logins that failed so far.
    pub(super) fn failed_logins(&self) -> u64 {
        self.logins.as_ref().map_or(0, Logins::failed)
    }

    /// Whether anybody is asked who they are.
    fn asks(&self) -> bool {
        self.logins.is_some() || self.tokens.is_some()
    }

    /// Finds out who asks, which goes with the request from here on; wrong credentials are refused.
    pub(super) async fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        let visitor = self.identify(request).await?;
        request.extensions_mut().insert(visitor);
        Ok(())
    }

    /// Refuses what the requester may not do.
    pub(super) fn check<B>(&self, request: &Request<B>, route: &Route) -> Result<(), Refusal> {
        let action = route.action(request.method());
        let Some(visitor) = visitor(request) else { return Err(Refusal::internal("nobody was asked who it is")) };
        let allowed = match route.name() {
            Some(name) => visitor.may(name, action),
            None => self.may_enter(visitor, route),
        };
        if allowed { Ok(()) } else { Err(self.refusal(request, visitor, route, action)) }
    }

    /// Refuses what a person may not look at: a repository, or the list of those that they may.
    pub(super) fn check_page<B>(&self, request: &Request<B>, name: Option<&str>) -> Result<(), Refusal> {
        let Some(visitor) = visitor(request) else { return Err(Refusal::internal("nobody was asked who it is")) };
        let allowed = match name {
            Some(name) => visitor.may_see(name),
            None => visitor.user().is_some() || visitor.rules.know(&visitor.subject),
        };
        match &visitor.subject {
            _ if allowed => Ok(()),
            Subject::Anonymous if self.asks() => Err(self.unauthorized(request, None, None)),
            _ => Err(Refusal::denied("requested access to the resource is denied")),
        }
    }

    /// The root and the catalog: for whoever may do anything at all. The root asks everybody to log in, because it is by
    /// its answer that clients know how to; whoever has a token for nobody in particular did.
    fn may_enter(&self, visitor: &Visitor, route: &Route) -> bool {
        match (&visitor.granted, &visitor.subject) {
            (Some(granted), _) => *route == Route::Root || grants::covers_catalog(granted),
            (None, Subject::User(_)) => true,
            (None, Subject::Anonymous) if *route == Route::Root && self.asks() => false,
            (None, Subject::Anonymous) => visitor.rules.know(&Subject::Anonymous),
        }
    }

    /// Whether `name` may be read, for a mount from there.
    pub(super) fn may_pull<B>(&self, request: &Request<B>, name: &str) -> bool {
        visitor(request).is_some_and(|visitor| visitor.may(name, Action::Pull))
    }

    /// Whether `name` may be seen in a list of repositories.
    pub(super) fn may_see<B>(&self, request: &Request<B>, name: &str) -> bool {
        visitor(request).is_some_and(|visitor| visitor.may_see(name))
    }

    async fn identify<B>(&self, request: &Request<B>) -> Result<Visitor, Refusal> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !self.asks() {
            return Ok(Visitor { subject: Subject::Anonymous, granted: None, rules });
        }
        match Authorization::of(request).ok_or_else(|| self.unauthorized(request, None, None))? {
            Authorization::None => {
                // Where somebody else's tokens decide, nobody has rights without one.
                let outside = self.tokens.as_ref().is_some_and(|tokens| !tokens.are_own());
                let rules = if outside { Arc::default() } else { rules };
                Ok(Visitor { subject: Subject::Anonymous, granted: None, rules })
            }
            Authorization::Basic { user, password } => {
                let Some(logins) = &self.logins else { return Err(self.unauthorized(request, None, None)) };
                let checked = logins.check(&user, &password, Peer::of(request).client()).await;
                checked.map_err(|error| match error {
                    Failure::Wrong => self.unauthorized(request, None, None),
                    Failure::Wait(_) => failure(error),
                })?;
                Ok(Visitor { subject: Subject::User(user), granted: None, rules })
            }
            Authorization::Bearer(token) => {
                let Some(tokens) = &self.tokens else { return Err(self.unauthorized(request, None, None)) };
                let redeemed = tokens.redeem(&token, self.logins.as_ref());
                // The client gets a fresh one for what it wants.
                let invalid = |_| self.unauthorized(request, scope_of(request).as_deref(), Some("invalid_token"));
                let (subject, granted) = redeemed.map_err(invalid)?;
                Ok(Visitor { subject, granted: Some(granted.into()), rules })
            }
        }
    }

    fn refusal<B>(&self, request: &Request<B>, visitor: &Visitor, route: &Route, action: Action) -> Refusal {
        let by_rules = |name| visitor.rules.permit(&visitor.subject, name, action);
        let is_short = visitor.granted.is_some() && route.name().is_none_or(by_rules);
        if visitor.subject != Subject::Anonymous && !is_short || !self.asks() {
            return Refusal::denied("requested access to the resource is denied");
        }
        let error = visitor.granted.is_some().then_some("insufficient_scope");
        self.unauthorized(request, scope(route, action).as_deref(), error)
    }

    fn unauthorized<B>(&self, request: &Request<B>, scope: Option<&str>, error: Option<&str>) -> Refusal {
        let challenge = match &self.tokens {
            // A browser knows no tokens.
            _ if page::has(request.uri().path()) && self.logins.is_some() => basic_challenge(),
            Some(tokens) => tokens.challenge(&Peer::of(request), &host(request), scope, error),
            None => basic_challenge(),
        };
        wrong_login().with_header(WWW_AUTHENTICATE, challenge)
    }

    /// The token service: GET with Basic, or POST with a password or a refresh token.
    pub(super) async fn token(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let Some(tokens) = &self.tokens else { return Err(Refusal::new(404, "UNSUPPORTED", "no such endpoint")) };
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokens.sell(request, self.logins.as_ref(), &rules).await
    }
}

/// Who sent the request, once it was admitted.
pub(super) fn visitor<B>(request: &Request<B>) -> Option<&Visitor> {
    request.extensions().get()
}

/// The scope that a request needs, in the words of a token.
fn scope(route: &Route, action: Action) -> Option<String> {
    match (route, route.name()) {
        (Route::Catalog, _) => Some(grants::CATALOG.to_owned()),
        (_, Some(name)) => {
            // Clients look before they push, and before they delete.
            let actions = match action {
                Action::Pull => "pull",
                Action::Push => "pull,push",
                Action::Delete => "pull,delete",
            };
            Some(format!("repository:{name}:{actions}"))
        }
        _ => None,
    }
}

fn scope_of<B>(request: &Request<B>) -> Option<String> {
    let route = Route::parse(request.uri().path()).ok()?;
    let action = route.action(request.method());
    scope(&route, action)
}

/// The name the client calls this server by, if it is one.
fn host<B>(request: &Request<B>) -> String {
    let named = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    let named = named.filter(|name| !name.is_empty() && name.bytes().all(plain));
    named.map_or_else(|| Peer::of(request).server.to_string(), str::to_owned)
}

fn basic_challenge() -> String {
    "Basic realm=\"cooper\", charset=\"UTF-8\"".to_owned()
}

fn wrong_login() -> Refusal {
    Refusal::new(401, "UNAUTHORIZED", "authentication required")
}

fn failure(failure: Failure) -> Refusal {
    match failure {
        Failure::Wrong => wrong_login(),
        Failure::Wait(pause) => too_many("too many logins", pause),
    }
}

/// Too many of something: come back after a pause.
pub(super) fn too_many(what: &str, pause: Duration) -> Refusal {
    let secs = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
    Refusal::new(429, "TOOMANYREQUESTS", what).with_header(RETRY_AFTER, secs.max(1).to_string())
}

/// What a request shows.
enum Authorization {
    None,
    Basic { user: String, password: String },
    Bearer(String),
}

impl Authorization {
    /// Reads the one Authorization header; nothing if there are two, or one of another kind.
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let mut headers = request.headers().get_all(AUTHORIZATION).iter();
        let Some(value) = headers.next() else { return Some(Self::None) };
        if headers.next().is_some() {
            return None;
        }
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(rest.trim().to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some(Self::Basic { user: user.to_owned(), password: password.to_owned() })
    }
}

/// 128 random bits in hex: an upload or a token that nobody guesses.
pub(super) fn secret_id() -> Option<String> {
    use std::fmt::Write as _;
    let mut raw = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut raw).ok()?;
    Some(raw.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

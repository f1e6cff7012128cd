//! Keys and signatures for tests. Knows nothing of archives.

use cooper_base::pgp::Keyring;
use pgp::composed::{
    CleartextSignedMessage, DetachedSignature, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};

use crate::NOW;

/// Someone who signs.
pub(crate) struct Signer {
    pub(crate) key: SignedSecretKey,
    pub(crate) public: SignedPublicKey,
}

/// How a document is signed.
#[derive(Clone, Copy)]
pub(crate) struct How {
    pub(crate) hash: HashAlgorithm,
    pub(crate) created: i64,
    pub(crate) life: u32,
    pub(crate) by_subkey: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { hash: HashAlgorithm::Sha512, created: NOW - 60, life: 0, by_subkey: false }
    }
}

fn part(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).expect("the part is small")
}

fn seconds(at: i64) -> Timestamp {
    Timestamp::from_secs(u32::try_from(at).expect("times of tests are of this century"))
}

impl Signer {
    pub(crate) fn new(key_type: KeyType) -> Self {
        let sub = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .build()
            .expect("the parameters are whole");
        let mut params = SecretKeyParamsBuilder::default();
        params.key_type(key_type).can_certify(true).can_sign(true).primary_user_id("Archive <a@example>".into());
        let params = params.subkey(sub).build().expect("the parameters are whole");
        let key = params.generate(rand::thread_rng()).expect("a key can be made");
        let public = SignedPublicKey::from(key.clone());
        Self { key, public }
    }

    pub(crate) fn ed25519() -> Self {
        Self::new(KeyType::Ed25519Legacy)
    }

    pub(crate) fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add(&self.public.to_bytes().expect("keys have bytes"), "keyring").expect("it is a keyring");
        keyring
    }

    pub(crate) fn fingerprint(&self) -> String {
        format!("{:X}", self.key.fingerprint())
    }

    fn config(&self, signer: &impl SigningKey, typ: SignatureType, how: How) -> SignatureConfig {
        let mut config = SignatureConfig::v4(typ, signer.algorithm(), how.hash);
        config.hashed_subpackets = vec![
            part(SubpacketData::SignatureCreationTime(seconds(how.created))),
            part(SubpacketData::IssuerFingerprint(signer.fingerprint())),
        ];
        if how.life != 0 {
            config.hashed_subpackets.push(part(SubpacketData::SignatureExpirationTime(Duration::from_secs(how.life))));
        }
        config
    }

    pub(crate) fn clearsign(&self, text: &str, how: How) -> Vec<u8> {
        let none = Password::empty();
        let message = if how.by_subkey {
            let sub = &self.key.secret_subkeys[0].key;
            CleartextSignedMessage::new(text, self.config(sub, SignatureType::Text, how), sub, &none)
        } else {
            let primary = &self.key.primary_key;
            CleartextSignedMessage::new(text, self.config(primary, SignatureType::Text, how), primary, &none)
        };
        message.expect("it can be signed").to_armored_bytes(Default::default()).expect("signatures have bytes")
    }

    pub(crate) fn detached(&self, text: &str) -> Vec<u8> {
        let primary = &self.key.primary_key;
        let config = self.config(primary, SignatureType::Binary, How::default());
        let signature = config.sign(primary, &Password::empty(), text.as_bytes()).expect("it can be signed");
        DetachedSignature::new(signature).to_bytes().expect("signatures have bytes")
    }

    /// The key describes itself anew: it lives this long, and may do this.
    pub(crate) fn describe(&mut self, life: u32, may_sign: bool, hash: HashAlgorithm) {
        let primary = &self.key.primary_key;
        let how = How { hash, created: NOW - 30, ..How::default() };
        let mut config = self.config(primary, SignatureType::CertPositive, how);
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(may_sign);
        config.hashed_subpackets.push(part(SubpacketData::KeyFlags(flags)));
        config.hashed_subpackets.push(part(SubpacketData::KeyExpirationTime(Duration::from_secs(life))));
        let user = &mut self.public.details.users[0];
        let signed =
            config.sign_certification(primary, &self.public.primary_key, &Password::empty(), Tag::UserId, &user.id);
        user.signatures = vec![signed.expect("it can be signed")];
    }

    pub(crate) fn revoke(&mut self) {
        let signature = self.over_key(SignatureType::KeyRevocation);
        self.public.details.revocation_signatures.push(signature);
    }

    fn over_key(&self, typ: SignatureType) -> Signature {
        let primary = &self.key.primary_key;
        let config = self.config(primary, typ, How::default());
        config.sign_key(primary, &Password::empty(), &self.public.primary_key).expect("it can be signed")
    }

    /// A signature of the primary key over the subkey, in place of those there or beside them.
    pub(crate) fn over_subkey(&mut self, typ: SignatureType, life: u32, with_back: bool) {
        let primary = &self.key.primary_key;
        let how = How { created: NOW - 30, ..How::default() };
        let mut config = self.config(primary, typ, how);
        let sub = &mut self.public.public_subkeys[0];
        if typ == SignatureType::SubkeyBinding {
            let mut flags = KeyFlags::default();
            flags.set_sign(true);
            config.hashed_subpackets.push(part(SubpacketData::KeyFlags(flags)));
            config.hashed_subpackets.push(part(SubpacketData::KeyExpirationTime(Duration::from_secs(life))));
            let back = sub.signatures[0].embedded_signature().cloned().filter(|_| with_back);
            config.hashed_subpackets.extend(back.map(|back| part(SubpacketData::EmbeddedSignature(Box::new(back)))));
            sub.signatures.clear();
        }
        let signed = config.sign_subkey_binding(primary, &self.public.primary_key, &Password::empty(), &sub.key);
        sub.signatures.push(signed.expect("it can be signed"));
    }
}

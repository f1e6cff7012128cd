//! Tokens that are taken, and many that are not: one for each way to forge one.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::super::keys::{new_signing_key, public_keys, signer};
use super::*;

const NOW: u64 = 1_700_000_000;

fn own() -> Signer {
    signer(&new_signing_key().unwrap()).unwrap()
}

fn claims() -> Claims {
    let access = Access { kind: "repository".into(), name: "a/b".into(), actions: vec!["pull".into()] };
    Claims {
        iss: "issuer".into(),
        sub: "ann".into(),
        aud: Audience::One("registry".into()),
        exp: NOW + 300,
        nbf: NOW,
        iat: NOW,
        jti: "1".into(),
        access: vec![access],
        password: String::new(),
    }
}

fn expected(purpose: Use) -> Expected<'static> {
    Expected { issuer: "issuer", audience: "registry", purpose, now: NOW }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with a header of one's own, signed by the right key.
fn with_header(signer: &Signer, header: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(&serde_json::to_string(&claims()).unwrap()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.pair.sign(signed.as_bytes())))
}

/// What comes of a token of one's own making, checked by `signer`'s public key.
fn judge(signer: &Signer, token: &str) -> Result<Claims, &'static str> {
    verify(token, &[signer.key().unwrap()], &expected(Use::Access))
}

#[test]
fn takes_its_own() {
    let signer = own();
    let token = signer.sign(&claims(), Use::Access);
    assert_eq!(judge(&signer, &token), Ok(claims()));
    let several = Claims { aud: Audience::Several(vec!["other".into(), "registry".into()]), ..claims() };
    assert_eq!(judge(&signer, &signer.sign(&several, Use::Access)), Ok(several));
    assert!(!format!("{signer:?} {:?}", signer.key().unwrap()).contains(&token));
}

#[test]
fn refuses_claims_that_do_not_hold() {
    let signer = own();
    for (claims, expect) in [
        (Claims { iss: "other".into(), ..claims() }, "another issuer made it"),
        (Claims { aud: Audience::One("other".into()), ..claims() }, "it is for another service"),
        (Claims { aud: Audience::Several(Vec::new()), ..claims() }, "it is for another service"),
        (Claims { exp: NOW - LEEWAY_SECS, ..claims() }, "it has expired"),
        (Claims { exp: 0, ..claims() }, "it has expired"),
        (Claims { nbf: NOW + LEEWAY_SECS + 1, ..claims() }, "it is not valid yet"),
    ] {
        assert_eq!(judge(&signer, &signer.sign(&claims, Use::Access)), Err(expect), "{claims:?}");
    }
    for nearly in [
        Claims { exp: NOW - LEEWAY_SECS + 1, ..claims() },
        Claims { nbf: NOW + LEEWAY_SECS, ..claims() },
        Claims { exp: u64::MAX, ..claims() },
    ] {
        assert!(judge(&signer, &signer.sign(&nearly, Use::Access)).is_ok(), "{nearly:?}");
    }
}

#[test]
fn refresh_tokens_give_no_access_and_the_other_way_round() {
    let signer = own();
    let keys = [signer.key().unwrap()];
    for (made, asked) in [(Use::Access, Use::Refresh), (Use::Refresh, Use::Access)] {
        let token = signer.sign(&claims(), made);
        assert!(verify(&token, &keys, &expected(made)).is_ok());
        assert_eq!(verify(&token, &keys, &expected(asked)), Err("it is for something else"));
    }
}

#[test]
fn the_token_chooses_neither_key_nor_algorithm() {
    let signer = own();
    let id = signer.id.clone();
    let other = own();
    for (header, expect) in [
        (r#"{"alg":"none"}"#, "the algorithm is not the key's"),
        (r#"{"alg":"None"}"#, "the algorithm is not the key's"),
        (r#"{"alg":"HS256"}"#, "the algorithm is not the key's"),
        (r#"{"alg":"ES256"}"#, "the algorithm is not the key's"),
        (r#"{"alg":"RS256"}"#, "the algorithm is not the key's"),
        (r#"{"alg":"eddsa"}"#, "the algorithm is not the key's"),
        (r#"{"alg":""}"#, "the algorithm is not the key's"),
        (r#"{}"#, "not a token"),
        (r#"{"alg":"EdDSA","alg":"none"}"#, "not a token"),
        (r#"{"alg":"EdDSA","kid":"other"}"#, "the key is unknown"),
        (r#"{"alg":"EdDSA","kid":"../../dev/null"}"#, "the key is unknown"),
        (r#"{"alg":"EdDSA","crit":["x"],"x":1}"#, "it asks for an extension"),
        (r#"{"alg":"EdDSA","typ":"secevent+jwt"}"#, "it is for something else"),
    ] {
        assert_eq!(judge(&signer, &with_header(&signer, header)), Err(expect), "{header}");
    }
    for header in [r#"{"alg":"EdDSA"}"#, r#"{"alg":"EdDSA","typ":"at+jwt"}"#] {
        assert!(judge(&signer, &with_header(&signer, header)).is_ok(), "{header}");
    }
    // A key that the token brings along, or the name of the right one in front of a wrong signature.
    let public = URL_SAFE_NO_PAD.encode(other.pair.public_key().as_ref());
    for header in [
        format!(r#"{{"alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{public}"}}}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{id}","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{public}"}}}}"#),
        format!(r#"{{"alg":"EdDSA","x5c":["{public}"]}}"#),
        r#"{"alg":"EdDSA","jku":"https://127.0.0.1/keys"}"#.to_owned(),
    ] {
        assert_eq!(judge(&signer, &with_header(&other, &header)), Err("the signature is wrong"), "{header}");
    }
}

#[test]
fn a_public_key_is_no_secret_of_hs256() {
    let signer = own();
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&serde_json::to_string(&claims()).unwrap()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, signer.pair.public_key().as_ref());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())));
    assert_eq!(judge(&signer, &token), Err("the algorithm is not the key's"));
}

#[test]
fn every_changed_byte_is_noticed() {
    let signer = own();
    let token = signer.sign(&claims(), Use::Access);
    for index in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(judge(&signer, &changed).is_err(), "byte {index}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let signer = own();
    let token = signer.sign(&claims(), Use::Access);
    let (signed, _) = token.rsplit_once('.').unwrap();
    for text in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{signed}."),
        signed.to_owned(),
        format!("{token}="),
        format!("{token}.{token}"),
        format!(" {token}"),
        "é.é.é".into(),
        format!("{}.e30.x", encode("[]")),
        "A".repeat(TOKEN_MAX + 1),
    ] {
        assert!(judge(&signer, &text).is_err(), "{text}");
    }
}

/// The examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.4).
#[test]
fn checks_the_signatures_of_the_specifications() {
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let n = concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS",
        "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2",
        "CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9",
        "gb54h4FRWyuXpoQ"
    );
    let rsa = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUA",
        "r7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO-",
        "-xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_",
        "IoypGlUPQGe77Rw"
    );
    let cases = [
        (format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#), format!("eyJhbGciOiJSUzI1NiJ9.{claims}"), rsa),
        (
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
                .to_owned(),
            format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.to_owned(),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];
    for (jwk, signed, signature) in cases {
        let key = public_keys(&format!("{{\"keys\":[{jwk}]}}")).unwrap().pop().unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.verify(signed.as_bytes(), &signature), "{jwk}");
        assert!(!key.verify(signed.replace("eyJ", "eyK").as_bytes(), &signature), "{jwk}");
    }
}

/// What an outside issuer signs by ES256, with the key in PEM and in a set.
#[test]
fn takes_tokens_of_an_outside_issuer() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&public[1..33]), URL_SAFE_NO_PAD.encode(&public[33..]));
    let sign = |header: &str| {
        let signed = format!("{}.{}", encode(header), encode(&serde_json::to_string(&claims()).unwrap()));
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let set = |kid: &str| format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}]}}"#);
    let check = |keys: &[Key], header: &str| verify(&sign(header), keys, &expected(Use::Access));
    let keys = public_keys(&set("k1")).unwrap();
    assert!(check(&keys, r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#).is_ok());
    assert!(check(&keys, r#"{"alg":"ES256"}"#).is_ok());
    assert_eq!(check(&keys, r#"{"alg":"ES256","kid":"k2"}"#), Err("the key is unknown"));
    let others = public_keys(&set("k1").replace(&x, &y).replace(&format!("\"y\":\"{y}\""), &format!("\"y\":\"{x}\"")));
    assert!(others.is_err(), "the point is not on the curve");
}

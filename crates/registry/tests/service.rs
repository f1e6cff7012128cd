//! Requests to services that are no registry: what is tried again, what is given back, and what is shown.
#![allow(missing_docs, reason = "a test")]

mod common;

use common::liar::{Liar, Lie, answer};
use common::{anonymous, within};
use cooper_registry::{ErrorKind, ServiceRequest};

fn put(liar: &Liar) -> ServiceRequest {
    let url = format!("http://{}/object?signature=secret-x", liar.addr);
    ServiceRequest { method: "PUT", url, headers: vec![("x-own".into(), "1".into())], body: "abc".into() }
}

#[tokio::test]
async fn passing_faults_are_tried_again_and_every_other_answer_is_given_back() {
    let liar = Liar::start(|_, before| match before {
        0 => answer(503, &[], b""),
        1 => Lie::Reset,
        _ => answer(404, &[], b"no"),
    })
    .await;
    let mut found = within(anonymous().ask(&put(&liar))).await.unwrap();
    assert_eq!(found.status(), 404);
    assert_eq!(found.chunk().await.unwrap().as_deref(), Some(&b"no"[..]));
    let asked = liar.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|asked| asked.method == "PUT" && asked.header("x-own") == Some("1")));
}

#[tokio::test]
async fn a_service_that_never_answers_well_is_given_up_without_showing_its_url() {
    let liar = Liar::start(|_, _| answer(429, &[], b"")).await;
    let error = within(anonymous().ask(&put(&liar))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooMany);
    assert!(error.to_string().contains("/object") && !format!("{error:?}").contains("secret-x"), "{error:?}");
    assert_eq!(liar.asked().len(), 5);
    let nobody = ServiceRequest { url: "http://127.0.0.1:1/object?signature=secret-x".into(), ..put(&liar) };
    let error = within(anonymous().ask(&nobody)).await.unwrap_err();
    assert!(!format!("{error} {error:?} {nobody:?}").contains("secret-x"), "{error:?}");
}

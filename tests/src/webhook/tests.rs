//! The receiver refuses what a real one refuses, and misbehaves as told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use inquest_shared::clock::{FakeClock, UnixNanos};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Sends one request and gives back what came before the connection ended.
fn post(webhook: &Webhook, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(webhook.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut head = format!(
        "POST /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_request_is_recorded_with_its_body_headers_and_time() {
    let webhook = Webhook::start().unwrap();
    let before = crate::monotonic_nanos();
    let answer = post(&webhook, &[("Idempotency-Key", "k1")], br#"{"a":1}"#).unwrap();
    assert_eq!(status(&answer), "200");
    let received = &webhook.accepted()[0];
    assert_eq!(
        (received.body["a"].as_i64(), received.header("idempotency-key")),
        (Some(1), "k1")
    );
    assert_eq!((received.path.as_str(), received.body_bytes), ("/hook", 7));
    assert!((before..=crate::monotonic_nanos()).contains(&received.monotonic_nanos));
}

#[test]
fn the_script_is_followed_and_then_everything_is_accepted() {
    let webhook = Webhook::start().unwrap();
    webhook.script([Behaviour::Status(500), Behaviour::RetryAfter(7), Behaviour::Accept]);
    let answers: Vec<String> = (0..4).map(|_| post(&webhook, &[], b"{}").unwrap()).collect();
    assert_eq!(
        answers.iter().map(|answer| status(answer)).collect::<Vec<_>>(),
        ["500", "429", "200", "200"]
    );
    assert!(answers[1].contains("retry-after: 7\r\n"), "{}", answers[1]);
    assert_eq!(webhook.accepted().len(), 2);
}

#[test]
fn a_reset_reaches_the_sender_as_a_reset() {
    let webhook = Webhook::start().unwrap();
    webhook.script([Behaviour::Reset]);
    let error = post(&webhook, &[], b"{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(webhook.received()[0].answer, Answer::Reset);
    assert_eq!(status(&post(&webhook, &[], b"{}").unwrap()), "200");
}

#[tokio::test]
async fn a_hung_request_gets_no_answer_and_ends_when_the_receiver_goes_down() {
    let mut webhook = Webhook::start().unwrap();
    webhook.otherwise(Behaviour::Hang);
    let mut stream = TcpStream::connect(webhook.address).unwrap();
    stream
        .write_all(b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    let long = Duration::from_secs(20);
    let arrived = wait_for("a request", long, async || webhook.received().pop().ok_or("none"));
    assert_eq!(arrived.await.unwrap().answer, Answer::Hung);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);

    webhook.go_down();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(long)).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    webhook.otherwise(Behaviour::Accept);
    let address = webhook.url();
    webhook.come_back().unwrap();
    assert_eq!(webhook.url(), address);
    assert_eq!(status(&post(&webhook, &[], b"{}").unwrap()), "200");
}

#[test]
fn unsigned_forged_stale_and_oversize_requests_are_refused() {
    let clock = FakeClock::at(UnixNanos::from_secs(1_000_000));
    let secret = Secret::parse(SECRET).unwrap();
    let webhook = Webhook::listen(Some(secret.clone()), Arc::new(clock)).unwrap();
    let send = |stamp: &str, signature: &str, body: &[u8]| {
        let headers = [
            ("webhook-id", "m1"),
            ("webhook-timestamp", stamp),
            ("webhook-signature", signature),
        ];
        post(&webhook, &headers, body).map(|answer| status(&answer).to_owned())
    };
    let good = sign(&secret, "m1", "1000000", b"{}").unwrap();
    assert_eq!(send("1000000", &good, b"{}").unwrap(), "200");
    assert_eq!(status(&post(&webhook, &[], b"{}").unwrap()), "401");
    assert_eq!(send("1000000", &good, b"{ }").unwrap(), "401");
    let old = sign(&secret, "m1", "999699", b"{}").unwrap();
    assert_eq!(send("999699", &old, b"{}").unwrap(), "401");
    let text = sign(&secret, "m1", "1000000", b"hello").unwrap();
    assert_eq!(send("1000000", &text, b"hello").unwrap(), "400");
    // The receiver answers and closes while the sender still writes, so the sender may only see a broken connection.
    let sent = send("1000000", &good, &vec![b' '; MAX_BODY_BYTES + 1]);
    assert!(sent.is_err() || sent.is_ok_and(|status| status == "413"));
    let refusals: Vec<Answer> = webhook
        .received()
        .iter()
        .skip(1)
        .map(|received| received.answer)
        .collect();
    let expected = [
        Refusal::Unsigned,
        Refusal::BadSignature,
        Refusal::Stale,
        Refusal::NotJson,
        Refusal::TooLarge,
    ];
    assert_eq!(refusals, expected.map(Answer::Refused));
    assert_eq!(webhook.accepted().len(), 1);
}

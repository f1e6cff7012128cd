//! `--progress=rawjson`: one JSON object a line for every event. Nothing is shortened or merged.
//!
//! Every object has `time` (seconds since the build began) and `event`, and by event:
//!
//! | `event` | fields |
//! |---|---|
//! | `planned` | `steps`: list of `{step, name}` |
//! | `started` | `step`, `why` (text or null) |
//! | `output` | `step`, `stream` (`stdout`, `stderr`), and `data` (text) or, if it is not UTF-8, `base64` |
//! | `progress` | `step`, `what`, `done`, `total` (bytes; `total` may be null) |
//! | `finished` | `step`, `state` (`cached`, `done`, `failed`, `cancelled`), `error` (of `failed`), `took` (seconds) |
//! | `warning` | `message`, `rule` and `hint` (may be null), `span` (`[start, end]` bytes of the Dockerfile, may be null) |

use std::time::Duration;

use base64::Engine as _;
use cooper_engine::{Event, StepState};
use serde_json::{Value, json};

use super::Fold;
use crate::sanitise;

/// The fold.
#[derive(Debug)]
pub(crate) struct RawJson;

impl Fold for RawJson {
    fn event(&mut self, now: Duration, event: Event, out: &mut String) {
        let mut object = json!({"time": seconds(now), "event": name(&event)});
        if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields(event)) {
            object.extend(fields);
        }
        out.push_str(&sanitise::json(&object.to_string()));
        out.push('\n');
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Planned { .. } => "planned",
        Event::Started { .. } => "started",
        Event::Output { .. } => "output",
        Event::Progress { .. } => "progress",
        Event::Finished { .. } => "finished",
        Event::Warning { .. } => "warning",
    }
}

fn fields(event: Event) -> Value {
    match event {
        Event::Planned { steps } => {
            let steps: Vec<Value> = steps.iter().map(|(id, name)| json!({"step": id.0, "name": name})).collect();
            json!({ "steps": steps })
        }
        Event::Started { step, why } => json!({"step": step.0, "why": why}),
        Event::Output { step, stderr, data } => {
            let stream = if stderr { "stderr" } else { "stdout" };
            match String::from_utf8(data) {
                Ok(text) => json!({"step": step.0, "stream": stream, "data": text}),
                Err(error) => {
                    let bytes = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
                    json!({"step": step.0, "stream": stream, "base64": bytes})
                }
            }
        }
        Event::Progress { step, what, done, total } => {
            json!({"step": step.0, "what": what, "done": done, "total": total})
        }
        Event::Finished { step, state, took } => finished(step.0, state, took),
        Event::Warning { message, diagnostic } => json!({
            "message": message,
            "rule": diagnostic.as_ref().map(|d| d.rule),
            "hint": diagnostic.as_ref().and_then(|d| d.hint.clone()),
            "span": diagnostic.as_ref().map(|d| [d.span.start, d.span.end]),
        }),
    }
}

fn finished(step: u32, state: StepState, took: Duration) -> Value {
    let state = match state {
        StepState::Cached => "cached",
        StepState::Done => "done",
        StepState::Cancelled => "cancelled",
        StepState::Failed(why) => {
            return json!({"step": step, "state": "failed", "error": why, "took": seconds(took)});
        }
    };
    json!({"step": step, "state": state, "took": seconds(took)})
}

/// Seconds with microseconds: more digits are noise.
fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::script::{events, play};
    use super::*;

    #[test]
    fn a_build_as_json() {
        insta::assert_snapshot!(play(&mut RawJson, events()));
    }

    #[test]
    fn every_line_is_an_object_without_controls_and_gives_the_bytes_back() {
        let data = b"\xff\x1b[31m\xc2\x9b\n".to_vec();
        let event = Event::Output { step: cooper_engine::StepId(1), stderr: true, data: data.clone() };
        let text = play(&mut RawJson, vec![(0, event)]);
        let object: Value = serde_json::from_str(&text).unwrap();
        let back = base64::engine::general_purpose::STANDARD.decode(object["base64"].as_str().unwrap()).unwrap();
        assert_eq!(back, data);
        let event = Event::Started { step: cooper_engine::StepId(1), why: Some("\u{9b}31m \u{202e}".into()) };
        let text = play(&mut RawJson, vec![(0, event)]);
        assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["why"], "\u{9b}31m \u{202e}");
    }
}

//! What an image's config says a container will do: only what is set, in the words of a Dockerfile.

use cooper_oci::{Config, Healthcheck, ImageConfig};
use maud::{Markup, html};

use super::text::foreign;

/// Entries of one list that are shown; the whole is in the config.
const LIST_MAX: usize = 300;

/// The facts of a config, as a list of terms.
pub(super) fn facts(config: &ImageConfig) -> Markup {
    let run = &config.config;
    let health = run.healthcheck.as_ref().map(health);
    html! {
        dl.pairs {
            (fact("Entrypoint", run.entrypoint.as_ref().map(|words| exec(words))))
            (fact("Cmd", run.cmd.as_ref().map(|words| exec(words))))
            (fact("User", set(&run.user)))
            (fact("Working directory", set(&run.working_dir)))
            (fact("Ports", list(run.exposed_ports.keys())))
            (fact("Volumes", list(run.volumes.keys())))
            (fact("Environment", environment(run)))
            (fact("Health check", health))
            (fact("Stop signal", set(&run.stop_signal)))
            (fact("Shell", run.shell.as_ref().map(|words| exec(words))))
            (fact("On build", list(run.on_build.iter())))
            (fact("Author", config.author.as_deref().and_then(set)))
        }
    }
}

/// Labels or annotations.
pub(super) fn pairs<'a>(pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Markup {
    let more = pairs.len().saturating_sub(LIST_MAX);
    html! {
        dl.pairs.mono {
            @for (key, value) in pairs.take(LIST_MAX) { dt { (foreign(key)) } dd { (foreign(value)) } }
        }
        @if more > 0 { p.note { (more) " more" } }
    }
}

fn fact(term: &str, value: Option<Markup>) -> Markup {
    html! { @if let Some(value) = value { dt { (term) } dd { (value) } } }
}

fn set(text: &str) -> Option<Markup> {
    (!text.is_empty()).then(|| html! { code { (foreign(text)) } })
}

/// The exec form: a JSON array, in which no word can hide its ends.
fn exec(words: &[String]) -> Markup {
    html! { code { (foreign(&serde_json::Value::from(words).to_string())) } }
}

fn list<'a>(items: impl ExactSizeIterator<Item = &'a String>) -> Option<Markup> {
    let more = items.len().saturating_sub(LIST_MAX);
    (items.len() > 0).then(|| {
        html! {
            ul.mono { @for item in items.take(LIST_MAX) { li { (foreign(item)) } } }
            @if more > 0 { span.note { (more) " more" } }
        }
    })
}

fn environment(run: &Config) -> Option<Markup> {
    let more = run.env.len().saturating_sub(LIST_MAX);
    (!run.env.is_empty()).then(|| {
        html! {
            ul.mono {
                @for variable in run.env.iter().take(LIST_MAX) {
                    @let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                    li { (foreign(name)) span.note { "=" } (foreign(value)) }
                }
            }
            @if more > 0 { span.note { (more) " more" } }
        }
    })
}

/// HEALTHCHECK with the times that are set, which are nanoseconds.
fn health(check: &Healthcheck) -> Markup {
    let times = [
        ("interval", check.interval),
        ("timeout", check.timeout),
        ("start period", check.start_period),
        ("start interval", check.start_interval),
    ];
    html! {
        (exec(&check.test))
        @for (name, nanoseconds) in times {
            @if nanoseconds > 0 { span.note { " · " (name) " " (nanoseconds as f64 / 1e9) " s" } }
        }
        @if check.retries > 0 { span.note { " · retries " (check.retries) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_is_said() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"config":{"Cmd":["sh","-c","a \"b\" <c>"],"Env":["A=b=c","ODD"],"ExposedPorts":{"80/tcp":{}},
            "Healthcheck":{"Test":["NONE"],"Interval":1500000000}},"rootfs":{"type":"layers"}}"#,
        )
        .unwrap();
        let html = facts(&config).into_string();
        for part in [
            "<dt>Cmd</dt><dd><code><bdi>[&quot;sh&quot;,&quot;-c&quot;,&quot;a \\&quot;b\\&quot; &lt;c&gt;&quot;]</bdi>",
            "<bdi>A</bdi><span class=\"note\">=</span><bdi>b=c</bdi>",
            "<bdi>80/tcp</bdi>",
            "interval 1.5 s",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("Entrypoint") && !html.contains("User"), "{html}");
        assert_eq!(facts(&ImageConfig::default()).into_string(), "<dl class=\"pairs\"></dl>");
    }

    #[test]
    fn long_lists_end() {
        let labels: std::collections::BTreeMap<_, _> =
            (0..LIST_MAX + 2).map(|n| (format!("k{n}"), "</script>".to_owned())).collect();
        let html = pairs(labels.iter()).into_string();
        assert!(html.contains("2 more") && !html.contains("</script>"));
    }
}

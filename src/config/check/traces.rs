//! The rules of `[traces]`.

use std::path::PathBuf;

use crate::config::check::Settings;
use crate::event::CanonicalUrl;
use crate::traces::TraceOptions;

/// Longest name of a service, in bytes.
const MAX_NAME_BYTES: usize = 255;

pub(super) fn traces(settings: &mut Settings<'_>) -> Option<TraceOptions> {
    let endpoint = settings.text("traces.endpoint").and_then(|text| collector(settings, &text));
    let headers_file = settings.text("traces.headers_file");
    let service_name = settings.text("traces.service_name").and_then(|name| {
        let is_name = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        if is_name {
            return Some(name);
        }
        let rule = format!("must have 1 to {MAX_NAME_BYTES} bytes without control characters");
        settings.wrong("traces.service_name", rule)
    });
    let sample_ratio = settings.ratio("traces.sample_ratio");
    Some(TraceOptions {
        endpoint: endpoint?,
        headers_file: headers_file.map(|path| (!path.is_empty()).then(|| PathBuf::from(path)))?,
        service_name: service_name?,
        sample_ratio: sample_ratio?,
    })
}

/// `None` within when nothing is exported.
fn collector(settings: &mut Settings<'_>, text: &str) -> Option<Option<CanonicalUrl>> {
    let setting = "traces.endpoint";
    if text.is_empty() {
        return Some(None);
    }
    if cfg!(not(feature = "otel")) {
        let detail = "this program exports no traces: it was built without the cargo feature otel (cargo build \
                      --features otel); leave the setting empty";
        return settings.wrong(setting, detail.to_owned());
    }
    match CanonicalUrl::parse(text) {
        Ok(url) if url.as_url().query().is_none() => Some(Some(url)),
        Ok(_) => settings.wrong(setting, "must have no query: /v1/traces is put behind it".to_owned()),
        // The text itself is not shown: it may hold a password.
        Err(error) => {
            settings.wrong(setting, format!("must be an address such as http://127.0.0.1:4318: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::{file, inputs, problems};

    #[test]
    fn a_collector_needs_the_feature() {
        let text = "[traces]\nendpoint = \"http://127.0.0.1:4318/otlp\"\nsample_ratio = 0.25\n";
        if cfg!(feature = "otel") {
            let traces = Config::load(&inputs(&file(text), &[], Vec::new())).expect("valid").config.traces;
            assert_eq!(traces.endpoint.expect("an address").as_str(), "http://127.0.0.1:4318/otlp");
            assert_eq!((traces.sample_ratio, traces.headers_file), (0.25, None));
        } else {
            let problems = problems(text, &[], Vec::new());
            assert_eq!(problems.len(), 1, "{problems:#?}");
            assert!(problems[0].starts_with("FILE:2: traces.endpoint: this program exports no traces"));
            assert!(problems[0].contains("cargo feature otel"), "{problems:#?}");
        }
        let without = "[traces]\nservice_name = \"gate-1\"\nsample_ratio = 0\nheaders_file = \"/x\"\n";
        let traces = Config::load(&inputs(&file(without), &[], Vec::new())).expect("valid").config.traces;
        assert_eq!((traces.endpoint, traces.sample_ratio), (None, 0.0));
    }

    #[test]
    fn what_is_no_ratio_and_no_name_is_a_problem() {
        for (line, rule) in [
            ("sample_ratio = 1.5", "must be a number from 0 to 1"),
            ("sample_ratio = nan", "must be a number from 0 to 1"),
            ("sample_ratio = 2", "must be a number from 0 to 1"),
            ("sample_ratio = \"1\"", "must be a number from 0 to 1, not string"),
            ("service_name = \"\"", "must have 1 to 255 bytes"),
        ] {
            let problems = problems(&format!("[traces]\n{line}\n"), &[], Vec::new());
            assert!(problems.len() == 1 && problems[0].contains(rule), "{line}: {problems:#?}");
        }
        let by_variable = problems("", &[("TIDEGATE_TRACES_SAMPLE_RATIO", "-0.1")], Vec::new());
        assert!(by_variable[0].contains("must be a number from 0 to 1"), "{by_variable:#?}");
    }

    #[cfg(feature = "otel")]
    #[test]
    fn an_address_has_neither_password_nor_query() {
        for wrong in
            ["http://u:secret@h.org:4318", "http://h.org:4318/?key=secret", "h.org:4318", "grpc://h.org"]
        {
            let problems = problems(&format!("[traces]\nendpoint = \"{wrong}\"\n"), &[], Vec::new());
            assert!(problems.len() == 1 && !problems[0].contains("secret"), "{wrong}: {problems:#?}");
        }
    }
}

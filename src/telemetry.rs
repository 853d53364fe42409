//! Log lines on standard error: JSON or text, one line for each event, times in RFC 3339.

use clap::ValueEnum;
use std::io::IsTerminal as _;
use std::str::FromStr as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object on each line.
    Json,
    /// For people.
    Text,
}

/// Parses a filter: a level, or `target=level` pairs separated by commas.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn filter(text: &str) -> Result<Targets, String> {
    let wrong = || {
        format!(
            "`{text}` is not a log filter: write error, warn, info, debug or trace, or target=level pairs separated by commas, as in info,vaultsync=debug"
        )
    };
    // A bare word that is no level would count as a target, and silence everything else.
    if !text.split(',').all(|part| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok()) {
        return Err(wrong());
    }
    let asked = Targets::from_str(text).map_err(|_| wrong())?;
    // Whatever is asked: kube's client logs whole bodies that it cannot read, and HTTP libraries log headers.
    // The Azure crates call a failure what is none to us: how a token is asked for is theirs, the answer is ours.
    let errors_only = ["kube_client", "azure_core", "azure_identity", "typespec_client_core"];
    let quiet = ["h2", "hyper", "hyper_util", "reqwest", "rustls"];
    // Of two targets that fit the longer counts, so nothing may be asked of a part of theirs.
    let is_ours = |target: &str| errors_only.iter().chain(&quiet).any(|name| target.starts_with(name));
    let targets = asked.iter().filter(|(target, _)| !is_ours(target)).fold(
        Targets::new().with_default(asked.default_level().unwrap_or(LevelFilter::OFF)),
        |targets, (target, level)| targets.with_target(target, level),
    );
    Ok(errors_only.into_iter().chain(quiet).fold(targets, |targets, name| {
        let most = if errors_only.contains(&name) { LevelFilter::ERROR } else { LevelFilter::INFO };
        targets.with_target(name, most)
    }))
}

/// Starts logging; a second call changes nothing.
pub fn start(format: LogFormat, filter: Targets) {
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        // Colours are for a terminal: in a file, or in what collects a pod's lines, they are noise.
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // Err: somebody has set a subscriber already, and it stands.
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_gets_a_sentence() {
        assert!(filter("loud").unwrap_err().contains("info,vaultsync=debug"));
    }

    #[test]
    fn libraries_that_would_log_bodies_stay_quiet_at_every_level() {
        let targets = filter("trace").unwrap();
        assert!(!targets.would_enable("kube_client::client", &tracing::Level::WARN));
        assert!(!targets.would_enable("hyper::proto", &tracing::Level::DEBUG));
        assert!(targets.would_enable("vaultsync::controller", &tracing::Level::TRACE));
    }

    #[test]
    fn a_part_of_such_a_library_stays_as_quiet_as_the_whole() {
        let part = "kube_client::client";
        for asked in ["info,kube_client::client=trace", "kube_client::client=warn,trace"] {
            let targets = filter(asked).unwrap();
            assert!(!targets.would_enable(part, &tracing::Level::WARN), "{asked}");
            assert!(targets.would_enable(part, &tracing::Level::ERROR), "{asked}");
            assert!(targets.would_enable("vaultsync::controller", &tracing::Level::INFO), "{asked}");
        }
    }
}

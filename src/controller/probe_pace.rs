//! The shared pace of drift probes: each target in turn, never more in a second than allowed.

use super::Context;
use std::sync::Arc;
use std::time::Duration;

/// Has every target looked at in turn, for ever.
pub(super) async fn probe(context: Arc<Context>) {
    let settings = &context.settings;
    let mut last = None;
    loop {
        let wait = pause(context.index.probed(), settings.drift_interval, settings.drift_probes_per_second);
        let Some(wait) = wait else { return std::future::pending().await };
        tokio::time::sleep(wait).await;
        if let Some(key) = context.index.next_probed(last.as_ref()) {
            context.memories.want_probe(key.clone());
            context.forget_if_gone(&key);
            context.triggers.object(&key);
            last = Some(key);
        }
    }
}

/// The time between two probes, so that each of `targets` is looked at once an interval, or less often where that
/// would be more than `per_second`. `None`: never.
fn pause(targets: usize, interval: Duration, per_second: u32) -> Option<Duration> {
    if interval.is_zero() || per_second == 0 {
        return None;
    }
    let share = u32::try_from(targets.max(1)).map_or(Duration::ZERO, |targets| interval / targets);
    Some(share.max(Duration::from_secs(1) / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_stretches_with_the_number_of_targets() {
        let interval = Duration::from_secs(30);
        assert_eq!(pause(1, interval, 10), Some(interval));
        assert_eq!(pause(100, interval, 10), Some(Duration::from_millis(300)));
        assert_eq!(pause(300, interval, 10), Some(Duration::from_millis(100)));
        assert_eq!(pause(10_000, interval, 10), Some(Duration::from_millis(100)));
        assert_eq!(pause(5, Duration::ZERO, 10), None);
    }
}

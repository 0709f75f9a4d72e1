//! What becomes of a panic: it is logged where it happens, and ends no more than it has to.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Has panics logged like everything else, with the place in the code. By default they go to stderr as plain text, in
/// the middle of JSON lines. Call once, when logging is set up.
pub fn log() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, panic = words(info.payload()), thread = thread.name().unwrap_or(""), "panicked");
    }));
}

/// Runs `work`; a panic in it is an error here, with the panic's words.
///
/// # Errors
/// `work` panicked. What it shares with others has to be whole after that.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| words(&*panic).to_owned())
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::telemetry::logging::tests::Captured;

    #[test]
    fn a_panic_is_a_line_of_the_log_with_its_place() {
        let (captured, usual) = (Captured::default(), std::panic::take_hook());
        let writer = captured.clone();
        log();
        let lines = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let panicked =
            tracing::subscriber::with_default(lines, || std::panic::catch_unwind(|| panic!("of {}", "a thread")));
        std::panic::set_hook(usual);
        assert!(panicked.is_err());
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let fields = &line["fields"];
        assert_eq!((&fields["message"], &fields["panic"]), (&"panicked".into(), &"of a thread".into()));
        assert!(fields["place"].as_str().unwrap().contains("panics.rs:"), "{fields}");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_words() {
        let number = 7;
        assert_eq!(caught(async { number }).await, Ok(7));
        let words = async |work: &dyn Fn()| caught(async { work() }).await.unwrap_err();
        assert_eq!(words(&|| panic!("plain")).await, "plain");
        assert_eq!(words(&|| panic!("of {number}")).await, "of 7");
        assert_eq!(words(&|| std::panic::panic_any(number)).await, "no words");
    }
}

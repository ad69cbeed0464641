//! What goes to stdout, for people and for scripts that wait for it. A closed pipe is not an error.

use std::io::Write;

/// One line, at once.
pub fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
}

/// The last words on stderr, when there is no log to write them to.
pub fn fatal(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ringmq-broker: {text}");
}

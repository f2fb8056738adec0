//! Turns a panic, on whatever thread, into an error that the runtime can show. A panic that gets
//! out of `main` leaves stdout empty and exit code 101, which no runtime can explain to anybody.
//!
//! The state is global because a panic hook is: one run installs it, and it records only while a
//! run is under way. A stack overflow or an abort is not a panic and gets past this.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use crate::{CniError, Code};

struct Watch {
    runs: usize,
    /// The first panic is the cause; those after it are its consequences (a scope that says that
    /// one of its threads has panicked).
    first: Option<String>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { runs: 0, first: None });

/// Runs `work`. Any panic meanwhile makes the outcome an error of ours, also where `work` itself
/// came to its end: what a thread that died has left undone nobody knows.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, CniError>) -> Result<T, CniError> {
    install_hook();
    watch().runs += 1;
    // Nothing that `work` borrows is used after a panic, except to print.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let first = {
        let mut watch = watch();
        watch.runs -= 1;
        watch.first.take()
    };
    match (first, outcome) {
        (None, Ok(outcome)) => outcome,
        (Some(panic), _) => Err(bug(&panic)),
        // `resume_unwind` runs no hook.
        (None, Err(payload)) => Err(bug(text(payload.as_ref()))),
    }
}

fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            if !record(panic) {
                previous(panic);
            }
        }));
    });
}

/// `false` while no run is under way.
fn record(panic: &PanicHookInfo<'_>) -> bool {
    let mut watch = watch();
    if watch.runs == 0 {
        return false;
    }
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    watch.first.get_or_insert_with(|| format!("{}{place}", text(panic.payload())));
    true
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

fn bug(panic: &str) -> CniError {
    CniError::new(Code::INTERNAL, "internal error, a bug in this plugin; please report it")
        .with_details(panic)
}

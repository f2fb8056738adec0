//! Turns a panic, on whatever thread, into an error that the runtime can show. A panic that gets
//! out of `main` leaves stdout empty, which no runtime can explain to anybody.
//!
//! The answer is given from the panic hook and ends the process there: nothing is unwound, so a
//! panic is to everybody else what a kill is, and what survives a kill survives it. A stack
//! overflow is not a panic and gets past this.

use std::{
    any::Any,
    panic::{PanicHookInfo, set_hook},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{CniError, CniVersion, Code};

/// The version that the configuration asked for, once it is known.
static VERSION: OnceLock<CniVersion> = OnceLock::new();
/// The first panic answers; another thread that panics waits here for the end of the process.
static ANSWERING: Mutex<()> = Mutex::new(());

/// From now on a panic is answered: `end` gets one error object, prints it and ends the process
/// with exit code 1. A plugin calls this first of all.
pub fn answer_panics(end: impl Fn(&str) + Send + Sync + 'static) {
    set_hook(Box::new(move |panic| {
        let _first = ANSWERING.lock().unwrap_or_else(PoisonError::into_inner);
        let version = VERSION.get().copied().unwrap_or(CniVersion::LATEST);
        end(&bug(panic).to_json(version));
    }));
}

/// An answer to a panic is to have this version.
pub(crate) fn answer_in(version: CniVersion) {
    // A process serves one call; a second one is a test.
    VERSION.set(version).ok();
}

fn bug(panic: &PanicHookInfo<'_>) -> CniError {
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    CniError::new(Code::INTERNAL, "internal error, a bug in this plugin; please report it")
        .with_details(format!("{}{place}", text(panic.payload())))
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

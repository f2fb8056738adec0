//! The answer of a process whose operation does not come to give one: after a panic, on whatever
//! thread, or past the operation's deadline. A runtime cannot explain an empty stdout to anybody,
//! and one plugin that hangs can block the network of every pod of a node.
//!
//! The process ends there: nothing is unwound, so a panic and a deadline are to everybody else what
//! a kill is, and what survives a kill survives them. A stack overflow is not a panic and gets past
//! this.

use std::{
    any::Any,
    panic::{PanicHookInfo, set_hook},
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use crate::{CniError, CniVersion, Code, Command};

type End = Box<dyn Fn(&str) + Send + Sync>;

/// How this process prints an answer and ends. Absent in tests, where nothing of this is at work.
static END: OnceLock<End> = OnceLock::new();
/// The version that the configuration asked for, once it is known.
static VERSION: OnceLock<CniVersion> = OnceLock::new();
/// Who answers: stdout gets one document.
static ANSWERING: AtomicU8 = AtomicU8::new(NOBODY);

const NOBODY: u8 = 0;
/// The operation, which has come to its end.
const OPERATION: u8 = 1;
/// This file, which ends the process.
const END_OF_PROCESS: u8 = 2;

/// It sleeps, then prints.
const STACK: usize = 64 * 1024;

/// From now on this process always answers: after a panic, and at the deadline of its operation,
/// `end` gets one error object, prints it and ends the process with exit code 1. A plugin calls
/// this first of all.
pub fn answer_always(end: impl Fn(&str) + Send + Sync + 'static) {
    END.get_or_init(|| Box::new(end));
    set_hook(Box::new(|panic| answer(&bug(panic))));
}

/// An answer that is given here is to have this version.
pub(crate) fn answer_in(version: CniVersion) {
    // A process serves one call; a second one is a test.
    VERSION.set(version).ok();
}

/// From now on the operation has its time, and no more.
pub(crate) fn begin(command: Command) {
    if END.get().is_none() {
        return;
    }
    let watch = move || {
        thread::sleep(command.deadline());
        answer(&late(command));
    };
    // Where no thread can be had the operation has all the time of the runtime's own deadline.
    thread::Builder::new().stack_size(STACK).spawn(watch).ok();
}

/// The operation has its answer and may print it. Does not return when the process is ending.
pub(crate) fn claim() {
    if END.get().is_some() && !take(OPERATION) {
        wait_for_the_end();
    }
}

fn answer(error: &CniError) {
    let Some(end) = END.get() else { return };
    if take(END_OF_PROCESS) {
        let version = VERSION.get().copied().unwrap_or(CniVersion::LATEST);
        end(&error.to_json(version));
    } else if ANSWERING.load(Ordering::SeqCst) == END_OF_PROCESS {
        wait_for_the_end();
    }
}

fn take(who: u8) -> bool {
    ANSWERING.compare_exchange(NOBODY, who, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

fn late(command: Command) -> CniError {
    let msg = format!("{command} is not done after {} s", command.deadline().as_secs());
    CniError::new(Code::TRY_AGAIN_LATER, msg).with_details(
        "the plugin has given up; what it began is removed by DEL or continued by ADD",
    )
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

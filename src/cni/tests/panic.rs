//! Panics, in a process of their own: the hook is global, and the tests here take turns.

#[cfg(test)]
mod tests {
    use std::{
        panic::{resume_unwind, set_hook, take_hook},
        sync::{
            Mutex, MutexGuard, Once, PoisonError,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use egret_cni::{About, Added, CniError, Environment, IpamResult, Plugin, Request, run};
    use serde::Deserialize;

    /// Panics that reached the hook which was there before the first run.
    static SEEN_BY_OTHERS: AtomicUsize = AtomicUsize::new(0);

    fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = take_hook();
            set_hook(Box::new(move |panic| {
                SEEN_BY_OTHERS.fetch_add(1, Ordering::SeqCst);
                previous(panic);
            }));
        });
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[derive(Debug, Deserialize)]
    struct NoKeys {}

    struct Panics(fn());

    impl Plugin for Panics {
        type Config = NoKeys;

        fn about(&self) -> About {
            About { name: "panics", version: "0" }
        }

        fn add(&self, _request: &Request<NoKeys>) -> Result<Added, CniError> {
            (self.0)();
            Ok(Added::Ipam(IpamResult::default()))
        }

        fn del(&self, _request: &Request<NoKeys>) -> Result<(), CniError> {
            Ok(())
        }

        fn check(&self, _request: &Request<NoKeys>) -> Result<(), CniError> {
            Ok(())
        }
    }

    fn add(work: fn()) -> (u8, String, String) {
        let environment = Environment::from_iter([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        let config = br#"{"cniVersion":"0.4.0","name":"a"}"#;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = run(&Panics(work), environment, &mut &config[..], &mut stdout, &mut stderr);
        (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn here() {
        panic!("at home with {}", 5)
    }

    fn in_a_scope() {
        thread::scope(|scope| {
            scope.spawn(|| panic!("in a scope"));
        });
    }

    fn in_a_thread_whose_end_nobody_looks_at() {
        thread::spawn(|| panic!("far away")).join().ok();
    }

    fn handed_on() {
        resume_unwind(Box::new("handed on"));
    }

    #[test]
    fn a_panic_anywhere_is_one_error_object_with_message_and_place() {
        let _turn = turn();
        let cases: [(fn(), &str, &str); 4] = [
            (here, "at home with 5", "panic.rs"),
            (in_a_scope, "in a scope", "panic.rs"),
            (in_a_thread_whose_end_nobody_looks_at, "far away", "panic.rs"),
            (handed_on, "handed on", ""),
        ];
        for (work, message, place) in cases {
            let (code, stdout, stderr) = add(work);
            assert_eq!((code, stderr.as_str()), (1, ""), "{message}");
            let object: serde_json::Value = serde_json::from_str(&stdout).unwrap();
            assert_eq!(object["code"], 120);
            assert_eq!(object["cniVersion"], "0.4.0");
            let details = object["details"].as_str().unwrap();
            assert!(details.starts_with(message) && details.contains(place), "{details}");
        }
    }

    #[test]
    fn a_panic_is_silent_during_a_run_only() {
        let _turn = turn();
        let before = SEEN_BY_OTHERS.load(Ordering::SeqCst);
        add(here);
        add(in_a_scope);
        assert_eq!(SEEN_BY_OTHERS.load(Ordering::SeqCst), before);
        in_a_thread_whose_end_nobody_looks_at();
        assert_eq!(SEEN_BY_OTHERS.load(Ordering::SeqCst), before + 1);
    }

    #[test]
    fn a_run_after_a_panic_is_not_its_heir() {
        let _turn = turn();
        assert_eq!(add(here).0, 1);
        let (code, stdout, _) = add(|| ());
        assert_eq!(code, 0);
        assert_eq!(stdout, "{\"cniVersion\":\"0.4.0\",\"ips\":[],\"dns\":{}}\n");
    }
}

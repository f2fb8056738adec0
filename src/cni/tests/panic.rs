//! Panics, in a process of their own: the hook is global, and the tests here take turns.

#[cfg(test)]
mod tests {
    use std::{
        panic::resume_unwind,
        sync::{Mutex, PoisonError},
        thread,
    };

    use egret_cni::{About, Added, CniError, Environment, IpamResult, Plugin, Request, run};
    use serde::Deserialize;

    static TURN: Mutex<()> = Mutex::new(());

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
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn a_run_after_a_panic_is_not_its_heir() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(add(here).0, 1);
        let (code, stdout, _) = add(|| ());
        assert_eq!(code, 0);
        assert_eq!(stdout, "{\"cniVersion\":\"0.4.0\",\"ips\":[],\"dns\":{}}\n");
    }
}

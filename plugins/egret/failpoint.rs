//! A kernel that fails at a chosen step of ADD. Only in test builds: `EGRET_FAIL_STEP=n` makes the
//! `n`th object (from 1) that ADD ensures fail before it is made, `EGRET_FAIL_STEP=n+` after it.

use std::net::IpAddr;

use egret_cni::Environment;
use egret_egress::kernel::{Failure, Kernel, Link, MainRoute};
use egret_egress::object::{Object, Place};
use egret_types::IfIndex;

/// See the file comment.
pub(crate) struct FailAt<K> {
    kernel: K,
    step: Option<usize>,
    moment: Moment,
    done: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

impl<K: Kernel> FailAt<K> {
    pub(crate) fn new(kernel: K, environment: &Environment) -> Self {
        let text =
            environment.get("EGRET_FAIL_STEP").and_then(|value| value.to_str()).unwrap_or("");
        let moment = if text.ends_with('+') { Moment::After } else { Moment::Before };
        Self { kernel, step: text.trim_end_matches('+').parse().ok(), moment, done: 0 }
    }

    fn fail(&self, object: &Object) -> Result<(), Failure> {
        let operation = format!("step {}, {object}", self.done);
        Err(Failure::Refused { operation, source: "made to fail by EGRET_FAIL_STEP".into() })
    }
}

impl<K: Kernel> Kernel for FailAt<K> {
    fn ensure(&mut self, place: Place, object: &Object) -> Result<(), Failure> {
        self.done += 1;
        let here = self.step == Some(self.done);
        if here && self.moment == Moment::Before {
            return self.fail(object);
        }
        self.kernel.ensure(place, object)?;
        if here { self.fail(object) } else { Ok(()) }
    }

    fn remove(&mut self, place: Place, object: &Object) -> Result<(), Failure> {
        self.kernel.remove(place, object)
    }

    fn differences(&mut self, place: Place, object: &Object) -> Result<Vec<String>, Failure> {
        self.kernel.differences(place, object)
    }

    fn list_links(&mut self, place: Place) -> Result<Vec<Link>, Failure> {
        self.kernel.list_links(place)
    }

    fn list_main_routes(&mut self, place: Place) -> Result<Vec<MainRoute>, Failure> {
        self.kernel.list_main_routes(place)
    }

    fn link_toward(&mut self, place: Place, address: IpAddr) -> Result<IfIndex, Failure> {
        self.kernel.link_toward(place, address)
    }

    fn get_sysctl(&mut self, place: Place, path: &str) -> Result<Option<String>, Failure> {
        self.kernel.get_sysctl(place, path)
    }
}

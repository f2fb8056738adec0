//! What a pool says about its leases, beside which addresses there are: who may have one, how many, and
//! how long one is kept when nobody uses it any more.

use std::time::Duration;

use egret_resources::{Admission, Consent, EgressPool, Labels, Retain, Scope};
use egret_types::Namespace;

use crate::{Clock, Farewell, IpamError, Lease, Pool, Witness};

/// How long a lease that somebody found without a holder may still be one whose ADD is at work: longer
/// than any ADD.
const GRACE: u64 = 30;

/// The rules of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    consent: Option<Consent>,
    pub(crate) quota: Option<u32>,
    retain: Retain,
    quarantine: Duration,
}

impl From<&EgressPool> for Rules {
    fn from(definition: &EgressPool) -> Self {
        Self {
            consent: definition.namespaces.clone(),
            quota: definition.quota,
            retain: definition.retain,
            quarantine: definition.quarantine,
        }
    }
}

/// What a lease that no attachment holds is to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its owner's, for ever.
    Kept,
    /// Its owner's; it runs out, but nobody has said since when it is not held.
    Unmarked,
    /// Its owner's until it runs out. A full pool may take it before.
    Retained,
    /// Nobody's any more; the pair rests. A full pool may take it before.
    Quarantined,
    /// A free pair whose record is still there.
    Free,
}

impl Rules {
    /// How long a lease of this scope is kept without a holder.
    fn retain(&self, scope: Scope) -> Retain {
        match scope {
            // It goes with its pod, which never comes back.
            Scope::Pod => Retain::For(Duration::ZERO),
            _ => self.retain,
        }
    }
}

impl Pool {
    /// The pods of this namespace may use the pool. `None`: nobody knows the namespace, or its labels.
    pub fn permit(
        &self,
        namespace: Option<&Namespace>,
        labels: Option<&Labels>,
    ) -> Result<(), IpamError> {
        let rules = self.rules();
        if rules.consent.is_none() && rules.quota.is_none() {
            return Ok(());
        }
        let pool = || self.name().clone();
        let namespace = namespace.ok_or_else(|| IpamError::NamespaceUnknown { pool: pool() })?;
        match rules.consent.as_ref().map(|consent| consent.admits(namespace, labels)) {
            None | Some(Admission::Granted) => Ok(()),
            Some(Admission::Refused) => {
                Err(IpamError::NotAdmitted { pool: pool(), namespace: namespace.clone() })
            }
            Some(Admission::Unknown) => {
                Err(IpamError::LabelsUnknown { pool: pool(), namespace: namespace.clone() })
            }
        }
    }

    /// How many leases pods of one namespace may make.
    pub fn quota(&self) -> Option<u32> {
        self.rules().quota
    }

    /// What somebody who leaves a lease of this scope has to do.
    pub(crate) fn farewell(&self, scope: Scope) -> Farewell {
        match self.rules().retain(scope) {
            Retain::Forever => Farewell::None,
            Retain::For(_) => Farewell::Mark,
        }
    }

    /// What a lease is that no attachment holds. The caller knows that none does.
    pub fn standing(&self, lease: &Lease, clock: &Clock) -> Standing {
        let Retain::For(retain) = self.rules().retain(lease.owner.scope) else {
            return Standing::Kept;
        };
        let Some(left) = &lease.left else { return Standing::Unmarked };
        let mut since = clock.since(left);
        if left.witness == Witness::Seen {
            let Some(after) = since.checked_sub(GRACE) else { return Standing::Unmarked };
            since = after;
        }
        if since < retain.as_secs() {
            Standing::Retained
        } else if since < retain.saturating_add(self.rules().quarantine).as_secs() {
            Standing::Quarantined
        } else {
            Standing::Free
        }
    }
}

#[cfg(test)]
mod tests {
    use egret_resources::Serves;
    use rstest::rstest;

    use super::*;
    use crate::{BootId, Mark, Timestamp, contract};

    fn pool(retain: Retain) -> Pool {
        let [name, gateway] = ["p", "edge"];
        let id = egret_types::PoolId::try_from(1).unwrap();
        let mut definition =
            EgressPool::new(name.parse().unwrap(), id, Serves::Egress(gateway.parse().unwrap()));
        definition.ipv4 = vec!["203.0.113.50-203.0.113.59".parse().unwrap()];
        (definition.retain, definition.quarantine) = (retain, Duration::from_mins(1));
        Pool::new(&definition, [])
    }

    fn clock(boot: &str, uptime: u64) -> Clock {
        // The wall clock may say anything.
        let now = Timestamp(4_000_000_000 - 37 * uptime);
        Clock { now, boot: BootId::try_from(boot.to_owned()).unwrap(), uptime }
    }

    const HOUR: Retain = Retain::For(Duration::from_hours(1));

    #[rstest]
    #[case::for_ever(Retain::Forever, Scope::Namespace, ("a", 999_999), Standing::Kept)]
    #[case::at_once(HOUR, Scope::Namespace, ("a", 1000), Standing::Retained)]
    #[case::to_the_end(HOUR, Scope::Workload, ("a", 4599), Standing::Retained)]
    #[case::then_it_rests(HOUR, Scope::Cluster, ("a", 4600), Standing::Quarantined)]
    #[case::to_its_end(HOUR, Scope::Policy, ("a", 4659), Standing::Quarantined)]
    #[case::then_it_is_free(HOUR, Scope::Namespace, ("a", 4660), Standing::Free)]
    #[case::a_clock_that_went_back(HOUR, Scope::Namespace, ("a", 5), Standing::Retained)]
    #[case::after_a_boot(HOUR, Scope::Namespace, ("b", 3599), Standing::Retained)]
    #[case::an_hour_after_a_boot(HOUR, Scope::Namespace, ("b", 3600), Standing::Quarantined)]
    #[case::a_pod_goes_with_its_lease(Retain::Forever, Scope::Pod, ("a", 1000), Standing::Quarantined)]
    #[case::and_its_pair_rests(HOUR, Scope::Pod, ("a", 1060), Standing::Free)]
    fn a_lease_runs_out_by_the_time_that_the_machine_is_up(
        #[case] retain: Retain,
        #[case] scope: Scope,
        #[case] now: (&str, u64),
        #[case] expected: Standing,
    ) {
        let mut lease = contract::sample_lease();
        lease.owner.scope = scope;
        let Clock { now: at, boot, uptime } = clock("a", 1000);
        lease.left = Some(Mark { at, boot, uptime, witness: Witness::Told });
        assert_eq!(pool(retain).standing(&lease, &clock(now.0, now.1)), expected);
    }

    #[test]
    fn what_was_only_seen_without_a_holder_has_a_grace() {
        let mut lease = contract::sample_lease();
        lease.owner.scope = Scope::Pod;
        let pool = pool(Retain::Forever);
        assert_eq!(pool.standing(&lease, &clock("a", 1000)), Standing::Unmarked);
        let Clock { now: at, boot, uptime } = clock("a", 1000);
        lease.left = Some(Mark { at, boot, uptime, witness: Witness::Seen });
        for (uptime, expected) in [
            (1000, Standing::Unmarked),
            (1029, Standing::Unmarked),
            (1030, Standing::Quarantined),
            (1090, Standing::Free),
        ] {
            assert_eq!(pool.standing(&lease, &clock("a", uptime)), expected, "{uptime}");
        }
    }
}

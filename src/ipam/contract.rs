//! What every implementation of the ports must do, as functions that tests of any crate run
//! against theirs. They belong beside the ports: the allocator's reasoning holds only for stores
//! that pass.
//!
//! Each function expects an empty store and says which clause was broken.

use egret_types::{Attachment, PairIndex, PoolId};

use crate::{
    BootId, Claim, Farewell, HeldLease, Holder, HolderNetns, HolderPort, Lease, LeasePort,
    LeaseState, Origin, Owner, Pair, PortError, Scope, Slot, Timestamp, Token,
    ports::{Creation, Hint, Lookup, Record, Records, Swap},
};

/// A clause that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// Found otherwise.
    #[error("{0}")]
    Clause(&'static str),
    /// The store failed.
    #[error("the store failed: {0}")]
    Port(#[from] PortError),
    /// A value of the tests themselves is not one.
    #[error("bad test value: {0}")]
    Value(#[from] egret_types::Invalid),
}

#[expect(clippy::fn_params_excessive_bools, reason = "an assertion takes its condition")]
fn holds(condition: bool, clause: &'static str) -> Result<(), Breach> {
    if condition { Ok(()) } else { Err(Breach::Clause(clause)) }
}

/// Leases, claims, slots and hints.
pub fn lease_port(port: &impl LeasePort) -> Result<(), Breach> {
    let pending = lease(1, 3, LeaseState::Pending)?;
    let bound = Lease { version: 1, state: LeaseState::Bound, ..pending.clone() };
    records(port, (&pending, &bound), &lease(1, 4, LeaseState::Pending)?)?;
    let shop = claim("shop", 1)?;
    records(port, (&shop, &Claim { token: Token(9), ..shop.clone() }), &claim("other", 1)?)?;
    let first = slot("shop", 0)?;
    records(port, (&first, &Slot { token: Token(9), ..first.clone() }), &slot("shop", 1)?)?;
    slots(port)?;
    listings(port)?;
    hints(port)
}

/// The four operations on one record; `first` and `second` have the same key, `elsewhere` another.
fn records<R: Record>(
    port: &impl Records<R>,
    (first, second): (&R, &R),
    elsewhere: &R,
) -> Result<(), Breach> {
    let key = first.key();
    let is = |record: &R| -> Result<bool, PortError> {
        Ok(matches!(port.get(&key)?, Lookup::Found(found) if found == *record))
    };
    let absent = || -> Result<bool, PortError> { Ok(matches!(port.get(&key)?, Lookup::Absent)) };
    holds(absent()?, "an empty store has nothing")?;
    holds(port.replace(first, second)? == Swap::Changed, "what is absent cannot be replaced")?;
    holds(port.delete(first)? == Swap::Changed, "what is absent cannot be deleted")?;
    holds(port.create(first)? == Creation::Created, "a record is created where there is none")?;
    holds(is(first)?, "what was created is found")?;
    holds(port.create(second)? == Creation::Exists, "a record is not created over another")?;
    holds(is(first)?, "a refused creation changes nothing")?;
    holds(
        matches!(port.get(&elsewhere.key())?, Lookup::Absent),
        "a creation under one key is none under another",
    )?;
    holds(port.create(elsewhere)? == Creation::Created, "keys are independent")?;
    holds(port.replace(second, first)? == Swap::Changed, "only what was expected is replaced")?;
    holds(is(first)?, "a refused replacement changes nothing")?;
    holds(port.replace(first, second)? == Swap::Done, "what was expected is replaced")?;
    holds(is(second)?, "what replaced it is found")?;
    holds(port.delete(first)? == Swap::Changed, "only what was expected is deleted")?;
    holds(is(second)?, "a refused deletion changes nothing")?;
    holds(port.delete(second)? == Swap::Done, "what was expected is deleted")?;
    holds(absent()?, "what was deleted is gone")?;
    holds(port.create(first)? == Creation::Created, "a key can be used again")?;
    holds(port.delete(first)? == Swap::Done, "and again")?;
    holds(port.delete(elsewhere)? == Swap::Done, "the other key was not touched")
}

fn listings(port: &impl LeasePort) -> Result<(), Breach> {
    let pool = PoolId::try_from(1)?;
    let index = |lease: &Lease| lease.index.number();
    for lease in [
        lease(1, 0, LeaseState::Bound)?,
        lease(1, 4095, LeaseState::Pending)?,
        lease(2, 7, LeaseState::Pending)?,
    ] {
        holds(port.create(&lease)? == Creation::Created, "a lease is created")?;
    }
    let occupied: Vec<_> = port.occupied(pool)?.into_iter().map(PairIndex::number).collect();
    holds(occupied == [0, 4095], "the occupied pairs are those of the pool's leases")?;
    let pending: Vec<_> = port.pending(pool)?.iter().map(index).collect();
    holds(pending == [4095], "the pending leases are those of the pool that are pending")?;
    let listing = port.leases(pool)?;
    let mut all: Vec<_> = listing.found.iter().map(index).collect();
    all.sort_unstable();
    holds(all == [0, 4095] && listing.lost.is_empty(), "all leases of the pool are listed")?;
    let before = lease(1, 4095, LeaseState::Pending)?;
    let after = Lease { state: LeaseState::Bound, version: 1, ..before.clone() };
    holds(port.replace(&before, &after)? == Swap::Done, "a pending lease is bound")?;
    holds(port.pending(pool)?.is_empty(), "a bound lease is not pending")?;
    let again = Lease { state: LeaseState::Pending, version: 2, ..before };
    holds(port.replace(&after, &again)? == Swap::Done, "a bound lease is given back")?;
    holds(port.delete(&again)? == Swap::Done, "and deleted")?;
    holds(port.occupied(pool)?.len() == 1, "a deleted lease occupies nothing")
}

fn slots(port: &impl LeasePort) -> Result<(), Breach> {
    let (pool, shop) = (PoolId::try_from(1)?, "shop".parse()?);
    holds(port.slots(pool, &shop)?.is_empty(), "a namespace has no slot at first")?;
    for slot in [slot("shop", 12)?, slot("shop", 3)?, slot("other", 0)?] {
        holds(port.create(&slot)? == Creation::Created, "a slot is created")?;
    }
    let found = port.slots(pool, &shop)?;
    let numbers: Vec<_> = found.iter().map(|(number, _)| *number).collect();
    holds(numbers == [3, 12], "the slots are those of the namespace, in the order of numbers")?;
    let all = found.iter().all(|(_, slot)| matches!(slot, Lookup::Found(_)));
    holds(all, "every slot is read")?;
    holds(port.slots(PoolId::try_from(2)?, &shop)?.is_empty(), "slots are one pool's")
}

fn hints(port: &impl LeasePort) -> Result<(), Breach> {
    let (one, two) = (PoolId::try_from(1)?, PoolId::try_from(2)?);
    holds(port.hint(one, Hint::Cursor).is_none(), "there is no hint at first")?;
    for text in ["7", "4095"] {
        port.set_hint(one, Hint::Cursor, text);
        holds(port.hint(one, Hint::Cursor).as_deref() == Some(text), "the last hint counts")?;
    }
    holds(port.hint(two, Hint::Cursor).is_none(), "a hint is one pool's")?;
    holds(port.hint(one, Hint::CheckedRanges).is_none(), "a hint is of one kind")
}

/// Holders.
pub fn holder_port(port: &impl HolderPort) -> Result<(), Breach> {
    let (first, other) = (holder("c1", "eth0")?, holder("c1", "net1")?);
    let at = &first.attachment;
    let found = || port.get(&at.container_id, &at.ifname);
    holds(matches!(found()?, Lookup::Absent), "an empty store holds nothing")?;
    port.remove(&at.container_id, &at.ifname)?;
    port.put(&first)?;
    port.put(&other)?;
    holds(matches!(found()?, Lookup::Found(holder) if holder == first), "what was put is found")?;
    let again = Holder { leases: Vec::new(), netns: None, ..first.clone() };
    port.put(&again)?;
    holds(matches!(found()?, Lookup::Found(holder) if holder == again), "the last put counts")?;
    let listing = port.list()?;
    holds(listing.found.len() == 2 && listing.lost.is_empty(), "interfaces are kept apart")?;
    holds(listing.found.contains(&other), "every holder is listed")?;
    port.remove(&at.container_id, &at.ifname)?;
    holds(matches!(found()?, Lookup::Absent), "what was removed is gone")?;
    port.remove(&at.container_id, &at.ifname)?;
    holds(port.list()?.found == [other], "removal touches one attachment")
}

fn slot(namespace: &str, number: u32) -> Result<Slot, Breach> {
    Ok(Slot {
        pool_id: PoolId::try_from(1)?,
        namespace: namespace.parse()?,
        number,
        index: PairIndex::try_from(3)?,
        lease: Token(1),
        token: Token(2),
    })
}

/// A lease for tests of what reads one.
#[cfg(test)]
pub(crate) fn sample_lease() -> Lease {
    lease(1, 3, LeaseState::Bound).unwrap()
}

fn lease(pool: u32, index: u32, state: LeaseState) -> Result<Lease, Breach> {
    Ok(Lease {
        pool: "tenants".parse()?,
        pool_id: PoolId::try_from(pool)?,
        index: PairIndex::try_from(index)?,
        pair: Pair { v4: Some([203, 0, 113, 50].into()), v6: None },
        owner: Owner { scope: Scope::Namespace, key: "shop".to_owned() },
        namespace: Some("shop".parse()?),
        slot: Some(0),
        left: None,
        origin: Origin::Allocated,
        state,
        since: Timestamp(1_795_519_084),
        token: Token(1),
        version: 0,
    })
}

fn claim(key: &str, index: u32) -> Result<Claim, Breach> {
    Ok(Claim {
        pool: "tenants".parse()?,
        owner: Owner { scope: Scope::Namespace, key: key.to_owned() },
        pool_id: PoolId::try_from(1)?,
        index: PairIndex::try_from(index)?,
        lease: Token(1),
        token: Token(2),
    })
}

fn holder(container: &str, ifname: &str) -> Result<Holder, Breach> {
    let held = HeldLease::of(&lease(1, 3, LeaseState::Bound)?, Farewell::Mark);
    Ok(Holder {
        purpose: crate::Purpose::Egress,
        attachment: Attachment {
            network: "podnet".parse()?,
            container_id: container.parse()?,
            ifname: ifname.parse()?,
        },
        netns: Some(HolderNetns { path: "/run/netns/x".into(), inode: 4_026_531_840 }),
        boot: BootId::try_from("0b0c".to_owned())?,
        leases: vec![held],
        since: Timestamp(1_795_519_084),
    })
}

#[cfg(test)]
mod tests {
    use crate::Memory;

    #[test]
    fn memory_keeps_the_contract() {
        super::lease_port(&Memory::default()).unwrap();
        super::holder_port(&Memory::default()).unwrap();
    }
}

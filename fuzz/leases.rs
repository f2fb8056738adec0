//! The records of the IPAM plugin: leases, claims, slots and holders as anything may have left them.

use std::fs::File;
use std::io::Write;

use egret_ipam::ports::{Creation, Lookup, Record, Records};
use egret_ipam::{Claim, Holder, HolderPort, Lease, LeasePort, Slot};
use egret_store::{HolderDir, LeaseDir};
use egret_types::PoolId;

/// A file is a record, lost, or of a later format; what reads as a record is kept as it is.
pub fn leases(text: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let leases = LeaseDir::new(directory.path());
    let pairs = directory.path().join("leases/001/pairs");
    std::fs::create_dir_all(&pairs).expect("directories can be made");
    let mut raw = File::create(pairs.join("00000003.json")).expect("a file can be made");
    raw.write_all(text).expect("a file can be written");
    let one = PoolId::try_from(1).expect("1 is a pool id");
    assert_eq!(leases.occupied(one).expect("the directory can be read").len(), 1);
    if let Ok(listing) = leases.leases(one) {
        assert_eq!(listing.found.len() + listing.lost.len(), 1);
        let right = |lease: &Lease| lease.pool_id == one && lease.index.number() == 3;
        assert!(listing.found.iter().all(right));
        assert_eq!(leases.occupied(one).expect("and again").len(), 1);
    }
    std::fs::remove_dir_all(directory.path().join("leases")).expect("they can be removed");
    kept::<Lease>(&leases, text);
    kept::<Claim>(&leases, text);
    kept::<Slot>(&leases, text);
    if let Ok(holder) = serde_json::from_slice::<Holder>(text) {
        let holders = HolderDir::new(directory.path(), holder.purpose);
        holders.put(&holder).expect("a holder can be written");
        let at = &holder.attachment;
        let found = holders.get(&at.container_id, &at.ifname).expect("it can be read");
        assert_eq!(found, Lookup::Found(holder.clone()));
    }
}

fn kept<R: Record + serde::de::DeserializeOwned + std::fmt::Debug>(
    store: &impl Records<R>,
    text: &[u8],
) {
    let Ok(record) = serde_json::from_slice::<R>(text) else { return };
    assert_eq!(store.create(&record).expect("a record can be written"), Creation::Created);
    assert_eq!(store.get(&record.key()).expect("it can be read"), Lookup::Found(record.clone()));
    assert!(store.delete(&record).expect("it can be removed").is_done());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_one_record_of_each_kind() {
        serde_json::from_slice::<Lease>(include_bytes!("seeds/leases/lease")).unwrap();
        serde_json::from_slice::<Claim>(include_bytes!("seeds/leases/claim")).unwrap();
        serde_json::from_slice::<Slot>(include_bytes!("seeds/leases/slot")).unwrap();
        serde_json::from_slice::<Holder>(include_bytes!("seeds/leases/holder")).unwrap();
    }
}

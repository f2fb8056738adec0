//! The records of attachments: a file of the state directory that anything may have happened to.

use std::fs::File;
use std::io::Write;

use egret_egress::record::AttachmentRecord;
use egret_store::journal::RecordFile;

/// A file is a record, none, or an error. What reads as a record is the same after it was written.
pub fn records(text: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = RecordFile::<AttachmentRecord>::new(directory.path(), "record");
    let mut raw = File::create(directory.path().join("record.json")).expect("a file can be made");
    raw.write_all(text).expect("a file can be written");
    let as_file = file.get().ok().flatten();
    let as_record = serde_json::from_slice::<AttachmentRecord>(text).ok();
    for record in as_file.into_iter().chain(as_record) {
        file.put(&record).expect("a record can be written");
        let again = file.get().expect("what was written is whole");
        assert_eq!(again.as_ref(), Some(&record));
        assert_eq!(record.destinations(), again.expect("it was there").destinations());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_a_record() {
        let record: AttachmentRecord =
            serde_json::from_slice(include_bytes!("seeds/records/attachment")).unwrap();
        assert_eq!((record.objects.len(), record.destinations().len()), (8, 1));
    }
}

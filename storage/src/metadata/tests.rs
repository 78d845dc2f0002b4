use castmq_protocol::model::PhysicalOffset;

use super::*;

fn open(folder: &tempfile::TempDir) -> Result<Metadata, MetadataError> {
    Metadata::open(&folder.path().join("metadata"), 1 << 20)
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

#[test]
fn everything_is_there_again_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = open(&folder).unwrap();
    metadata
        .put_topic(&topic("a"), &TopicConfig::with_queues(3))
        .unwrap();
    metadata
        .put_topic(&topic("b"), &TopicConfig::with_queues(1))
        .unwrap();
    metadata
        .put_offset(&group("g"), &topic("b"), QueueId(0), Some(QueueOffset(4)))
        .unwrap();
    let kept = Deletion {
        below: PhysicalOffset(5),
        next: [(QueueId(0), QueueOffset(4))].into(),
    };
    metadata.delete_topic(&topic("b"), &kept).unwrap();
    metadata
        .put_group(&group("g"), &GroupConfig::default())
        .unwrap();
    metadata
        .put_offset(
            &group("g"),
            &topic("a"),
            QueueId(258),
            Some(QueueOffset(77)),
        )
        .unwrap();
    metadata
        .put_offset(&group("g"), &topic("a"), QueueId(0), Some(QueueOffset(1)))
        .unwrap();
    metadata
        .put_offset(&group("g"), &topic("a"), QueueId(0), None)
        .unwrap();
    metadata.put_value("ns", "k", b"v").unwrap();
    metadata.put_value("ns2", "k", b"w").unwrap();
    metadata.sync().unwrap();
    drop(metadata);
    let metadata = open(&folder).unwrap();
    assert_eq!(
        metadata.topics().unwrap(),
        [(topic("a"), TopicConfig::with_queues(3))]
    );
    assert_eq!(
        metadata.groups().unwrap(),
        [(group("g"), GroupConfig::default())]
    );
    assert_eq!(
        metadata.offsets().unwrap(),
        [(group("g"), (topic("a"), QueueId(258)), QueueOffset(77))]
    );
    assert_eq!(metadata.deletions().unwrap(), [(topic("b"), kept)]);
    metadata.put_deletion(&topic("b"), None).unwrap();
    assert_eq!(metadata.deletions().unwrap(), []);
    assert_eq!(metadata.value("ns", "k").unwrap(), Some(b"v".to_vec()));
    assert_eq!(
        metadata.values("ns").unwrap(),
        [("k".to_owned(), b"v".to_vec())]
    );
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = open(&folder).unwrap();
    metadata
        .db
        .insert(SCHEMA_KEY, &(SCHEMA_VERSION + 1).to_be_bytes())
        .unwrap();
    metadata.flush().unwrap();
    drop(metadata);
    let refused = open(&folder).unwrap_err().to_string();
    assert!(
        refused.contains("version 2") && refused.contains("version 1"),
        "{refused}"
    );
}

#[test]
fn a_damaged_value_is_an_error_that_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = open(&folder).unwrap();
    metadata.topics.insert("orders", vec![0xFF; 40]).unwrap();
    let error = metadata.topics().unwrap_err().to_string();
    assert!(error.contains("orders"), "{error}");
    metadata
        .put_topic(
            &TopicName::new("orders").unwrap(),
            &TopicConfig::with_queues(4),
        )
        .unwrap();
    assert_eq!(metadata.topics().unwrap().len(), 1);
    let mut longer = metadata.topics.get("orders").unwrap().unwrap().to_vec();
    longer.push(0);
    metadata.topics.insert("orders", longer).unwrap();
    let error = metadata.topics().unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
    metadata.offsets.insert("nonsense", vec![1]).unwrap();
    assert!(metadata.offsets().is_err());
}

#[test]
fn large_values_are_synced_too() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = open(&folder).unwrap();
    metadata.put_value("n", "k", &[7; 900_000]).unwrap();
    metadata.sync().unwrap();
    drop(metadata);
    let metadata = open(&folder).unwrap();
    assert_eq!(metadata.value("n", "k").unwrap(), Some(vec![7; 900_000]));
}

#[test]
fn two_processes_cannot_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(&folder).unwrap();
    assert!(matches!(open(&folder), Err(MetadataError::Sled { .. })));
}

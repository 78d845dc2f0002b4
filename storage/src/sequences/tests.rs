//! Rules of the table one by one.

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::SendNumber;

use super::window::Window;
use super::*;

fn number(producer_id: u64, sequence: u64, settled_below: u64) -> SendNumber {
    SendNumber {
        producer_id,
        sequence,
        settled_below,
    }
}

fn at(physical: u64) -> Place {
    Place {
        queue: QueueId(3),
        offset: QueueOffset(physical),
        physical: PhysicalOffset(physical),
    }
}

fn send(number: SendNumber, physical: u64, stored_ms: i64) -> StoredSend {
    StoredSend {
        number,
        place: at(physical),
        stored_ms,
    }
}

/// A table that has the sends 1 to `count` of producer 1, none of them settled.
fn table(limits: ProducerLimits, count: u64) -> Table {
    let mut table = Table::new(limits);
    for sequence in 1..=count {
        table.note(&send(number(1, sequence, 1), sequence, 0));
    }
    table
}

#[test]
fn a_repeated_sequence_is_where_it_was_stored_first_and_a_missing_one_is_new() {
    let mut table = table(ProducerLimits::default(), 3);
    table.note(&send(number(1, 5, 1), 50, 0));
    table.note(&send(number(1, 5, 1), 60, 0));
    assert_eq!(table.look(&number(1, 5, 1), 0), Look::Stored(at(50)));
    assert_eq!(table.look(&number(1, 2, 1), 0), Look::Stored(at(2)));
    assert_eq!(table.look(&number(1, 4, 1), 0), Look::New);
    assert_eq!(table.look(&number(2, 5, 1), 0), Look::New);
}

#[test]
fn what_is_settled_is_not_kept_and_not_known_any_more() {
    let mut table = table(ProducerLimits::default(), 100);
    assert_eq!(table.look(&number(1, 101, 99), 0), Look::New);
    assert_eq!(table.remembered(), 2);
    let floor = 99;
    assert_eq!(table.look(&number(1, 98, 98), 0), Look::Forgotten { floor });
    assert_eq!(table.look(&number(1, 99, 1), 0), Look::Stored(at(99)));
}

#[test]
fn a_producer_that_never_settles_keeps_the_width_of_a_window() {
    let limits = ProducerLimits {
        width: 10,
        ..ProducerLimits::default()
    };
    let mut table = table(limits, 100);
    assert_eq!(table.remembered(), 10);
    assert_eq!(table.look(&number(1, 91, 1), 0), Look::Stored(at(91)));
    let floor = 91;
    assert_eq!(table.look(&number(1, 90, 1), 0), Look::Forgotten { floor });
}

#[test]
fn when_too_much_is_remembered_the_one_who_has_much_forgets() {
    let limits = ProducerLimits {
        max_remembered: 100,
        ..ProducerLimits::default()
    };
    let mut table = table(limits, 300);
    for id in 2..20 {
        table.note(&send(number(id, 1, 1), 1000 + id, 0));
        assert_eq!(
            table.look(&number(id, 1, 1), 0),
            Look::Stored(at(1000 + id))
        );
    }
    assert_eq!(table.remembered(), 118);
    for sequence in 301..400 {
        table.note(&send(number(1, sequence, 1), sequence, 0));
    }
    // Its share stays to it.
    assert_eq!(table.remembered(), 100);
    assert_eq!(table.look(&number(1, 399, 1), 0), Look::Stored(at(399)));
}

#[test]
fn one_producer_too_many_is_refused_until_another_was_idle_for_long() {
    let limits = ProducerLimits {
        max_producers: 2,
        expiry_ms: 100,
        ..ProducerLimits::default()
    };
    let mut table = Table::new(limits);
    table.note(&send(number(1, 1, 1), 1, 0));
    table.note(&send(number(2, 1, 1), 2, 60));
    assert_eq!(table.look(&number(3, 1, 1), 99), Look::TooManyProducers);
    assert_eq!(table.look(&number(3, 1, 1), 100), Look::New);
    table.note(&send(number(3, 1, 1), 3, 100));
    assert_eq!(table.look(&number(1, 1, 1), 100), Look::TooManyProducers);
    assert_eq!(table.look(&number(2, 1, 1), 100), Look::Stored(at(2)));
    let (changed, forgotten) = table.take_changes();
    assert_eq!((changed, forgotten), (vec![1, 2, 3], vec![1]));
}

#[test]
fn a_saved_window_has_only_what_is_durable_and_the_rest_is_saved_the_next_time() {
    let mut table = table(ProducerLimits::default(), 5);
    let (changed, _) = table.take_changes();
    assert_eq!(changed, [1]);
    let value = table.encode(1, PhysicalOffset(4)).unwrap();
    let (window, _) = encoding::decode(&value).unwrap();
    assert_eq!(window.len(), 3);
    assert_eq!(table.take_changes().0, [1]);
    let value = table.encode(1, PhysicalOffset(6)).unwrap();
    assert_eq!(encoding::decode(&value).unwrap().0.len(), 5);
    assert_eq!(table.take_changes().0, Vec::<u64>::new());
}

#[test]
fn damaged_windows_are_no_windows() {
    let mut table = table(ProducerLimits::default(), 5);
    let value = table.encode(1, PhysicalOffset(6)).unwrap();
    assert!(encoding::decode(&value).is_some());
    for length in 0..value.len() {
        assert_eq!(encoding::decode(&value[..length]), None, "{length}");
    }
    let mut twice = value.clone();
    let first = twice[21..49].to_vec();
    twice[49..77].copy_from_slice(&first);
    assert_eq!(encoding::decode(&twice), None);
}

#[test]
fn an_idle_producer_costs_little_and_a_busy_one_what_it_has_under_way() {
    let mut table = table(ProducerLimits::default(), 1000);
    assert_eq!(table.look(&number(1, 1001, 1001), 0), Look::New);
    assert_eq!(table.remembered(), 0);
    assert!(size_of::<Window>() <= 64);
}

#[test]
fn what_was_noted_and_could_not_be_saved_is_saved_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&folder.path().join("metadata"), 1 << 20).unwrap();
    let end = PhysicalOffset(1000);
    let load = |end| Sequences::load(&metadata, ProducerLimits::default(), end).unwrap();
    let sequences = load(end);
    sequences.note(&send(number(7, 1, 1), 10, 5));
    sequences.note(&send(number(7, 2, 1), 20, 5));
    sequences.save(&metadata, PhysicalOffset(15)).unwrap();
    let look = |sequences: &Sequences, sequence| sequences.look(&number(7, sequence, 1), 5);
    let again = load(end);
    assert_eq!(look(&again, 1), Look::Stored(at(10)));
    assert_eq!(look(&again, 2), Look::New);
    sequences.save(&metadata, end).unwrap();
    assert_eq!(look(&load(end), 2), Look::Stored(at(20)));
    // The end of the log was lost after that.
    assert_eq!(look(&load(PhysicalOffset(20)), 2), Look::New);
}

//! The history checker catches what it is there to catch.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use support::history::{History, Id, Place, Stored, Violation};

const QUEUE: Place = Place { topic: 0, queue: 0 };

fn id(sequence: u64) -> Id {
    Id {
        producer: 7,
        sequence,
    }
}

/// Five messages, acknowledged in order.
fn five() -> History {
    let mut history = History::default();
    for sequence in 0..5 {
        history.attempt(id(sequence), QUEUE);
        history.acknowledge(id(sequence), sequence);
    }
    history
}

fn stored(sequences: &[u64]) -> Stored {
    let messages = (0..).zip(sequences);
    let messages = messages.map(|(offset, sequence)| (offset, Some(id(*sequence))));
    Stored::from([(QUEUE, messages.collect())])
}

fn violations(history: &History, stored: &Stored) -> Vec<Violation> {
    history.check(stored).1
}

#[test]
fn a_body_tells_its_identity_whatever_its_length() {
    for bytes in [0, 3, 10, 1000] {
        let body = id(12).body(bytes);
        assert_eq!(Id::parse(body.as_bytes()), Some(id(12)));
        assert!(body.len() >= bytes);
    }
    assert_eq!(Id::parse(b"anything else"), None);
    assert_eq!(Id::parse(b"\xFF\xFE"), None);
}

#[test]
fn a_history_that_is_kept_has_no_violations() {
    let mut history = five();
    history.see(QUEUE, 3, id(3));
    let (figures, violations) = history.check(&stored(&[0, 1, 2, 3, 4]));
    assert_eq!(violations, []);
    assert_eq!(figures.acknowledged, 5);
    assert_eq!(figures.stored, 5);
}

#[test]
fn an_acknowledged_message_that_is_missing_is_lost() {
    let found = violations(&five(), &stored(&[0, 1, 2, 3]));
    assert_eq!(found, [Violation::Lost(id(4))]);
}

#[test]
fn a_message_at_another_offset_than_promised_is_elsewhere() {
    let mut history = five();
    history.attempt(id(5), QUEUE);
    history.acknowledge(id(5), 9);
    let found = violations(&history, &stored(&[0, 1, 2, 3, 4, 5]));
    let promised = 9;
    assert_eq!(
        found,
        [Violation::Elsewhere {
            id: id(5),
            promised
        }]
    );
}

#[test]
fn a_message_that_is_there_twice_is_duplicated() {
    let found = violations(&five(), &stored(&[0, 1, 2, 3, 4, 2]));
    assert!(found.contains(&Violation::Duplicated(id(2))), "{found:?}");
}

#[test]
fn a_message_behind_a_later_one_of_its_producer_is_reordered() {
    let mut history = History::default();
    history.attempt(id(0), QUEUE);
    history.attempt(id(1), QUEUE);
    let found = violations(&history, &stored(&[1, 0]));
    let (id, behind) = (id(0), id(1));
    assert_eq!(found, [Violation::Reordered { id, behind }]);
}

#[test]
fn producers_are_not_ordered_among_each_other() {
    let mut history = History::default();
    let other = Id {
        producer: 8,
        sequence: 0,
    };
    history.attempt(id(5), QUEUE);
    history.attempt(other, QUEUE);
    let stored = Stored::from([(QUEUE, vec![(0, Some(id(5))), (1, Some(other))])]);
    assert_eq!(violations(&history, &stored), []);
}

#[test]
fn a_message_that_nobody_sent_is_a_phantom() {
    let (place, offset) = (QUEUE, 5);
    let found = violations(&five(), &stored(&[0, 1, 2, 3, 4, 77]));
    assert_eq!(found, [Violation::Phantom { place, offset }]);
    let mut torn = stored(&[0, 1, 2, 3, 4]);
    torn.get_mut(&QUEUE).expect("the queue").push((5, None));
    assert_eq!(
        violations(&five(), &torn),
        [Violation::Phantom { place, offset }]
    );
}

#[test]
fn a_message_in_another_queue_than_it_was_sent_to_is_a_phantom_there_and_lost_here() {
    let elsewhere = Place { topic: 1, queue: 0 };
    let mut stored = stored(&[0, 1, 2, 3]);
    stored.insert(elsewhere, vec![(0, Some(id(4)))]);
    let found = violations(&five(), &stored);
    let phantom = Violation::Phantom {
        place: elsewhere,
        offset: 0,
    };
    assert_eq!(found, [Violation::Lost(id(4)), phantom]);
}

#[test]
fn a_message_that_was_refused_must_not_be_there_and_one_without_an_answer_may() {
    let mut history = five();
    history.attempt(id(5), QUEUE);
    history.refuse(id(5));
    history.attempt(id(6), QUEUE);
    let (figures, found) = history.check(&stored(&[0, 1, 2, 3, 4, 5, 6]));
    assert_eq!(found, [Violation::Refused(id(5))]);
    assert_eq!((figures.unknown, figures.unknown_stored), (1, 1));
    assert_eq!(violations(&history, &stored(&[0, 1, 2, 3, 4])), []);
}

#[test]
fn what_a_consumer_saw_must_stay_where_it_was() {
    let mut history = History::default();
    history.attempt(id(0), QUEUE);
    history.see(QUEUE, 0, id(0));
    let (place, offset) = (QUEUE, 0);
    let vanished = Violation::Vanished {
        id: id(0),
        place,
        offset,
    };
    assert_eq!(violations(&history, &stored(&[])), [vanished]);
}

#[test]
fn an_offset_without_a_message_is_a_hole() {
    let mut history = History::default();
    history.attempt(id(0), QUEUE);
    let stored = Stored::from([(QUEUE, vec![(3, Some(id(0)))])]);
    let (place, offset) = (QUEUE, 0);
    assert_eq!(
        violations(&history, &stored),
        [Violation::Hole { place, offset }]
    );
}

use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn on_ranks<T: Send>(size: usize, work: impl Fn(&Threads) -> T + Sync) -> Vec<T> {
    Threads::run(size, LONG, work)
}

#[test]
fn shares_cover_all_items_once_and_differ_by_at_most_one() {
    for (count, size) in [(0, 3), (2, 4), (7, 2), (12, 4), (13, 5)] {
        let shares: Vec<_> = (0..size).map(|rank| Shard { rank, size }.range(count)).collect();
        assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        let lengths = || shares.iter().map(Range::len);
        assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1, "{shares:?}");
    }
}

#[test]
fn numbers_of_all_ranks_are_put_together() {
    for size in [1, 2, 3] {
        let found = on_ranks(size, |collective| {
            let rank = collective.rank();
            collective.concatenate(&vec![rank as f32; rank], &(0..size).collect::<Vec<_>>()).unwrap()
        });
        assert_eq!(found, vec![[0.0, 1.0, 2.0, 2.0][1..size * (size - 1) / 2 + 1].to_vec(); size]);
    }
}

#[test]
fn every_rank_learns_what_one_tells() {
    let found = on_ranks(3, |collective| {
        let own = format!("of {}", collective.rank());
        let told = collective.broadcast(1, own.as_bytes()).unwrap();
        collective.barrier().unwrap();
        (String::from_utf8(told).unwrap(), gather(collective, &own).unwrap())
    });
    let all: Vec<String> = (0..3).map(|rank| format!("of {rank}")).collect();
    assert_eq!(found, vec![("of 1".to_string(), all); 3]);
}

#[test]
fn traffic_is_what_is_sent_to_others() {
    let found = on_ranks(4, |collective| {
        collective.all_gather(&[0; 10]).unwrap();
        (collective.take_traffic().bytes, collective.take_traffic())
    });
    // Eight bytes tell the length of a message.
    assert_eq!(found, vec![(3 * (10 + 8), Traffic::default()); 4]);
}

#[test]
fn a_rank_that_ended_or_hangs_is_named() {
    let told = |deadline, wait| {
        Threads::run(2, deadline, |collective| match collective.rank() {
            0 => collective.barrier().unwrap_err().to_string(),
            _ => {
                std::thread::sleep(wait);
                String::new()
            }
        })
        .swap_remove(0)
    };
    assert_eq!(told(LONG, Duration::ZERO), "rank 1 has ended");
    let short = Duration::from_millis(20);
    assert_eq!(told(short, 10 * short), "rank 1 has not answered for 0.02 s");
}

#[test]
fn a_rank_that_sends_something_else_is_named() {
    let found = on_ranks(2, |collective| {
        let (part, mut buffer) = (vec![0; 2 + collective.rank()], [0; 2]);
        let mut received = [&mut buffer[..], &mut []];
        received.rotate_left(1 - collective.rank());
        collective.transfer(&[&part, &part], &mut received).map_err(|error| error.to_string())
    });
    assert!(found[0].as_ref().unwrap_err().starts_with("rank 1: it sent 3 bytes in place of 2"), "{found:?}");
}

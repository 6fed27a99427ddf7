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
fn sums_add_the_ranks_in_their_order() {
    // In this order 1 is lost beside 1e8, and -1e8 leaves 0; in another order the sum is 1.
    let numbers = [1e8_f32, 1.0, -1e8];
    let found = on_ranks(3, |collective| {
        let rank = collective.rank();
        let parts: Vec<Vec<f32>> = (0..3).map(|to| vec![numbers[rank], (10 * rank + to) as f32]).collect();
        collective.reduce_scatter(&parts).unwrap()
    });
    assert_eq!(found, [[0.0, 30.0], [0.0, 33.0], [0.0, 36.0]]);
}

#[test]
fn shares_of_all_ranks_are_put_together() {
    for size in [1, 2, 3, 4] {
        let found = on_ranks(size, |collective| {
            let own: Vec<f32> = collective.share(7).map(|at| at as f32).collect();
            collective.gather_shares(&own, 7).unwrap()
        });
        assert_eq!(found, vec![vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; size]);
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
    assert_eq!(found, vec![(30, Traffic::default()); 4]);
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
fn a_rank_with_other_values_is_named() {
    let found = on_ranks(2, |collective| {
        let parts = vec![vec![0.0; 2 + collective.rank()]; 2];
        collective.reduce_scatter(&parts).unwrap_err().to_string()
    });
    assert!(found[0].starts_with("rank 1: it sent 12 bytes in place of 2 numbers"), "{found:?}");
}

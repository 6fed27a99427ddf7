//! The experience log through its public interface: episodes survive a round trip, kills and damage.

mod bytes;
mod cut;
mod damage;
mod foreign;
mod made;
mod messages;
mod round_trip;
mod rules;

//! The experience log from outside: what is written is read, whatever was killed or damaged in between.

mod cut;
mod damage;
mod foreign;
mod made;
mod round_trip;
mod rules;

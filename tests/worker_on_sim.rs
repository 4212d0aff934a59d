//! The whole worker on the simulated network: from a plan to a report, in virtual time, from one seed.
//!
//! The network's arithmetic is done on paper: with 100 us each way and 200 us of service an attempt that nobody delays
//! connects after 200 us, is answered 400 us later and so takes 600 us. What is asserted here are such numbers.

mod plans;

mod worker_on_sim {
    mod by_hand;
    mod concurrency;
    mod conservation;
    mod holding;
    mod hostile;
    mod interrupts;
    mod lab;
    mod lanes;
    mod latency;
    mod load;
    mod outcomes;
    mod pauses;
    mod sessions;
    mod storm;
    mod unsent;
    mod verification;
    mod words;
}

//! The maps of patients and samples, which are asked several times for each sample of a batch.

/// A map by a hash that is faster than the standard library's, and seeded anew in each map all the same.
pub(super) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

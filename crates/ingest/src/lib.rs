//! From a topic to rows: [`source`] fetches records and counts where they stand, [`decode`] makes columns of their bytes. It does
//! not know what becomes of rows.

pub mod decode;
pub mod schemas;
pub mod source;

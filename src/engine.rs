//! Engine: one delivery at a time from its arrival to its end. It uses the neighbours, and none of them uses it.

pub mod dead_letters;
pub mod eraser;
pub mod worker;

//! Pairs of instructions in one op.

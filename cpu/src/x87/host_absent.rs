//! Hosts without an x87 unit: nothing here yet; the interpreter raises #UD instead.

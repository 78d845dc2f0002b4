//! The native wire: frozen by golden bytes, and safe against anything a socket can bring.
//!
//! - `requests`, `responses`: one of each, and of each of their kinds. `frames`: frames that hold them.
//! - `golden`: their bytes, held still. `decoding`: what comes back of bytes, whole, in pieces or bent.

mod decoding;
mod frames;
mod golden;
mod requests;
mod responses;

//! Content-addressed store: bytes in, digests out.

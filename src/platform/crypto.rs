//! Cryptography: ring, for every connection alike.

/// Makes it that of the process. To be asked before TLS is set up anywhere.
pub(crate) fn install() {
    // Only the first caller in a process can install one; whichever was first, one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
